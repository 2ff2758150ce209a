package admission_test

import (
	"errors"
	"sync"
	"time"

	"github.com/flashsale-engine/flashsale/admission"
	"github.com/flashsale-engine/flashsale/engine"
)

type testCase struct {
	name string
	run  func(w *world)
}

var cases = []testCase{
	{"nothing is known of a room that is not there", func(w *world) {
		_, err := w.q.Join(w.Context(), w.r, key(1))
		w.refused(err, engine.CodeGateFrozen)
		_, err = w.q.Status(w.Context(), w.r)
		w.refused(err, engine.CodeGateFrozen)
	}},
	{"arming is repeatable, with the same terms", func(w *world) {
		w.arm()
		w.join(1)
		w.arm()
		other := w.terms()
		other.Seed = seedOf(2)
		w.refused(w.q.Arm(w.Context(), w.r, other), engine.CodeSaleLocked)
		w.counted(1, 0, 0, 0)
	}},
	{"a room that nobody has joined is armed anew with other terms", func(w *world) {
		w.arm()
		other := w.terms()
		other.Seed = seedOf(2)
		w.ok(w.q.Arm(w.Context(), w.r, other))
		is(w, w.status().Commitment, admission.Commitment("demo", seedOf(2)))
	}},
	{"the time of the opening can be moved until it has come", func(w *world) {
		terms := w.terms()
		terms.OpensAt = w.now().Add(100 * w.tick)
		w.ok(w.q.Arm(w.Context(), w.r, terms))
		w.join(1)
		soon := w.now().Add(w.tick)
		w.ok(w.q.Start(w.Context(), w.r, soon))
		is(w, w.status().State, admission.Armed)
		is(w, w.status().OpensAt.UnixMilli(), soon.UnixMilli())
		w.wait(w.tick)
		is(w, w.status().State, admission.Opened)
		w.ok(w.q.Start(w.Context(), w.r, w.now().Add(w.tick)))
		is(w, w.status().State, admission.Opened)
		is(w, w.status().N, 1)
	}},
	{"one runner moves the front, and another once its lease is over", func(w *world) {
		w.open(9)
		step := admission.Step{To: 3, Runner: "a", Lease: w.tick}
		s, err := w.q.Advance(w.Context(), w.r, step)
		w.ok(err)
		is(w, s.Front, 3)
		is(w, s.Runner, "a")
		other := admission.Step{From: 3, To: 5, Runner: "b", Lease: w.tick}
		if _, err := w.q.Advance(w.Context(), w.r, other); !errors.Is(err, admission.ErrRunsElsewhere) {
			w.Fatalf("%v", err)
		}
		is(w, w.status().Front, 3)
		w.wait(w.tick)
		s, err = w.q.Advance(w.Context(), w.r, other)
		w.ok(err)
		is(w, s.Front, 5)
		step.From = 3 // late, from where it believes the front to be
		if _, err := w.q.Advance(w.Context(), w.r, step); !errors.Is(err, admission.ErrRunsElsewhere) {
			w.Fatalf("%v", err)
		}
		is(w, w.status().Front, 5)
	}},
	{"who is inside is known, and who took, and who went without", func(w *world) {
		terms := w.terms()
		terms.Lease, terms.Use = time.Minute, 10*time.Second
		w.ok(w.q.Arm(w.Context(), w.r, terms))
		for i := range 5 {
			w.join(i)
		}
		w.start()
		w.to(5)
		second := map[int64]admission.Taken{}
		for i := range 3 {
			at := w.claim(i).Expires.Add(-terms.Use).Unix()
			if i > 0 {
				second[at] = admission.Taken{Buyers: second[at].Buyers + 1, Units: second[at].Units + 2}
			}
		}
		inside := func(inside, took, units, passed int64) {
			w.Helper()
			s := w.status()
			if got, want := [4]int64{s.Inside, s.Took, s.Units, s.Passed}, [4]int64{inside, took, units, passed}; got != want {
				w.Fatalf("inside, took, units, passed are %v, want %v", got, want)
			}
		}
		inside(3, 0, 0, 0)
		w.ok(w.q.Take(w.Context(), w.r, second))
		inside(1, 2, 4, 0)
		w.to(5)
		inside(1, 2, 4, 0)
		w.wait(terms.Use + 2*time.Second) // claims are counted by the second
		w.to(5)
		inside(0, 2, 4, 1)
		w.to(5)
		inside(0, 2, 4, 1)
		late := map[int64]admission.Taken{w.now().Unix() - 10: {Buyers: 1, Units: 1}}
		w.ok(w.q.Take(w.Context(), w.r, late)) // it had counted as passed
		inside(0, 3, 5, 0)
	}},
	{"to enter is to join, to claim when it is due, and to join again when that is over", func(w *world) {
		w.open(2)
		first := w.at(0, 2)
		enter := func() admission.Ticket {
			w.Helper()
			t, err := w.q.Enter(w.Context(), w.r, key(first))
			w.ok(err)
			return t
		}
		is(w, enter().Standing, admission.Waiting)
		w.to(1)
		got := enter()
		is(w, got.Standing, admission.Admitted)
		is(w, enter(), got)
		w.wait(w.terms().Use)
		again := enter()
		is(w, again.Number, 2)
		is(w, again.Standing, admission.Waiting)
		is(w, again.New, true)
		w.to(3)
		w.wait(w.terms().Lease)
		is(w, enter().Number, 3) // it has lapsed, too
	}},
	{"the seed is secret until the opening, its commitment is not", func(w *world) {
		w.arm()
		before := w.status()
		is(w, before.Seed, "")
		is(w, before.N, -1)
		is(w, before.State, admission.Armed)
		is(w, before.Commitment, admission.Commitment("demo", seedOf(1)))
		w.start()
		after := w.status()
		is(w, len(after.Seed), 64)
		is(w, after.N, 0)
		is(w, after.State, admission.Opened)
		is(w, after.Commitment, before.Commitment)
	}},
	{"a buyer has one ticket, however often they join", func(w *world) {
		w.arm()
		first := w.join(1)
		is(w, first, admission.Ticket{Number: 0, Place: -1, Standing: admission.Waiting, New: true})
		is(w, w.join(2).Number, 1)
		again := w.join(1)
		is(w, again, admission.Ticket{Number: 0, Place: -1, Standing: admission.Waiting})
		w.counted(2, 0, 0, 0)
	}},
	{"a thousand at once get dense tickets", func(w *world) {
		w.arm()
		const buyers = 1000
		var mu sync.Mutex
		seen := map[uint64]bool{}
		var all sync.WaitGroup
		for i := range 2 * buyers { // everybody twice
			all.Go(func() {
				t, err := w.q.Join(w.Context(), w.r, key(i%buyers))
				mu.Lock()
				defer mu.Unlock()
				if err != nil {
					w.Error(err)
				} else if t.New {
					if seen[t.Number] {
						w.Errorf("ticket %d was given out twice", t.Number)
					}
					seen[t.Number] = true
				}
			})
		}
		all.Wait()
		for i := range uint64(buyers) {
			if !seen[i] {
				w.Errorf("nobody has ticket %d", i)
			}
		}
		w.counted(buyers, 0, 0, 0)
	}},
	{"the opening fixes N once", func(w *world) {
		w.open(3)
		opened := w.status().OpenedAt
		late := w.join(3)
		is(w, late.Place, 3)
		w.wait(w.tick / 10)
		w.start()
		is(w, w.status().N, 3)
		is(w, w.status().OpenedAt, opened)
	}},
	{"places after the opening are the shuffle's", func(w *world) {
		w.open(20)
		s := admission.NewShuffle(seedOf(1), 20)
		for i := range 20 {
			is(w, w.join(i).Place, int64(s.Place(uint64(i))))
		}
		is(w, w.join(20).Place, 20)
	}},
	{"the clock opens a room, whoever comes first", func(w *world) {
		terms := w.terms()
		terms.OpensAt = w.now().Add(2 * w.tick)
		w.ok(w.q.Arm(w.Context(), w.r, terms))
		is(w, w.join(1).Place, -1)
		w.wait(2 * w.tick)
		is(w, w.join(2).Place, 1) // late: not among those that are shuffled
		is(w, w.status().N, 1)
		w.start()
		is(w, w.status().N, 1)
	}},
	{"a node that dies after N was fixed leaves nothing undone", func(w *world) {
		w.arm()
		for i := range 5 {
			w.join(i)
		}
		is(w, w.leave(3), admission.Outside) // a hole whose place must be laid down after the opening
		w.start()                            // and here the node dies; another one knows nothing of it
		other, err := admission.Open(admission.Options{URL: w.url, CallTimeout: 20 * time.Second})
		w.ok(err)
		defer func() { w.ok(other.Close()) }()
		is(w, w.join(5).Place, 5)
		s, err := other.Advance(w.Context(), w.r, admission.Step{To: 6})
		w.ok(err)
		is(w, s.Front, 6)
		is(w, s.N, 5)
		w.wait(2 * w.tick)
		w.to(0)
		w.counted(6, 0, 1, 5)
	}},
	{"who is reached in time is admitted, however often they claim", func(w *world) {
		w.open(4)
		b := w.at(1, 4)
		is(w, w.claim(b).Standing, admission.Waiting)
		w.to(1)
		is(w, w.claim(b).Standing, admission.Waiting)
		w.to(2)
		is(w, w.join(b).Standing, admission.Reached)
		first := w.claim(b)
		is(w, first.Standing, admission.Admitted)
		w.wait(w.tick)
		is(w, w.claim(b), first)
		is(w, w.join(b).Standing, admission.Admitted)
		w.counted(4, 1, 0, 0)
		keys := keysOf(w, 1, map[byte][]byte{1: oldK})
		text := sign(w, keys, first.Token(w.r, key(b)))
		got, err := keys.Verify(text, w.r, key(b), w.now())
		w.ok(err)
		is(w, got, first.Token(w.r, key(b)))
	}},
	{"many claims at once admit once", func(w *world) {
		w.open(1)
		w.to(1)
		var all sync.WaitGroup
		for range 50 {
			all.Go(func() {
				if t, err := w.q.Claim(w.Context(), w.r, key(0)); err != nil || t.Standing != admission.Admitted {
					w.Errorf("%v, %v", t, err)
				}
			})
		}
		all.Wait()
		w.counted(1, 1, 0, 0)
	}},
	{"who does not claim in time has lapsed, and may join again at the end", func(w *world) {
		w.open(3)
		b := w.at(0, 3)
		w.to(1)
		w.wait(2 * w.tick)
		is(w, w.claim(b).Standing, admission.Lapsed)
		w.counted(3, 0, 0, 0) // until the front is tended
		w.to(0)
		w.counted(3, 0, 0, 1)
		again := w.join(b)
		is(w, again, admission.Ticket{Number: 3, Place: 3, Standing: admission.Waiting, New: true})
		is(w, w.join(b).Number, 3)
		w.to(4)
		is(w, w.claim(b).Standing, admission.Admitted)
		w.counted(4, 1, 0, 1)
	}},
	{"an admission whose time is over is told so, and another can be had", func(w *world) {
		w.open(1)
		w.to(1)
		w.claim(0)
		w.wait(4 * w.tick)
		is(w, w.claim(0).Standing, admission.Spent)
		is(w, w.join(0).Number, 1)
		w.counted(2, 1, 0, 0)
	}},
	{"those who have gone do not jam the queue", func(w *world) {
		const n = 40
		w.open(n)
		for front := int64(4); front <= n; front += 4 {
			w.to(front)
			for place := front - 4; place < front; place++ {
				if place%4 != 0 { // every fourth has gone without a word
					is(w, w.claim(w.at(place, n)).Standing, admission.Admitted)
				}
			}
		}
		w.wait(2 * w.tick)
		s := w.to(n)
		w.counted(n, n*3/4, 0, n/4)
		is(w, s.Waiting(), 0)
	}},
	{"the log says when each place was reached", func(w *world) {
		w.open(6)
		w.to(2)
		w.wait(w.tick)
		w.to(4) // half a lease later
		w.wait(w.tick)
		is(w, w.claim(w.at(0, 6)).Standing, admission.Lapsed)
		is(w, w.claim(w.at(1, 6)).Standing, admission.Lapsed)
		is(w, w.claim(w.at(2, 6)).Standing, admission.Admitted)
		is(w, w.claim(w.at(3, 6)).Standing, admission.Admitted)
		is(w, w.claim(w.at(4, 6)).Standing, admission.Waiting)
		w.to(4)
		w.counted(6, 2, 0, 2)
	}},
	{"a ticket can be given back at any time, once", func(w *world) {
		const n = 6
		w.open(n)
		is(w, w.leave(w.at(0, n)), admission.Outside) // before it is reached
		w.to(2)
		is(w, w.leave(w.at(1, n)), admission.Outside) // after
		is(w, w.leave(w.at(1, n)), admission.Outside) // again
		is(w, w.leave(99), admission.Outside)         // never joined
		w.to(4)
		w.claim(w.at(2, n))
		is(w, w.leave(w.at(2, n)), admission.Admitted) // too late for that
		w.wait(2 * w.tick)
		is(w, w.leave(w.at(3, n)), admission.Lapsed)
		s := w.to(n)
		w.counted(n, 1, 2, 1)
		is(w, s.Holed, 2)
		is(w, s.Called(), 2) // places 4 and 5
		is(w, w.join(w.at(0, n)).Number, n)
	}},
	{"a hole counts when the front passes it, not before", func(w *world) {
		w.open(6)
		w.leave(w.at(3, 6))
		is(w, w.to(3).Holed, 0)
		is(w, w.to(4).Holed, 1)
		w.wait(2 * w.tick)
		w.to(6)
		w.counted(6, 0, 1, 3)
	}},
	{"what has lapsed stays so, even if the clock steps back", func(w *world) {
		w.open(2)
		w.to(1)
		w.wait(2 * w.tick)
		w.to(1)
		w.wait(-w.tick) // a real clock stays where it is
		is(w, w.claim(w.at(0, 2)).Standing, admission.Lapsed)
		is(w, w.leave(w.at(0, 2)), admission.Lapsed)
		w.counted(2, 0, 0, 1)
	}},
	{"a ticket given back before the opening goes to the next who joins", func(w *world) {
		w.arm()
		w.join(1)
		w.join(2)
		w.leave(1)
		is(w, w.leave(1), admission.Outside)
		w.counted(2, 0, 1, 0)
		is(w, w.join(3).Number, 0)
		w.counted(2, 0, 0, 0)
		is(w, w.join(1).Number, 2)
		w.start()
		is(w, w.status().N, 3)
	}},
	{"two who move the front do not move it twice", func(w *world) {
		w.open(20)
		for _, to := range []int64{5, 5, 9} { // all decided on what was read at the opening
			s, err := w.q.Advance(w.Context(), w.r, admission.Step{From: 0, To: to})
			w.ok(err)
			is(w, s.Front, 5)
		}
		is(w, w.to(3).Front, 5)   // never back
		is(w, w.to(50).Front, 20) // never beyond the last ticket
		s := w.status()
		is(w, s.Rate, 12.5)
		is(w, s.Reach, 99)
		is(w, s.Limit, admission.LimitGate)
	}},
	{"the front does not move before the opening", func(w *world) {
		w.arm()
		w.join(1)
		is(w, w.to(1).Front, 0)
		is(w, w.claim(1).Standing, admission.Waiting)
	}},
	{"a room that is shut admits nobody more", func(w *world) {
		w.open(2)
		w.to(1)
		w.ok(w.q.Shut(w.Context(), w.r))
		w.ok(w.q.Shut(w.Context(), w.r))
		_, err := w.q.Join(w.Context(), w.r, key(9))
		w.refused(err, engine.CodeSaleNotOpen)
		_, err = w.q.Claim(w.Context(), w.r, key(w.at(0, 2)))
		w.refused(err, engine.CodeSaleNotOpen)
		is(w, w.status().State, admission.Closed)
	}},
	{"another generation fences the earlier one", func(w *world) {
		w.open(2)
		old := w.r
		w.r.Epoch = 2
		w.arm()
		is(w, w.join(9).Number, 0)
		_, err := w.q.Join(w.Context(), old, key(1))
		w.refused(err, engine.CodeGateFrozen)
		w.refused(w.q.Arm(w.Context(), old, w.terms()), engine.CodeGateFrozen)
		w.ok(w.q.Drop(w.Context(), old))
		w.counted(1, 0, 0, 0)
	}},
	{"a dropped room leaves nothing behind", func(w *world) {
		w.open(50)
		w.to(20)
		w.leave(w.at(1, 50))
		w.leave(w.at(40, 50))
		w.ok(w.q.Drop(w.Context(), w.r))
		w.ok(w.q.Drop(w.Context(), w.r))
		is(w, len(w.keysLeft()), 0)
	}},
	{"opening while everybody joins shuffles exactly those before", func(w *world) {
		w.arm()
		var all sync.WaitGroup
		for i := range 200 {
			all.Go(func() {
				if i == 100 {
					if err := w.q.Start(w.Context(), w.r, w.now()); err != nil {
						w.Error(err)
					}
				}
				if _, err := w.q.Join(w.Context(), w.r, key(i)); err != nil {
					w.Error(err)
				}
			})
		}
		all.Wait()
		s := w.status()
		is(w, s.Joined, 200)
		places := map[int64]bool{}
		for i := range 200 {
			t := w.join(i)
			if int64(t.Number) >= s.N && t.Place != int64(t.Number) || places[t.Place] {
				w.Fatalf("%+v of %d", t, s.N)
			}
			places[t.Place] = true
		}
	}},
}
