package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/flashsale-engine/flashsale/payment/sandbox"
)

// intents gives the provider's books.
func (r *rig) intents() []sandbox.Intent {
	r.t.Helper()
	res, err := http.Get(r.box.URL() + "/v1/payment_intents?limit=1000")
	if err != nil {
		r.t.Fatal(err)
	}
	defer res.Body.Close()
	var page struct {
		Data    []sandbox.Intent `json:"data"`
		HasMore bool             `json:"has_more"`
	}
	if err := json.NewDecoder(res.Body).Decode(&page); err != nil || page.HasMore {
		r.t.Fatalf("the books: more %v, %v", page.HasMore, err)
	}
	return page.Data
}

// books gives what they say of a reservation's payments.
func (r *rig) books(reservation string) (statuses []string) {
	for _, in := range r.intents() {
		if in.Metadata["reservation"] != reservation {
			continue
		}
		if statuses = append(statuses, string(in.Status)); in.Refunded {
			statuses[len(statuses)-1] = "refunded"
		}
	}
	return statuses
}

// hold makes one hold of a buyer's own.
func (p *proc) hold(t *testing.T, buyer string) (tok, id string) {
	t.Helper()
	tok = token(t, buyer)
	return tok, p.held(t, tok, "drop", "r").text("id")
}

func (p *proc) becomes(t *testing.T, tok, id, state string) {
	t.Helper()
	eventually(t, id+" is "+state, func() (bool, string) {
		got := p.reservation(tok, id)
		return got.text("state") == state, got.Raw
	})
}

// The table of what a payment can become, through the public API against the
// sandbox over HTTP, and what the sandbox's books say afterwards.
func TestEveryEndOfAPaymentIsRightForBuyerStockAndBooks(t *testing.T) {
	r := newRig(t)
	p := r.serve("--reconcile-every", "1s")
	p.sale("drop", 100, 1, "2m")
	const same = "the-same-request-id" // a problem document names its request

	rows := map[string]func(t *testing.T, tok, id string) (books string){
		"approved, and the same answer after the capture": func(t *testing.T, tok, id string) string {
			first := p.pays(t, tok, id, "k1")
			eventually(t, "it is captured", func() (bool, string) {
				got := send("GET", p.ready.API+"/v1/orders/"+first.text("id"), tok, "", "")
				return strings.Contains(got.Raw, `"captured"`), got.Raw
			})
			again := p.pays(t, tok, id, "k1")
			if again.Raw != first.Raw || again.Header.Get("Idempotency-Replayed") != "true" {
				t.Errorf("first %s\nthen  %s", first.Raw, again.Raw)
			}
			p.checkout(tok, id, "k2", "pm_card_visa").must(t, 409)
			p.checkout(tok, id, "k1", "pm_card_chargeDeclined").must(t, 422)
			return "[succeeded]"
		},
		"declined, the same answer again, and another card": func(t *testing.T, tok, id string) string {
			first := p.checkout(tok, id, "k1", "pm_card_chargeDeclinedInsufficientFunds", "X-Request-Id", same).must(t, 402)
			again := p.checkout(tok, id, "k1", "pm_card_chargeDeclinedInsufficientFunds", "X-Request-Id", same).must(t, 402)
			if got := p.reservation(tok, id).text("state"); got != "held" {
				t.Errorf("the hold is %s", got)
			}
			p.pays(t, tok, id, "k2")
			late := p.checkout(tok, id, "k1", "pm_card_chargeDeclinedInsufficientFunds", "X-Request-Id", same).must(t, 402)
			for _, r := range []reply{again, late} {
				if r.Raw != first.Raw || r.Header.Get("Idempotency-Replayed") != "true" {
					t.Errorf("first %s\nthen  %s", first.Raw, r.Raw)
				}
			}
			return "[requires_payment_method succeeded]"
		},
		"charged and never said so": func(t *testing.T, tok, id string) string {
			p.checkout(tok, id, "k1", "pm_sandbox_timeoutAfterCharge").must(t, 202)
			if got := p.checkout(tok, id, "k2", "pm_card_visa"); got.Code != "attempt_in_progress" && got.Code != "already_paid" {
				t.Errorf("another tab gets %s", got.Raw)
			}
			p.becomes(t, tok, id, "confirmed")
			return "[succeeded]"
		},
		"still processing, then approved": func(t *testing.T, tok, id string) string {
			p.checkout(tok, id, "k1", "pm_sandbox_processing").must(t, 202)
			p.becomes(t, tok, id, "confirmed")
			return "[succeeded]"
		},
		"a double click": func(t *testing.T, tok, id string) string {
			var codes [2]int
			var both sync.WaitGroup
			for i := range codes {
				both.Go(func() { codes[i] = p.checkout(tok, id, "k1", "pm_card_visa").Status })
			}
			both.Wait()
			for _, c := range codes {
				if c != 201 && c != 409 {
					t.Errorf("answers %v", codes)
				}
			}
			p.becomes(t, tok, id, "confirmed")
			p.pays(t, tok, id, "k1")
			return "[succeeded]"
		},
		"a key in two tabs' hands": func(t *testing.T, tok, id string) string {
			var wins sync.Map
			each(8, 8, func(i int) {
				wins.Store(p.checkout(tok, id, fmt.Sprint("k", i), "pm_card_visa").Status, true)
			})
			p.becomes(t, tok, id, "confirmed")
			wins.Range(func(status, _ any) bool {
				if status != 201 && status != 409 {
					t.Errorf("a tab was told %d", status)
				}
				return true
			})
			return "[succeeded]"
		},
	}
	for name, row := range rows {
		t.Run(name, func(t *testing.T) {
			tok, id := p.hold(t, strings.ReplaceAll(name, " ", "-"))
			want := row(t, tok, id)
			eventually(t, "the books say "+want, func() (bool, string) {
				got := r.books(id)
				slices.Sort(got)
				return fmt.Sprint(got) == want, fmt.Sprint(got)
			})
		})
	}
	v := p.mustBeClean(t)
	eventually(t, "nothing is left to resolve", func() (bool, string) {
		v = p.mustBeClean(t)
		return v.Checked.Unresolved == 0, fmt.Sprintf("%+v", v.Checked)
	})
	send("POST", p.ready.API+"/v1/webhooks/nobody", "", "", "{}").must(t, 404)
}

