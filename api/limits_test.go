package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/flashsale-engine/flashsale/engine"
)

// tally is limits that a test can read: most of each key, free of them without asking.
type tally struct {
	most, free [engine.LimitCount]int

	mu      sync.Mutex
	n       map[string]int
	settled int
}

func (l *tally) at(limit engine.Limit, who, where string) string {
	return fmt.Sprint(limit, "/", who, "/", where)
}

func (l *tally) of(limit engine.Limit, who, where string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.n[l.at(limit, who, where)]
}

func (l *tally) quota(v engine.QuotaVerdict, limit engine.Limit, n int) engine.Quota {
	return engine.Quota{Verdict: v, Limit: limit, Most: l.most[limit], Window: 10 * time.Second, Left: max(0, l.most[limit]-n), Reset: 7500 * time.Millisecond, After: 1500 * time.Millisecond}
}

func (l *tally) Count(limit engine.Limit, who, where string, _ time.Time) engine.Quota {
	l.mu.Lock()
	defer l.mu.Unlock()
	key := l.at(limit, who, where)
	switch n := l.n[key]; {
	case l.most[limit] == 0:
		l.n[key]++
		return engine.Quota{}
	case n < l.free[limit]:
		l.n[key]++
		return engine.Quota{Limit: limit}
	case n >= l.most[limit]:
		return l.quota(engine.Beyond, limit, n)
	}
	return engine.Quota{Verdict: engine.Perhaps, Limit: limit}
}

func (l *tally) Settle(limit engine.Limit, who, where string, _ time.Time) engine.Quota {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.settled++
	key := l.at(limit, who, where)
	if l.n[key] >= l.most[limit] {
		return l.quota(engine.Beyond, limit, l.n[key])
	}
	l.n[key]++
	return l.quota(engine.Within, limit, l.n[key])
}

func (l *tally) Note(limit engine.Limit, who, where string, n int, _ time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.n[l.at(limit, who, where)] += n
}

func (l *tally) Used(limit engine.Limit, who, where string, _ time.Time) engine.Quota {
	l.mu.Lock()
	defer l.mu.Unlock()
	if n := l.n[l.at(limit, who, where)]; l.most[limit] > 0 && n >= l.most[limit] {
		return l.quota(engine.Beyond, limit, n)
	}
	return engine.Quota{Limit: limit}
}

// limiting puts limits before a door: most requests, half of them free.
func limiting(most map[engine.Limit]int) (*tally, func(*Options)) {
	l := &tally{n: map[string]int{}}
	for limit, n := range most {
		l.most[limit], l.free[limit] = n, n/2
	}
	return l, func(o *Options) { o.Limits = l }
}

const hops = "X-Forwarded-For" // what the tests' proxy, this machine, writes

func behindProxy(t *testing.T) func(*Options) {
	return func(o *Options) { o.TrustedProxies = networks(t, "127.0.0.0/8") }
}

func TestABuyerIsLimitedTheQuickWayAndTheUsualInTheSameBytes(t *testing.T) {
	var ways [2]string
	for way, change := range []func(*Options){func(*Options) {}, usualWay} {
		l, limits := limiting(map[engine.Limit]int{engine.LimitBuyer: 4})
		f := &fake{}
		d := openTCP(t, f, limits, change)
		request := shoeRequest(t, anyBuyer).String()
		var got []string
		for range 5 {
			got = append(got, answerTo(t, d, request))
		}
		for i, want := range []string{"201", "201", "201", "201", "429"} {
			if !strings.HasPrefix(got[i], "HTTP/1.1 "+want) {
				t.Errorf("answer %d: %s", i+1, got[i])
			}
		}
		if strings.Contains(got[1], "RateLimit") || !strings.Contains(got[2], "\r\nRateLimit-Policy: \"buyer\";q=4;w=10\r\nRateLimit: \"buyer\";r=1;t=8\r\n") {
			t.Errorf("within the free share\n%s\nbeyond it\n%s", got[1], got[2])
		}
		for _, part := range []string{"\r\nRetry-After: 2\r\n", "\r\nRateLimit: \"buyer\";r=0;t=2\r\n", `"code":"rate_limited"`, `"detail":"this buyer asks too often: 4 in 10s at most"`, `"limit":"buyer"`} {
			if !strings.Contains(got[4], part) {
				t.Errorf("the refusal lacks %s: %s", part, got[4])
			}
		}
		if l.settled != 2 || l.of(engine.LimitBuyer, anyBuyer, "") != 4 {
			t.Errorf("%d were settled, %d counted", l.settled, l.of(engine.LimitBuyer, anyBuyer, ""))
		}
		bob := answerTo(t, d, shoeRequest(t, "bob").String())
		if !strings.HasPrefix(bob, "HTTP/1.1 201") {
			t.Errorf("another buyer pays for it: %s", bob)
		}
		if quick := f.quick.Load(); quick != int64(5*(1-way)) {
			t.Errorf("%d were asked for the quick way", quick)
		}
		ways[way] = strings.Join(got, "\n\n")
	}
	if ways[0] != ways[1] {
		t.Errorf("quickly\n%s\nusually\n%s", ways[0], ways[1])
	}
}

