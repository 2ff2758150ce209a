package api

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/flashsale-engine/flashsale/engine"
)

// riddles demands one of everybody, or of suspects, and takes the answer "work <sale>/<buyer>".
type riddles struct {
	everybody bool
	mu        sync.Mutex
	asked     int // whether one is demanded
	checked   int
	away      bool
	from      string
}

func (r *riddles) Demand(_ string, suspect bool, _ time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked++
	return r.everybody || suspect
}

func (r *riddles) Give(sale, buyer string, suspect, work bool, now time.Time) engine.Challenge {
	if r.away && !work {
		return engine.Challenge{Kind: "turnstile", SiteKey: "site"}
	}
	c := engine.Challenge{Kind: "work", Text: sale + "/" + buyer, Bits: 16, Expires: now.Add(time.Minute)}
	if suspect {
		c.Bits = 18
	}
	return c
}

func (r *riddles) Check(_ context.Context, sale, buyer, from, solution string, _ time.Time) (string, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.checked++
	r.from = from
	if r.away {
		return "nobody can tell", true
	}
	if solution != "work "+sale+"/"+buyer {
		return "that is wrong", false
	}
	return "", false
}

func riddling(r *riddles) func(*Options) { return func(o *Options) { o.Challenges = r } }

func TestAChallengeIsDemandedAndItsSolutionTakenEitherWay(t *testing.T) {
	for name, change := range map[string]func(*Options){"quickly": func(*Options) {}, "usually": usualWay} {
		t.Run(name, func(t *testing.T) {
			r := &riddles{everybody: true}
			l, limits := limiting(nil)
			d := openTCP(t, &fake{}, limits, behindProxy(t), riddling(r), change)
			a := d.do("POST", reservePath, oneShoe, header{hops: "192.0.2.1"})
			a.expect(t, 403, engine.CodeChallengeRequired)
			c, _ := a.body["challenge"].(map[string]any)
			if c["kind"] != "work" || c["bits"] != 16.0 || c["header"] != headerSolution || c["challenge"] != "demo/"+anyBuyer {
				t.Errorf("%v", a.body)
			}
			d.do("POST", reservePath, oneShoe, header{headerSolution: "work nonsense"}).expect(t, 403, engine.CodeChallengeRequired)
			d.do("POST", reservePath, oneShoe, header{hops: "192.0.2.1", headerSolution: "work demo/" + anyBuyer}).expect(t, 201, "")
			if r.asked != 3 || r.checked != 2 || r.from != "192.0.2.1" {
				t.Errorf("asked %d times, checked %d, from %q", r.asked, r.checked, r.from)
			}
			if n := l.of(engine.LimitBuyer, anyBuyer, ""); n != 3 {
				t.Errorf("three requests are counted as %d", n)
			}
			if n := l.of(engine.LimitUnpaid, anyBuyer, "demo"); n != 1 {
				t.Errorf("%d holds were made", n)
			}
			eve := d.do("POST", reservePath, oneShoe, header{"Authorization": "Bearer " + token(t, "eve"), headerSolution: "work demo/" + anyBuyer})
			eve.expect(t, 403, engine.CodeChallengeRequired)
		})
	}
}

func TestWhoHoldsStockMeetsNoChallenge(t *testing.T) {
	d := open(t, &fake{}, riddling(&riddles{everybody: true}))
	held := "/v1/reservations/" + testID.String()
	d.do("GET", held, "", nil).expect(t, 200, "")
	d.do("POST", held+"/checkout", methodBody, nil).expect(t, 201, "")
	d.do("DELETE", held, "", nil).expect(t, 200, "")
}

func TestWhenNobodyCanTellTheBuyerIsGivenWork(t *testing.T) {
	d := open(t, &fake{}, riddling(&riddles{everybody: true, away: true}))
	a := d.do("POST", reservePath, oneShoe, header{headerSolution: "turnstile 0.abc"})
	a.expect(t, 403, engine.CodeChallengeRequired)
	if c, _ := a.body["challenge"].(map[string]any); c["kind"] != "work" || a.body["detail"] != "nobody can tell" {
		t.Errorf("%v", a.body)
	}
}

func TestAChallengeCanBeHadAheadOfTime(t *testing.T) {
	d := open(t, &fake{}, riddling(&riddles{}))
	a := d.do("GET", "/v1/sales/demo/challenge", "", nil)
	a.expect(t, 200, "")
	if a.body["challenge"] != "demo/"+anyBuyer || a.header.Get("Cache-Control") != "no-store" {
		t.Errorf("%v %v", a.body, a.header)
	}
	d.do("GET", "/v1/sales/demo/challenge", "", header{"Authorization": ""}).expect(t, 401, engine.CodeUnauthenticated)
	open(t, &fake{}).do("GET", "/v1/sales/demo/challenge", "", nil).expect(t, 404, engine.CodeNotFound)
}

func TestWhoLeavesHoldsUnpaidIsAskedForMore(t *testing.T) {
	for name, change := range map[string]func(*Options){"quickly": func(*Options) {}, "usually": usualWay} {
		t.Run(name, func(t *testing.T) {
			l, limits := limiting(map[engine.Limit]int{engine.LimitUnpaid: 3, engine.LimitSuspect: 1})
			f := &fake{}
			d := openTCP(t, f, limits, change)
			reserve := func() answer { return d.do("POST", reservePath, oneShoe, nil) }
			for range 3 {
				reserve().expect(t, 201, "")
			}
			reserve().expect(t, 201, "") // one more per window
			a := reserve()
			a.expect(t, 429, engine.CodeRateLimited)
			if a.body["limit"] != "suspect" || !strings.Contains(a.text, "were not paid for") {
				t.Errorf("%s", a.text)
			}
			d.do("POST", "/v1/reservations/"+testID.String()+"/checkout", methodBody, nil).expect(t, 201, "") // paying is always possible
			if n := l.of(engine.LimitUnpaid, anyBuyer, "demo"); n != 3 {
				t.Errorf("after a payment %d of 4 are unpaid", n)
			}
			f.reserve = func(_ context.Context, r engine.ReserveRequest) (engine.Reservation, error) {
				v := held(r.Buyer)
				v.Replayed = true
				return v, nil
			}
			d.do("POST", reservePath, oneShoe, header{"Authorization": "Bearer " + token(t, "bob")}).expect(t, 201, "")
			if n := l.of(engine.LimitUnpaid, "bob", "demo"); n != 0 {
				t.Errorf("a repeated request counts as %d holds", n)
			}
		})
	}
}

func TestASuspectMeetsAChallengeInsteadIfThereIsOne(t *testing.T) {
	_, limits := limiting(map[engine.Limit]int{engine.LimitUnpaid: 1, engine.LimitUnpaidIP: 2, engine.LimitSuspect: 1})
	d := openTCP(t, &fake{}, limits, behindProxy(t), riddling(&riddles{}))
	reserve := func(buyer, from string) answer {
		return d.do("POST", reservePath, oneShoe, header{"Authorization": "Bearer " + token(t, buyer), hops: from})
	}
	reserve("ann", "192.0.2.1").expect(t, 201, "")
	a := reserve("ann", "192.0.2.9")
	a.expect(t, 403, engine.CodeChallengeRequired)
	if !strings.Contains(a.text, "were not paid for") || !strings.Contains(a.text, `"bits":18`) {
		t.Errorf("%s", a.text)
	}
	reserve("bob", "192.0.2.1").expect(t, 201, "")
	reserve("eve", "192.0.2.1").expect(t, 403, engine.CodeChallengeRequired) // for the address
	reserve("eve", "192.0.2.2").expect(t, 201, "")
}