func TestPaymentsWaitForAProviderThatIsAway(t *testing.T) {
	r := newRig(t)
	p := r.serve("--reconcile-every", "1s")
	p.sale("drop", 100, 1, "2m")
	if err := r.box.SetControl(sandbox.Control{Outage: true}); err != nil {
		t.Fatal(err)
	}
	const n = 20
	toks, ids := make([]string, n), make([]string, n)
	each(n, 8, func(i int) {
		toks[i] = token(t, fmt.Sprint("buyer-", i))
		ids[i] = p.reserve(toks[i], "drop", "r").text("id")
		if got := p.checkout(toks[i], ids[i], "k", "pm_card_visa"); got.Status != 202 {
			t.Errorf("during the outage: %d %s", got.Status, got.Raw)
		}
	})
	out, _, _ := command(t, "payments", "ls", "--state", "authorising", "--json", "--admin", p.ready.Admin, "--token", testToken)
	// One may be in somebody's hands at this moment, to see whether the provider is back.
	if all, queued := strings.Count(out, `"pay_`), strings.Count(out, `"queued"`); all != n || queued == 0 {
		t.Errorf("%d of %d are waiting, %d of them queued: %s", all, n, queued, out)
	}
	if err := r.box.SetControl(sandbox.Control{}); err != nil {
		t.Fatal(err)
	}
	back := time.Now()
	for i := range n {
		p.becomes(t, toks[i], ids[i], "confirmed")
	}
	t.Logf("all %d were orders %s after the provider was back", n, time.Since(back).Round(time.Millisecond))
	eventually(t, "all are captured", func() (bool, string) {
		v := p.mustBeClean(t)
		return v.Checked.Unresolved == 0, fmt.Sprintf("%+v", v.Checked)
	})
}

func TestOperatorsLookAtPaymentsAndGiveMoneyBack(t *testing.T) {
	r := newRig(t)
	p := r.serve("--reconcile-every", "1s")
	p.sale("drop", 10, 1, "2m")
	tok, id := p.hold(t, "ann")
	order := p.pays(t, tok, id, "k1").text("id")
	cli := func(status int, args ...string) string {
		t.Helper()
		out, errs, got := command(t, append(append([]string{"payments"}, args...), "--json", "--admin", p.ready.Admin, "--token", testToken)...)
		if got != status {
			t.Fatalf("payments %v: status %d: %s%s", args, got, out, errs)
		}
		return out
	}
	var list struct {
		Payments []struct {
			ID    string `json:"id"`
			State string `json:"state"`
		} `json:"payments"`
	}
	if err := json.Unmarshal([]byte(cli(exitOK, "show", order)), &list); err != nil || len(list.Payments) != 1 {
		t.Fatalf("%+v, %v", list, err)
	}
	pay := list.Payments[0].ID
	if out := cli(exitOK, "resolve", pay, "--dry-run"); !strings.Contains(out, `"step":"nothing"`) {
		t.Errorf("a paid order's payment: %s", out)
	}
	if out := cli(exitOK, "ls", "--stuck"); !strings.Contains(out, `"payments":[]`) {
		t.Errorf("stuck: %s", out)
	}
	cli(exitFound, "show", "pay_00000000000000000000000000000000")
	cli(exitFound, "refund", "ord_nonsense", "--reason", "x")
	if out := cli(exitOK, "refund", order, "--reason", "arrived broken", "--dry-run"); !strings.Contains(out, "arrived broken") {
		t.Errorf("dry run: %s", out)
	}
	for range 2 { // repeatable
		cli(exitOK, "refund", order, "--reason", "arrived broken")
	}
	eventually(t, "the money is back", func() (bool, string) {
		got := r.books(id)
		return fmt.Sprint(got) == "[refunded]", fmt.Sprint(got)
	})
	eventually(t, "the order says so, and stays", func() (bool, string) {
		got := send("GET", p.ready.API+"/v1/orders/"+order, tok, "", "")
		return got.text("state") == "confirmed" && strings.Contains(got.Raw, `"refunded"`), got.Raw
	})
	if n := r.query("SELECT count(*) FROM audit_log WHERE act = 'refund' AND target = $1", order); n != 1 {
		t.Errorf("%d audit entries", n)
	}
	if again := p.checkout(tok, id, "k1", "pm_card_visa"); again.Status != 201 {
		t.Errorf("the checkout's key now gets %d %s", again.Status, again.Raw)
	}
	p.mustBeClean(t)
}