func TestAPlaceIsLimitedBehindAProxyThatIsTrusted(t *testing.T) {
	l, limits := limiting(map[engine.Limit]int{engine.LimitIP: 2, engine.LimitNet: 2})
	d := openTCP(t, &fake{}, limits, behindProxy(t))
	for i, c := range []struct {
		hops   string
		status int
	}{
		{"192.0.2.1", 201}, {"192.0.2.1", 201}, {"192.0.2.1", 429},
		{"203.0.113.5, 192.0.2.1", 429}, // a tale
		{"192.0.2.2", 201},
		{"2001:db8:1:2::1", 201}, {"2001:db8:1:2::2", 201}, {"2001:db8:1:2::3", 429},
		{"", 201}, {"", 201}, {"", 201}, // the proxy's own
	} {
		a := d.do("POST", reservePath, oneShoe, header{hops: c.hops})
		if a.status != c.status {
			t.Errorf("request %d from %q: %d %s", i, c.hops, a.status, a.text)
		}
	}
	if l.of(engine.LimitBuyer, anyBuyer, "") != 8 {
		t.Errorf("the buyer's count is %d: who was refused by the place was counted", l.of(engine.LimitBuyer, anyBuyer, ""))
	}
}

func TestNobodyElseIsBelievedAboutWhereTheyComeFrom(t *testing.T) {
	l, limits := limiting(map[engine.Limit]int{engine.LimitIP: 2})
	d := openTCP(t, &fake{}, limits, func(o *Options) { o.limitLoopback = true })
	for i, want := range []int{201, 201, 429, 429} {
		if a := d.do("POST", reservePath, oneShoe, header{hops: fmt.Sprint("192.0.2.", i)}); a.status != want {
			t.Errorf("request %d: %d", i, a.status)
		}
	}
	if n := l.of(engine.LimitIP, "\x7f\x00\x00\x01", ""); n != 2 {
		t.Errorf("%d were counted at the socket's address", n)
	}
}

func TestThisMachineIsNoPlaceWithLimits(t *testing.T) {
	_, limits := limiting(map[engine.Limit]int{engine.LimitIP: 1, engine.LimitNet: 1})
	d := openTCP(t, &fake{}, limits)
	for range 5 {
		d.do("POST", reservePath, oneShoe, header{hops: "192.0.2.1"}).expect(t, 201, "")
	}
}

func TestLimitsAreLookedAtInTheirOrder(t *testing.T) {
	l, limits := limiting(map[engine.Limit]int{engine.LimitIP: 2, engine.LimitBuyer: 100})
	var known atomic.Bool
	known.Store(true)
	d := openTCP(t, &fake{}, limits, behindProxy(t), func(o *Options) {
		o.SoldOut = func(string, string, string, int) error {
			if known.Load() {
				return gone
			}
			return nil
		}
	})
	d.server.names.keep("demo").refuse(d.clock.now().Unix())
	from := func(p part) string {
		return strings.Replace(p.String(), "Host: x", "Host: x\r\n"+hops+": 192.0.2.1", 1)
	}
	for range 5 { // what is known to be sold out costs nothing, and is not counted
		if got := answerTo(t, d, from(shoeRequest(t, anyBuyer))); !strings.HasPrefix(got, "HTTP/1.1 409") {
			t.Fatal(got)
		}
	}
	if len(l.n) != 0 {
		t.Errorf("counted: %v", l.n)
	}
	bad := shoeRequest(t, anyBuyer) // a place is counted before a token is looked at
	bad.headers = strings.Replace(bad.headers, "Bearer ", "Bearer x", 1)
	known.Store(false)
	for _, want := range []string{"401", "401", "429"} {
		if got := answerTo(t, d, from(bad)); !strings.HasPrefix(got, "HTTP/1.1 "+want) {
			t.Errorf("want %s: %s", want, got)
		}
	}
	if n := l.of(engine.LimitBuyer, anyBuyer, ""); n != 0 {
		t.Errorf("a buyer was counted %d times by somebody else's token", n)
	}
}

func TestWhoHoldsStockIsNotRefusedForTheCrowd(t *testing.T) {
	_, limits := limiting(map[engine.Limit]int{engine.LimitIP: 1, engine.LimitBuyer: 1, engine.LimitHolder: 6})
	d := openTCP(t, &fake{}, limits, behindProxy(t))
	h := header{hops: "192.0.2.1"}
	d.do("POST", reservePath, oneShoe, h).expect(t, 201, "")
	d.do("POST", reservePath, oneShoe, h).expect(t, 429, engine.CodeRateLimited)
	held := "/v1/reservations/" + testID.String()
	d.do("GET", held, "", h).expect(t, 200, "")
	d.do("POST", held+"/checkout", methodBody, h).expect(t, 201, "")
	d.do("GET", "/v1/orders/"+testID.Order(), "", h).expect(t, 200, "")
	d.do("DELETE", held, "", h).expect(t, 200, "")
	d.do("GET", "/v1/sales/demo", "", h).expect(t, 200, "") // nor who looks
}

