package main

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/flashsale-engine/flashsale/internal/devstack"
	"github.com/flashsale-engine/flashsale/internal/devstack/testenv"
)

// hold makes n holds and gives their ids with their buyers' tokens.
func (p *proc) holds(t *testing.T, sale string, n int) map[string]string {
	t.Helper()
	var mu sync.Mutex
	out := map[string]string{}
	each(n, 64, func(i int) {
		tok := token(t, fmt.Sprintf("buyer-%d", i))
		got := insist(t, func() reply { return p.reserve(tok, sale, fmt.Sprintf("k-%d", i)) })
		mu.Lock()
		defer mu.Unlock()
		if got.Status != 201 {
			t.Errorf("hold %d: %d %s", i, got.Status, got.Raw)
			return
		}
		out[got.text("id")] = tok
	})
	if t.Failed() {
		t.FailNow()
	}
	return out
}

// payAll checks all holds out and gives the orders that were answered 201. At
// the nth of them it calls then, once, while the others are under way.
func payAll(t *testing.T, p *proc, holds map[string]string, at int64, then func()) map[string]string {
	t.Helper()
	var mu sync.Mutex
	var n atomic.Int64
	orders := map[string]string{} // reservation → order
	ids := slices.Collect(maps.Keys(holds))
	each(len(ids), 64, func(i int) {
		got := p.checkout(holds[ids[i]], ids[i], "pay", "pm_card_visa")
		if got.Status != 201 {
			return
		}
		mu.Lock()
		orders[ids[i]] = got.text("id")
		mu.Unlock()
		if n.Add(1) == at && then != nil {
			then()
		}
	})
	return orders
}

// payRest pays every hold that is not an order yet the way a storefront would:
// again with the same key while the answer is transient, and with a new one
// where recovery cancelled the first payment before it was ever sent, which is
// what that key answers for good.
func payRest(t *testing.T, p *proc, holds map[string]string) {
	t.Helper()
	ids := slices.Collect(maps.Keys(holds))
	var cancelled atomic.Int64
	each(len(ids), 64, func(i int) {
		key := "pay"
		for deadline := time.Now().Add(patience); ; <-time.After(50 * time.Millisecond) {
			got := p.checkout(holds[ids[i]], ids[i], key, "pm_card_visa")
			switch {
			case got.Status == 200 || got.Status == 201 || got.Status == 202:
				return
			case key == "pay" && got.Status == 402 && got.text("decline_code") == "payment_cancelled":
				cancelled.Add(1)
				key = "pay again"
			case got.Status == 0 || got.Status == 408:
			case got.Header.Get("Retry-After") == "" || time.Now().After(deadline):
				t.Errorf("%s with key %q: %d %s", ids[i], key, got.Status, got.Raw)
				return
			}
		}
	})
	t.Logf("%d of %d needed a new key", cancelled.Load(), len(ids))
}

// settled waits until no hold is in between: all are final, or held and payable.
func settled(t *testing.T, p *proc, holds map[string]string) map[string]int {
	t.Helper()
	var states map[string]int
	eventually(t, "every hold is confirmed, payable or back in stock", func() (bool, string) {
		var mu sync.Mutex
		states = map[string]int{}
		ids := slices.Collect(maps.Keys(holds))
		each(len(ids), 64, func(i int) {
			got := p.reservation(holds[ids[i]], ids[i])
			mu.Lock()
			defer mu.Unlock()
			states[fmt.Sprint(got.Status, " ", got.text("state"))]++
		})
		for s := range states {
			switch s {
			case "200 confirmed", "200 held", "200 released", "200 expired":
			default:
				return false, fmt.Sprint(states)
			}
		}
		return true, ""
	})
	return states
}

func TestKillingTheServerInAThousandCheckoutsLosesNothing(t *testing.T) {
	r := newRig(t)
	p := r.serve()
	p.sale("drop", 1000, 1, "4m")
	holds := p.holds(t, "drop", 1000)
	answered := payAll(t, p, holds, 300, func() { p.kill() })
	if len(answered) < 300 || len(answered) == 1000 {
		t.Fatalf("%d were answered before the kill; it did not hit the middle", len(answered))
	}

	again := r.serve()
	states := settled(t, again, holds)
	t.Logf("answered 201 before the kill: %d; afterwards: %v", len(answered), states)
	for id, order := range answered {
		if n := r.query("SELECT count(*) FROM orders WHERE order_id = $1 AND state = 'confirmed'", order); n != 1 {
			t.Errorf("order %s of %s was answered 201 and is in Postgres %d times", order, id, n)
		}
	}
	again.mustBeClean(t)

	// What is held can still be paid.
	payRest(t, again, holds)
	eventually(t, "all thousand are orders", func() (bool, string) {
		n := r.query("SELECT count(*) FROM orders WHERE state = 'confirmed'")
		return n == 1000, fmt.Sprint(n)
	})
	eventually(t, "all thousand are captured, none twice", func() (bool, string) {
		n := r.query("SELECT count(*) FROM payments WHERE state = 'captured'")
		return n == 1000, fmt.Sprint(n)
	})
	v := again.mustBeClean(t)
	if v.Checked.Orders != 1000 {
		t.Errorf("verify saw %d units in orders", v.Checked.Orders)
	}
}

