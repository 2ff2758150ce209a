package main

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// crowd is buyers who do not give up: they repeat what was not answered, reserve
// again what was lost, and stop when everything is sold.
type crowd struct {
	t     *testing.T
	p     *proc
	sale  string
	stock int64

	round  int
	sold   atomic.Int64
	atSold int64 // when so many are sold …
	then   func()
	once   sync.Once

	mu     sync.Mutex
	orders map[string]string // reservation → order that was answered 201 or read as confirmed
	heard  map[string]int    // answers by status and code
}

func (c *crowd) hear(what string, r reply) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.heard[strings.TrimSpace(fmt.Sprint(what, " ", r.Status, " ", r.Code))]++
}

// buy sends n buyers, width at once.
func (c *crowd) buy(n, width int) {
	if c.orders == nil {
		c.orders, c.heard = map[string]string{}, map[string]int{}
	}
	c.round++
	deadline := time.Now().Add(2 * patience)
	each(n, width, func(i int) {
		tok := token(c.t, fmt.Sprintf("crowd-%d-%d", c.round, i))
		for try := 0; c.sold.Load() < c.stock; try++ {
			if time.Now().After(deadline) {
				c.t.Errorf("buyer %d gives up", i)
				return
			}
			held := c.p.reserve(tok, c.sale, fmt.Sprintf("k-%d-%d", i, try))
			c.hear("reserve", held)
			switch {
			case held.Status == 201:
				if c.pay(tok, held.text("id"), deadline) {
					return
				}
			case held.Status == 503 || held.Status == 408 || held.Status == 0:
				try-- // the same key again
			case held.Code != "sold_out":
				c.t.Errorf("buyer %d: %d %s", i, held.Status, held.Raw)
				return
			}
			<-time.After(50 * time.Millisecond)
		}
	})
}

// pay pays for a hold until it is an order; false: it is none, and the buyer may reserve anew.
func (c *crowd) pay(tok, id string, deadline time.Time) bool {
	key := "pay"
	for ; time.Now().Before(deadline); <-time.After(50 * time.Millisecond) {
		got := c.p.checkout(tok, id, key, "pm_card_visa")
		c.hear("pay", got)
		order := got.text("id")
		if got.Status == 202 {
			got = c.await(tok, id, deadline)
			order = got.text("order")
		}
		switch {
		case got.Status == 201 || got.text("state") == "confirmed":
			c.mu.Lock()
			c.orders[id] = order
			c.mu.Unlock()
			if c.sold.Add(1) == c.atSold {
				c.once.Do(c.then)
			}
			return true
		case got.Status == 503, got.Status == 408, got.Status == 0, got.Status == 409 && got.Header.Get("Retry-After") != "":
		case got.Status == 200 && got.text("state") == "held", got.Code == "payment_declined": // it was ended unsent
			key += "+"
		case got.Code == "reservation_lost", got.Code == "reservation_expired", got.Code == "reservation_released", got.text("state") == "released", got.text("state") == "expired":
			return false
		default:
			c.t.Errorf("paying for %s: %d %s", id, got.Status, got.Raw)
			return false
		}
	}
	return false
}

// await polls a reservation until it is no longer in between.
func (c *crowd) await(tok, id string, deadline time.Time) (got reply) {
	for ; time.Now().Before(deadline); <-time.After(100 * time.Millisecond) {
		got = c.p.reservation(tok, id)
		if s := got.text("state"); s != "paying" && s != "accepted" && got.Status != 503 && got.Status != 0 {
			break
		}
	}
	return got
}

// mustHaveSold checks that exactly the stock was sold, to whom it was said, and
// prints how long the gate was frozen.
func (c *crowd) mustHaveSold(r *rig, rebuilds int) {
	t := c.t
	t.Helper()
	eventually(t, "the whole stock is sold and captured", func() (bool, string) {
		n, m := r.query("SELECT count(*) FROM orders WHERE state = 'confirmed'"), r.query("SELECT count(*) FROM payments WHERE state = 'captured'")
		return int64(n) == c.stock && n == m, fmt.Sprint(n, " orders, ", m, " captured")
	})
	for id, order := range c.orders {
		if n := r.query("SELECT count(*) FROM orders WHERE order_id = $1 AND state = 'confirmed'", order); n != 1 {
			t.Errorf("order %q of %s was told to its buyer and is there %d times", order, id, n)
		}
	}
	if n := r.query("SELECT count(*) FROM orders WHERE state = 'refused'"); n != 0 {
		t.Errorf("%d orders were refused", n)
	}
	eventually(t, "every gate is open", func() (bool, string) {
		out, errs, status := command(t, "gate", "status", "--admin", c.p.ready.Admin, "--token", testToken)
		return status == exitOK, out + errs
	})
	v := c.p.mustBeClean(t)
	if v.Checked.Orders != c.stock {
		t.Errorf("verify saw %d units in orders, not %d", v.Checked.Orders, c.stock)
	}
	if n := r.query("SELECT count(*) FROM gate_rebuilds"); n < rebuilds {
		t.Errorf("%d rebuilds, want %d at least", n, rebuilds)
	}
	t.Logf("heard: %v", c.heard)
	for _, line := range r.rebuilds() {
		t.Log(line)
	}
}

// rebuilds tells the rebuilds of the record.
func (r *rig) rebuilds() (out []string) {
	r.t.Helper()
	rows, err := r.sql().Query("SELECT sale_no, shard, cause, was, epoch, frozen_ms, accepted, paying, kept, lost FROM gate_rebuilds ORDER BY id")
	if err != nil {
		r.t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var n [9]int
		var cause string
		if err := rows.Scan(&n[0], &n[1], &cause, &n[2], &n[3], &n[4], &n[5], &n[6], &n[7], &n[8]); err != nil {
			r.t.Fatal(err)
		}
		out = append(out, fmt.Sprintf("sale %d shard %d, lost %s: epoch %d to %d, frozen %.3f s, %d accepted, %d paying, %d kept, %d lost",
			n[0], n[1], cause, n[2], n[3], float64(n[4])/1000, n[5], n[6], n[7], n[8]))
	}
	if err := rows.Err(); err != nil {
		r.t.Fatal(err)
	}
	return out
}