const methodBody = `{"payment_method":"pm_1Nq8","contact":{"email":"a@example.com"}}`

func TestAPaymentUnderWayIsNotKeptFromItsEnd(t *testing.T) {
	for name, limit := range map[string]engine.Limit{"by the buyer's own limit": engine.LimitHolder, "by the payment method's": engine.LimitMethod} {
		for state, want := range map[engine.ReservationState]int{engine.Held: 429, engine.Paying: 201, engine.Accepted: 201, engine.Confirmed: 201, engine.Expired: 429} {
			_, limits := limiting(map[engine.Limit]int{limit: 1})
			f := &fake{read: func(buyer string, _ engine.ReservationID) (engine.Reservation, error) {
				r := held(buyer)
				r.State = state
				return r, nil
			}}
			d := open(t, f, limits)
			path := "/v1/reservations/" + testID.String() + "/checkout"
			d.do("POST", path, methodBody, nil).expect(t, 201, "")
			if a := d.do("POST", path, methodBody, nil); a.status != want {
				t.Errorf("%s, %s: %d, want %d", name, state, a.status, want)
			}
			f.read = func(string, engine.ReservationID) (engine.Reservation, error) {
				return engine.Reservation{}, engine.E(engine.CodeUnavailable, "away")
			}
			if a := d.do("POST", path, methodBody, nil); a.status != 201 {
				t.Errorf("%s: nobody knows whether it pays: %d", name, a.status)
			}
		}
	}
}

func TestAPaymentMethodIsLimitedAcrossBuyers(t *testing.T) {
	_, limits := limiting(map[engine.Limit]int{engine.LimitMethod: 2})
	d := open(t, &fake{}, limits)
	pay := func(buyer, method string) answer {
		return d.do("POST", "/v1/reservations/"+testID.String()+"/checkout", strings.Replace(methodBody, "pm_1Nq8", method, 1), header{"Authorization": "Bearer " + token(t, buyer)})
	}
	pay("ann", "pm_1Nq8").expect(t, 201, "")
	pay("bob", "pm_1Nq8").expect(t, 201, "")
	a := pay("eve", "pm_1Nq8")
	a.expect(t, 429, engine.CodeRateLimited)
	if a.header.Get("RateLimit-Policy") != `"method";q=2;w=10` || a.header.Get("Retry-After") != "2" {
		t.Errorf("%v", a.header)
	}
	pay("eve", "pm_1Nq9").expect(t, 201, "")
	for range 5 {
		pay("eve", "pm_card_visa").expect(t, 201, "") // nobody's card
	}
}

func TestWhoeverWaitsForALimitIsAnsweredOnceAndInOrder(t *testing.T) {
	l, limits := limiting(map[engine.Limit]int{engine.LimitBuyer: 100})
	l.free[engine.LimitBuyer] = 0
	f := &fake{}
	d := openTCP(t, f, limits)
	c := d.dial()
	for i := range 20 {
		c.say(shoeRequest(t, anyBuyer).String())
		if status, body, _ := c.hear(); status != 201 {
			t.Fatalf("request %d: %d %s", i, status, body)
		}
	}
	if f.quick.Load() != 20 || l.settled != 20 || d.server.inFlight.Load() != 0 {
		t.Errorf("%d quick, %d settled, %d in flight", f.quick.Load(), l.settled, d.server.inFlight.Load())
	}
}

func TestAPanicOfWhoWaitsIsAnswered(t *testing.T) {
	l, limits := limiting(map[engine.Limit]int{engine.LimitBuyer: 100})
	l.free[engine.LimitBuyer] = 0
	d := openTCP(t, &fake{}, limits, func(o *Options) {
		o.ReserveThen = func(context.Context, engine.ReserveRequest, engine.OnReserve) { panic(errors.New("secret")) }
	})
	c := d.dial()
	c.say(shoeRequest(t, anyBuyer).String())
	if status, body, _ := c.hear(); status != http.StatusInternalServerError || strings.Contains(string(body), "secret") {
		t.Errorf("%d %s", status, body)
	}
}

// generous lets everybody in, and leaves no garbage of its own.
type generous struct{ asked int }

func (g *generous) Count(engine.Limit, string, string, time.Time) engine.Quota {
	g.asked++
	return engine.Quota{}
}
func (g *generous) Settle(engine.Limit, string, string, time.Time) engine.Quota { panic("asked") }
func (g *generous) Note(engine.Limit, string, string, int, time.Time)           { g.asked++ }
func (g *generous) Used(engine.Limit, string, string, time.Time) engine.Quota {
	g.asked++
	return engine.Quota{}
}