func TestKillingTheWriterAloneLosesNothing(t *testing.T) {
	r := newRig(t)
	p := r.serve("--roles", "api,relay,reaper,payments", "--default-wait", "1s")
	w := r.serve("--roles", "writer")
	p.sale("warm", 1, 1, "4m") // the writer is at work when its order has come
	ann := token(t, "ann")
	p.pays(t, ann, p.held(t, ann, "warm", "k").text("id"), "pay")
	p.sale("drop", 400, 1, "4m")
	holds := p.holds(t, "drop", 400)
	answered := payAll(t, p, holds, 100, func() { w.kill() })
	if len(answered) < 100 || len(answered) == 400 {
		t.Fatalf("%d were answered 201; the kill did not hit the middle", len(answered))
	}
	r.serve("--roles", "writer")
	payRest(t, p, holds)
	eventually(t, "every accepted reservation is an order", func() (bool, string) {
		n := r.query("SELECT count(*) FROM orders WHERE state = 'confirmed'")
		return n == 401, fmt.Sprint(n)
	})
	for id, order := range answered {
		if n := r.query("SELECT count(*) FROM orders WHERE order_id = $1", order); n != 1 {
			t.Errorf("order %s of %s was answered 201 and is in Postgres %d times", order, id, n)
		}
	}
	p.mustBeClean(t)
}

func TestAPoliteStopFinishesWhatIsUnderWay(t *testing.T) {
	r := newRig(t)
	p := r.serve()
	p.sale("drop", 200, 1, "4m")
	holds := p.holds(t, "drop", 200)
	stopped := make(chan error, 1)
	answered := payAll(t, p, holds, 50, func() { go func() { stopped <- p.stop() }() })
	if err := <-stopped; err != nil {
		t.Fatalf("it ends with %v\n%s", err, p.stderr)
	}
	for _, order := range answered {
		if n := r.query("SELECT count(*) FROM orders WHERE order_id = $1", order); n != 1 {
			t.Errorf("order %s is in Postgres %d times", order, n)
		}
	}
	// Nothing is in between: a stop leaves no work to recovery.
	if n := r.query("SELECT count(*) FROM payments p WHERE state = 'authorising' AND NOT EXISTS (SELECT FROM orders o WHERE o.attempt = p.id)"); n != 0 {
		t.Errorf("%d payments were cut off", n)
	}
	r.serve().mustBeClean(t)
}

func TestABackendThatGoesAwayIsA503AndNothingIsLost(t *testing.T) {
	t.Parallel()
	redis, postgres, kafka := testenv.OwnRedis(t), testenv.OwnPostgres(t), testenv.OwnKafka(t)
	r := rigOn(t, redis.URL, testenv.NewDatabase(t, postgres.URL), kafka.URL)
	p := r.serve("--default-wait", "2s")
	p.sale("drop", 100, 1, "4m")
	tok := func(i int) string { return token(t, fmt.Sprintf("b%d", i)) }
	away := func(b *devstack.Backend) {
		t.Helper()
		if err := b.Kill(); err != nil {
			t.Fatal(err)
		}
	}
	back := func(b *devstack.Backend) {
		t.Helper()
		if err := b.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	transient := func(got reply) {
		t.Helper()
		if got.Status != 503 || got.Header.Get("Retry-After") == "" || got.Code == "" {
			t.Errorf("while it is away: %d %s, Retry-After %q", got.Status, got.Raw, got.Header.Get("Retry-After"))
		}
	}
	confirmed := func(i int, id, key string) {
		t.Helper()
		eventually(t, "the same checkout again is confirmed", func() (bool, string) {
			got := p.checkout(tok(i), id, key, "pm_card_visa")
			return got.Status == 201, fmt.Sprint(got.Status, " ", got.Raw)
		})
	}

	one := p.held(t, tok(1), "drop", "k").text("id")
	away(redis)
	transient(p.reserve(tok(2), "drop", "k"))
	transient(p.checkout(tok(1), one, "pay", "pm_card_visa"))
	transient(send("GET", p.ready.API+"/readyz", "", "", ""))
	back(redis)
	confirmed(1, one, "pay")

	two := p.held(t, tok(2), "drop", "k").text("id")
	away(kafka)
	p.checkout(tok(2), two, "pay", "pm_card_visa").must(t, 202)
	p.held(t, tok(3), "drop", "k") // the gate goes on
	back(kafka)
	confirmed(2, two, "pay")

	three := p.held(t, tok(3), "drop", "k").text("id")
	away(postgres)
	transient(p.checkout(tok(3), three, "pay", "pm_card_visa"))
	p.held(t, tok(4), "drop", "k")
	back(postgres)
	confirmed(3, three, "pay")

	if err := r.box.Close(); err != nil { // the provider goes away: the hold is kept
		t.Fatal(err)
	}
	four := p.held(t, tok(4), "drop", "k").text("id")
	transient(p.checkout(tok(4), four, "pay", "pm_card_visa"))
	if got := p.reservation(tok(4), four); got.text("state") != "held" {
		t.Errorf("the hold is %s", got.Raw)
	}
}
