package main

import (
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/flashsale-engine/flashsale/internal/devstack/testenv"
	"github.com/flashsale-engine/flashsale/payment/sandbox"
)

var storms = flag.Int("storm", 400, "how many buyers check out in the payment storm; above a thousand, also with the breakers forced closed")

const stormSecret = "whsec_of_the_storm"

// TestAPaymentStormLeavesEveryBuyerStockAndBooksRight has buyers come at a rate
// and pay at a provider that declines every tenth, charges every twentieth
// without ever saying so, answers 500 to every fiftieth, sends its webhooks
// late, twice and forged, and in the middle says nothing at all for a while.
// `make storm` does it to 10,000, once as it is and once with the breakers
// forced closed, and prints what they were told and how long they waited.
func TestAPaymentStormLeavesEveryBuyerStockAndBooksRight(t *testing.T) {
	t.Parallel()
	newStorm(t, *storms).run(t, "auto")
	if *storms > 1000 {
		newStorm(t, *storms).run(t, "close")
	}
}

// storm is one run.
type storm struct {
	r             *rig
	p             *proc
	first         map[string]string // the hold that was paid before, so that everybody's consumers are at work
	n             int
	lasts         time.Duration // over so long they come
	ends          time.Duration // so long after the last of them all is at its end
	outage, still time.Duration // the provider falls silent after outage, for still
	giveUp        time.Time     // buyers who have no end then will get none

	mu        sync.Mutex
	began     time.Time
	said      map[string]int             // first answers
	became    map[string]int             // what became of the buyers
	answered  map[string][]time.Duration // by phase: until the first answer
	ordered   map[string][]time.Duration // by phase: until the order was known
	opened    time.Duration              // after the silence began
	closed    time.Duration              // after it ended
	requests  int
	cancelled int // payments that were cancelled because the provider never saw them
}

var phases = []string{"before", "during", "after"}

func newStorm(t *testing.T, n int) *storm {
	s := &storm{n: n, lasts: 6 * time.Second, still: 2 * time.Second, ends: 4 * time.Minute, said: map[string]int{}, became: map[string]int{}, answered: map[string][]time.Duration{}, ordered: map[string][]time.Duration{}}
	if n > 1000 {
		s.lasts, s.still, s.ends = 80*time.Second, 10*time.Second, 30*time.Second // no other tests beside it
	}
	s.outage = s.lasts * 3 / 8
	s.r = rigOn(t, testenv.OwnRedis(t).URL, testenv.Postgres(t), strings.Join(testenv.Kafka(t), ","))
	s.p = s.r.serve("--payment-timeout", "1s", "--default-wait", "5s", "--reconcile-every", "1s", "--payment-webhook-secret", stormSecret)
	send("POST", s.r.box.URL()+"/control/webhooks", "", "", fmt.Sprintf(`{"url":%q,"secret":%q}`, s.p.ready.API+"/v1/webhooks/sandbox", stormSecret)).must(t, 200)
	s.p.sale("warm", 1, 1, "4m")
	s.first = s.p.holds(t, "warm", 1)
	payRest(t, s.p, s.first)
	if err := s.r.box.SetControl(sandbox.Control{Seed: 7, DeclineRate: 0.10, TimeoutAfterRate: 0.05, ErrorRate: 0.02,
		WebhookDuplicateRate: 0.10, WebhookLateRate: 0.10, WebhookOutOfOrderRate: 0.05, WebhookForgedRate: 0.05, WebhookDelayMS: 2000}); err != nil {
		t.Fatal(err)
	}
	return s
}

// run lets the storm pass and looks at what it has left. mode is what an
// operator does to the breakers when the provider falls silent.
func (s *storm) run(t *testing.T, mode string) {
	s.p.sale("storm", s.n, 1, "4m")
	holds := s.p.holds(t, "storm", s.n)
	s.began = time.Now()
	s.giveUp = s.began.Add(s.lasts + s.ends)
	var all sync.WaitGroup
	all.Go(func() { s.fallSilent(t, mode) })
	all.Go(func() { s.watchBreaker(mode == "auto") })
	s.arrive(&all, holds)
	last := time.Now()
	all.Wait()
	told := time.Since(last)
	maps.Copy(holds, s.first)
	states := settled(t, s.p, holds)
	eventually(t, "every order is captured on record, nothing is left to resolve, and no event to act on", func() (bool, string) {
		todo := s.r.query("SELECT count(*) FROM payments WHERE state NOT IN ('captured', 'declined', 'voided')") + s.r.query("SELECT count(*) FROM provider_events WHERE done_at IS NULL")
		for _, d := range s.r.box.Deliveries() {
			if d.Status == "pending" {
				todo++
			}
		}
		return todo == 0, fmt.Sprint(todo, " payments, events and webhooks")
	})
	if v := s.p.mustBeClean(t); v.Checked.Unresolved != 0 {
		t.Errorf("the provider's books have open payments: %+v", v.Checked)
	}
	took := time.Since(last)
	s.report(t, mode, states, told, took)
	if took > s.ends {
		t.Errorf("all was at its end %s after the last buyer came, not in %s", took, s.ends)
	}
	if mode == "auto" && s.opened == 0 {
		t.Error("the outage did not open the breaker")
	}
	if s.became["gave up"] > 0 {
		t.Errorf("buyers were told no end: %v", s.became)
	}
	s.mustBalance(t, states)
	if err := s.p.stop(); err != nil { // it would share the processors with the next
		t.Error(err)
	}
}

