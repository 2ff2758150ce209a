package capacity

import (
	"context"
	"reflect"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func crowd() Crowd {
	return Crowd{Buyers: 3000, Stock: 500, Window: 2 * time.Second, Pay: 1, Hesitate: 100 * time.Millisecond, Provider: 20 * time.Millisecond, Vary: 0.5,
		Nodes: 2, Processors: 2, Shards: 2, Postgres: 8, Kafka: 4, Aside: 4, Writers: 2, Seed: 1}
}

func TestASimulatedSaleKeepsItsBooks(t *testing.T) {
	m := fitted(t)
	rapid.Check(t, func(t *rapid.T) {
		c := crowd()
		c.Buyers = rapid.IntRange(1, 2000).Draw(t, "buyers")
		c.Stock = rapid.IntRange(1, 2000).Draw(t, "stock")
		c.Window = time.Duration(rapid.IntRange(1, 300_000).Draw(t, "window ms")) * time.Millisecond
		c.Pay = rapid.SampledFrom([]float64{0, 0.3, 1}).Draw(t, "pay")
		c.Nodes, c.Shards, c.Writers = rapid.IntRange(1, 5).Draw(t, "nodes"), rapid.IntRange(1, 64).Draw(t, "shards"), rapid.IntRange(1, 4).Draw(t, "writers")
		c.Shared = rapid.Bool().Draw(t, "shared")
		c.Seed = rapid.Uint64().Draw(t, "seed")
		s := build(m, c)
		s.out.SellOut = -1
		s.after(0, arrives, 0)
		for {
			k, who, more := s.next()
			if !more {
				break
			}
			s.happens(k, who)
			var sum units
			for _, u := range s.stock {
				if min(u.available, u.held, u.paying, u.sold) < 0 {
					t.Fatalf("units below zero: %+v", u)
				}
				sum = units{sum.available + u.available, sum.held + u.held, sum.paying + u.paying, sum.sold + u.sold}
			}
			if sum.available+sum.held+sum.paying+sum.sold != c.Stock {
				t.Fatalf("%d units, and there are %+v", c.Stock, sum)
			}
		}
		o := s.report()
		if o.Holds+o.Refused+o.Overloaded != c.Buyers || o.Orders+o.Expired != o.Holds || o.Orders > c.Stock {
			t.Fatalf("%d buyers: %+v", c.Buyers, o)
		}
		if o.Refused > 0 && o.Holds < min(c.Stock, c.Buyers) && c.Pay == 1 {
			t.Fatalf("%d of %d units were held, and %d buyers sent away", o.Holds, c.Stock, o.Refused)
		}
	})
}

func TestTheSameSeedPlaysTheSameSale(t *testing.T) {
	m := fitted(t)
	play := func(seed uint64) Played {
		c := crowd()
		c.Seed = seed
		p, err := Simulate(context.Background(), m, c)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	if a, b := play(1), play(1); !reflect.DeepEqual(a, b) {
		t.Errorf("%+v and %+v", a, b)
	}
	if a, b := play(1), play(2); a.Seconds == b.Seconds {
		t.Error("another seed played the same sale")
	}
}

func TestASimulatedSaleSellsOutWhenTheCrowdHasCome(t *testing.T) {
	m := fitted(t)
	c := crowd()
	p, err := Simulate(context.Background(), m, c)
	if err != nil {
		t.Fatal(err)
	}
	within(t, "sell-out", p.SellOut, 500.0/3000*2, 0.2)
	if p.Orders != 500 || p.Reserve.P50 <= 0 || p.Checkout.P50 < 20_000 || p.Busy["postgres"] <= 0 || p.String() == "" {
		t.Errorf("%+v", p)
	}
	slow := m
	slow.RedisCall.Value = 0.05
	q, err := Simulate(context.Background(), slow, c)
	if err != nil || q.Reserve.P50 < 10*p.Reserve.P50 || q.PerCall < 2*p.PerCall {
		t.Errorf("with calls of 50 ms a reservation takes %v µs, and a call carries %v: %v", q.Reserve.P50, q.PerCall, err)
	}
}
