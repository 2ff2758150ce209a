package api

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/flashsale-engine/flashsale/engine"
)

// TestACrowdWaitsNoLongerThanTheGoal plays a gate that answers so many per second, one
// after the other, and a crowd that offers more, millisecond by millisecond.
func TestACrowdWaitsNoLongerThanTheGoal(t *testing.T) {
	const goal = 250 * time.Millisecond
	var p pressure
	p.open(goal, 12_288)
	var queue []time.Duration
	now := time.Duration(0)
	type seen struct {
		offered, let, done int
		took, longest      time.Duration
	}
	play := func(offered, rate int, long time.Duration) (s seen) {
		for end := now + long; now < end; now += time.Millisecond {
			for range offered / 1000 {
				s.offered++
				if p.enter(1, now) {
					s.let++
					queue = append(queue, now)
				}
			}
			for i := 0; i < rate/1000 && len(queue) > 0; i++ {
				took := now - queue[0]
				queue = queue[1:]
				s.done, s.took, s.longest = s.done+1, s.took+took, max(s.longest, took)
				p.leave(took)
			}
		}
		return s
	}
	expect := func(what string, s seen, rate int, long, longest time.Duration) {
		t.Helper()
		mean := s.took / time.Duration(max(1, s.done))
		t.Logf("%s: of %d offered %d let in, %d answered, after %s on average and %s at most; the limit is %d", what, s.offered, s.let, s.done, mean, s.longest, p.limit.Load())
		if want := int(float64(rate) * long.Seconds() * 0.98); s.done < want {
			t.Errorf("%s: the gate could have answered %d, and answered %d", what, want, s.done)
		}
		if mean > goal*11/10 || s.longest > longest {
			t.Errorf("%s: answers took %s on average, %s at most", what, mean, s.longest)
		}
	}
	s := play(20_000, 30_000, 2*time.Second)
	if s.let != s.offered {
		t.Errorf("%d of %d were turned away although the gate was not busy", s.offered-s.let, s.offered)
	}
	expect("within capacity", s, 20_000, 2*time.Second, time.Millisecond)
	expect("ten times as many as it can", play(300_000, 30_000, 5*time.Second), 30_000, 5*time.Second, 2*goal)
	play(300_000, 6_000, 3*time.Second) // those who were let in before wait
	expect("after the gate has become slow", play(300_000, 6_000, 5*time.Second), 6_000, 5*time.Second, 2*goal)
	play(300_000, 0, 2*time.Second)
	if n := p.limit.Load(); n != leastAsking {
		t.Errorf("a gate that answers nobody may be asked by %d at once", n)
	}
	expect("after it has come back", play(300_000, 30_000, 5*time.Second), 30_000, 5*time.Second, 3*time.Second)
	expect("and a while later", play(300_000, 30_000, 5*time.Second), 30_000, 5*time.Second, 2*goal)
	play(1_000, 30_000, 2*time.Second)
	if p.limit.Load() != p.most {
		t.Errorf("a calm node lets %d ask at once, not %d", p.limit.Load(), p.most)
	}
}

func TestWithoutAGoalOnlyTheRoomBinds(t *testing.T) {
	var p pressure
	p.open(0, 1000)
	for i := range 100 {
		if p.enter(1, time.Duration(i)*time.Second); p.limit.Load() != 1000 {
			t.Fatalf("the limit is %d", p.limit.Load())
		}
		p.leave(time.Minute)
	}
}

func TestABatchThatIsAloneIsLetInHoweverLong(t *testing.T) {
	var p pressure
	p.open(time.Second, 4)
	if !p.enter(9, 0) {
		t.Fatal("it was turned away")
	}
	if p.enter(1, 0) {
		t.Fatal("another was let in beside it")
	}
	for range 9 {
		p.leave(0)
	}
	if !p.enter(1, 0) || p.asking.Load() != 1 {
		t.Fatal("it is over, and the next was turned away")
	}
}

// TestWhoAsksTooManyIsToldQuickly is the door under pressure: those beyond the limit hear
// 503 at once, in the same bytes on either way, and holders do not notice.
func TestWhoAsksTooManyIsToldQuickly(t *testing.T) {
	heard := map[bool]string{}
	for _, quick := range []bool{true, false} {
		t.Run(fmt.Sprint("quick ", quick), func(t *testing.T) {
			g, f := newGateKeeper()
			d := openTCP(t, f, func(o *Options) {
				o.MaxInFlight, o.TargetLatency = 100, time.Second
				if !quick {
					o.ReserveThen = nil
				}
			})
			d.server.names.keep("demo")
			d.server.pressure.limit.Store(2)
			var two sync.WaitGroup
			answers := make(chan string, 2)
			for range 2 {
				two.Go(func() { answers <- answerTo(t, d, shoeRequest(t, anyBuyer).String()) })
				<-g.entered
			}
			impatient := time.AfterFunc(time.Minute, func() { close(g.leave) }) // fail rather than hang
			a := answerTo(t, d, shoeRequest(t, anyBuyer).String())
			if !strings.HasPrefix(a, "HTTP/1.1 503 ") || !strings.Contains(a, "\r\nRetry-After: 1\r\n") || !strings.Contains(a, string(engine.CodeOverloaded)) {
				t.Errorf("the third is told %s", a)
			}
			heard[quick] = a
			b := answerTo(t, d, "POST /v1/sales/demo/reservations:batch HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer "+serviceToken(t, ScopeBatch)+"\r\nContent-Type: "+ndjson+
				fmt.Sprintf("\r\nContent-Length: %d\r\n\r\n%s", len(batchOf(2)), batchOf(2)))
			if !strings.HasPrefix(b, "HTTP/1.1 503 ") {
				t.Errorf("a batch beside them is told %s", b)
			}
			if !impatient.Stop() {
				t.Fatal("one too many was let in")
			}
			close(g.leave)
			two.Wait()
			for range 2 {
				if a := <-answers; !strings.HasPrefix(a, "HTTP/1.1 201 ") {
					t.Errorf("who was let in is told %s", a)
				}
			}
			if n, m := d.server.inFlight.Load(), d.server.pressure.asking.Load(); n != 0 || m != 0 {
				t.Errorf("%d requests are still counted, %d of them asking", n, m)
			}
		})
	}
	if heard[true] != heard[false] {
		t.Errorf("quickly\n%s\nusually\n%s", heard[true], heard[false])
	}
}