// arrive sends each buyer off when they are due, come what may of the others.
func (s *storm) arrive(all *sync.WaitGroup, holds map[string]string) {
	ids := slices.Sorted(maps.Keys(holds))
	dice := rand.New(rand.NewPCG(7, uint64(s.n)))
	next := s.began
	for _, id := range ids {
		next = next.Add(time.Duration(dice.ExpFloat64() * float64(s.lasts) / float64(s.n)))
		due := next
		<-time.After(time.Until(due))
		all.Go(func() { s.buy(id, holds[id], due) })
	}
}

// fallSilent has the provider take every request and answer none for a while.
func (s *storm) fallSilent(t *testing.T, mode string) {
	<-time.After(time.Until(s.began.Add(s.outage)))
	s.breakers(t, mode)
	if err := s.r.box.Script(sandbox.Fault{Op: sandbox.OpAny, Fault: sandbox.TimeoutBefore, Count: 1_000_000}); err != nil {
		t.Error(err)
	}
	<-time.After(time.Until(s.began.Add(s.outage + s.still)))
	if mode == "auto" { // a slow machine has not sent enough yet for a breaker to judge by
		for end := time.Now().Add(patience); !s.hasOpened() && time.Now().Before(end); {
			<-time.After(50 * time.Millisecond)
		}
	}
	if got := send("DELETE", s.r.box.URL()+"/control/next", "", "", ""); got.Status != http.StatusOK {
		t.Errorf("the outage does not end: %s", got.Raw)
	}
	s.breakers(t, "auto")
}

func (s *storm) breakers(t *testing.T, mode string) {
	for _, name := range []string{"payment-sandbox-authorise", "payment-sandbox-settle"} {
		if got := s.p.admin("POST", "/breakers/"+name+"/"+mode, `{"reason":"the storm"}`); got.Status != http.StatusOK {
			t.Errorf("breaker %s: %s", mode, got.Raw)
		}
	}
}

// watchBreaker notes when the authorise breaker opens, and when it is closed again.
// On a slow machine it may open long after the silence was to end.
func (s *storm) watchBreaker(opens bool) {
	end := s.began.Add(s.outage + s.still)
	for now := time.Now(); now.Before(s.giveUp) && s.closed == 0; now = <-time.After(50 * time.Millisecond) {
		switch state := s.breaker(); {
		case (state == "open" || state == "half-open") && !s.hasOpened(): // half-open: it was, since the last look
			s.mu.Lock()
			s.opened = time.Since(s.began.Add(s.outage))
			s.mu.Unlock()
		case state == "closed" && now.After(end) && (s.hasOpened() || !opens):
			s.closed = time.Since(end)
		}
	}
}

func (s *storm) hasOpened() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.opened > 0
}

func (s *storm) breaker() string {
	list, _ := s.p.admin("GET", "/breakers", "").Body["breakers"].([]any)
	for _, b := range list {
		if b, _ := b.(map[string]any); b["name"] == "payment-sandbox-authorise" {
			state, _ := b["state"].(string)
			return state
		}
	}
	return ""
}

// confirmed gives the orders by id.
func (s *storm) confirmed(t *testing.T) map[string]bool {
	t.Helper()
	rows, err := s.r.sql().Query("SELECT order_id FROM orders WHERE state = 'confirmed'")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	out := map[string]bool{}
	for rows.Next() {
		var id string
		if err := rows.Scan(&id); err != nil {
			t.Fatal(err)
		}
		out[id] = true
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return out
}

// mustBalance compares the provider's books with the orders.
func (s *storm) mustBalance(t *testing.T, states map[string]int) {
	t.Helper()
	books, err := s.r.box.Books()
	if err != nil {
		t.Fatal(err)
	}
	orders := s.r.query("SELECT count(*) FROM orders WHERE state = 'confirmed'")
	if paid := s.r.query("SELECT count(*) FROM payments p JOIN orders o ON o.attempt = p.id WHERE o.state = 'confirmed' AND p.state = 'captured'"); paid != orders || states["200 confirmed"] != orders {
		t.Errorf("%d orders, %d of them captured on record; reservations: %v", orders, paid, states)
	}
	if len(books.Doubles) > 0 {
		t.Errorf("charged more than once: %+v", books.Doubles)
	}
	confirmed, charged := s.confirmed(t), 0
	for _, in := range books.Intents {
		if in.Status != sandbox.Captured || in.Refunded {
			continue
		}
		charged++
		if !confirmed[in.Metadata["order"]] {
			t.Errorf("%s was charged and has no order", in.Metadata["reservation"])
		}
	}
	usd := books.Totals["usd"]
	if charged != orders || usd.Open != 0 || usd.Captured-usd.Refunded != int64(orders)*1000 {
		t.Errorf("%d orders of 10.00, %d charges, books: %+v", orders, charged, usd)
	}
	kinds := map[string]int{}
	for _, d := range s.r.box.Deliveries() {
		kinds[strings.TrimSpace(d.Status+" "+string(d.Fault))]++
	}
	t.Logf("the books: %v, %+v; webhooks, the last 10,000: %v, on record %d", books.States, usd, kinds, s.r.query("SELECT count(*) FROM provider_events"))
	for _, kind := range []string{"delivered late", "delivered duplicate", "refused forged"} {
		if kinds[kind] == 0 {
			t.Errorf("no webhook was %s: %v", kind, kinds)
		}
	}
	for kind, n := range kinds {
		if strings.HasPrefix(kind, "failed") || strings.HasPrefix(kind, "delivered forged") {
			t.Errorf("%d webhooks were %s", n, kind)
		}
	}
}