// The record's list is asked once a minute here, so that it is the event that acts.
func TestAProvidersEventHasItsAttemptLookedUp(t *testing.T) {
	r := newRig(t)
	p := r.serve("--reconcile-every", "1m")
	p.sale("drop", 10, 1, "2m")
	tok, id := p.hold(t, "ann")
	p.checkout(tok, id, "k1", "pm_sandbox_timeoutAfterCharge").must(t, 202)
	for range 2 { // a late and a second one for the same attempt
		r.exec(`INSERT INTO provider_events (provider, id, type, attempt, at) SELECT 'sandbox', gen_random_uuid()::text, 'payment_intent.amount_capturable_updated', id, now() FROM payments`)
	}
	r.exec(`INSERT INTO provider_events (provider, id, type, attempt, at) VALUES ('sandbox', 'nobodys', 'payment_intent.succeeded', decode(repeat('00', 16), 'hex'), now())`)
	p.becomes(t, tok, id, "confirmed")
	eventually(t, "all events are acted on", func() (bool, string) {
		n := r.query("SELECT count(*) FROM provider_events WHERE done_at IS NULL")
		return n == 0, fmt.Sprint(n)
	})
	eventually(t, "the books balance", func() (bool, string) {
		got := r.books(id)
		return fmt.Sprint(got) == "[succeeded]", fmt.Sprint(got)
	})
	p.mustBeClean(t)
}

// Declines, lost answers, errors after the work was done, and an outage in the
// middle: whatever the buyers were told, the books balance in the end.
func TestManyPaymentsWithFaultsLeaveTheBooksBalanced(t *testing.T) {
	r := newRig(t)
	p := r.serve("--payment-timeout", "1s", "--default-wait", "5s", "--reconcile-every", "1s")
	const n = 600
	p.sale("drop", n, 1, "4m")
	holds := p.holds(t, "drop", n)
	faults := sandbox.Control{DeclineRate: 0.10, ErrorRate: 0.07, Seed: 7}
	if err := r.box.SetControl(faults); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	answers := map[string]int{}
	ids := slices.Collect(maps.Keys(holds))
	each(n, 32, func(i int) {
		switch i {
		case n / 3:
			down := faults
			down.Outage = true
			_ = r.box.SetControl(down)
		case 2 * n / 3:
			_ = r.box.SetControl(faults)
		}
		method := "pm_card_visa"
		if i%40 == 0 {
			method = "pm_sandbox_timeoutAfterCharge"
		}
		got := p.checkout(holds[ids[i]], ids[i], "k1", method)
		mu.Lock()
		defer mu.Unlock()
		answers[fmt.Sprint(got.Status, " ", got.Code)]++
	})
	if err := r.box.SetControl(sandbox.Control{}); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	states := settled(t, p, holds)
	eventually(t, "nothing is left to resolve", func() (bool, string) {
		v, _ := p.verify(t)
		return v.Clean() && v.Checked.Unresolved == 0, fmt.Sprintf("%+v", v)
	})
	t.Logf("answers %v; in the end %v, %s after the faults", answers, states, time.Since(began).Round(100*time.Millisecond))
	orders := r.query("SELECT count(*) FROM orders WHERE state = 'confirmed'")
	if captured := r.query("SELECT count(*) FROM payments WHERE state = 'captured'"); captured != orders || orders != states["200 confirmed"] {
		t.Errorf("%d orders, %d captured, %v", orders, captured, states)
	}
	if open := r.query("SELECT count(*) FROM payments WHERE state IN ('unknown', 'action_required', 'authorised') OR parked = 'queued'"); open != 0 {
		t.Errorf("%d attempts have not ended", open)
	}
	charged := map[string]int{}
	for _, in := range r.intents() {
		if in.Status == sandbox.Captured {
			charged[in.Metadata["reservation"]]++
		}
	}
	for id, times := range charged {
		if times > 1 {
			t.Errorf("%s was charged %d times", id, times)
		}
	}
	if len(charged) != orders {
		t.Errorf("%d reservations were charged for, and there are %d orders", len(charged), orders)
	}
}
