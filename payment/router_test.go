package payment

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/flashsale-engine/flashsale/engine"
	"github.com/flashsale-engine/flashsale/outside"
)

// named is a provider whose answers are set by operation; it keeps what it was asked.
type named struct {
	name  string
	calls []string
	say   map[string]func() (engine.Payment, error)
}

func (n *named) call(op string) (engine.Payment, error) {
	n.calls = append(n.calls, op)
	if f := n.say[op]; f != nil {
		return f()
	}
	return engine.Payment{State: engine.PaymentAuthorised, Provider: n.name, Ref: n.name + "_1"}, nil
}

func (n *named) Name() string { return n.name }
func (n *named) Authorise(context.Context, engine.Attempt) (engine.Payment, error) {
	return n.call("authorise")
}
func (n *named) Capture(context.Context, engine.Attempt) (engine.Payment, error) {
	return n.call("capture")
}
func (n *named) Void(context.Context, engine.Attempt) (engine.Payment, error) { return n.call("void") }
func (n *named) Refund(context.Context, engine.Attempt) (engine.Payment, error) {
	return n.call("refund")
}
func (n *named) Lookup(context.Context, engine.Attempt) (engine.Payment, error) {
	return n.call("lookup")
}

func says(state engine.PaymentState, err error) func() (engine.Payment, error) {
	return func() (engine.Payment, error) { return engine.Payment{State: state}, err }
}

// two are a router over providers a and b, and what was noted.
func two(t testing.TB, rules ...string) (r *Router, a, b *named, noted *[]string) {
	t.Helper()
	if len(rules) == 0 {
		rules = []string{"a bps=100", "b bps=200"}
	}
	c := RouterConfig{}
	for _, s := range rules {
		rule, err := ParseRule(s)
		if err != nil {
			t.Fatal(err)
		}
		c.Rules = append(c.Rules, rule)
	}
	a, b = &named{name: "a", say: map[string]func() (engine.Payment, error){}}, &named{name: "b", say: map[string]func() (engine.Payment, error){}}
	for _, p := range []*named{a, b} {
		g, err := NewGuard(p, GuardConfig{Tries: 1})
		if err != nil {
			t.Fatal(err)
		}
		c.Guards = append(c.Guards, g)
	}
	noted = new([]string)
	c.Renote = func(_ context.Context, _ engine.Attempt, provider string) error {
		*noted = append(*noted, provider)
		return nil
	}
	r, err := NewRouter(c)
	if err != nil {
		t.Fatal(err)
	}
	return r, a, b, noted
}

func TestTheRouterChoosesByRuleThenHealthThenCost(t *testing.T) {
	for name, c := range map[string]struct {
		rules    []string
		currency string
		method   string
		amount   int64
		open     string
		want     string
	}{
		"the cheaper":                            {[]string{"a bps=290", "b bps=140"}, "USD", "pm_x", 10_000, "", "b"},
		"the first of equals":                    {[]string{"b", "a"}, "USD", "pm_x", 10_000, "", "b"},
		"a fixed fee weighs on small amounts":    {[]string{"a currency=USD fixed=30", "b bps=200"}, "USD", "pm_x", 1_000, "", "b"},
		"and less on large ones":                 {[]string{"a currency=USD fixed=30", "b bps=200"}, "USD", "pm_x", 2_000, "", "a"},
		"by currency":                            {[]string{"a currency=USD", "b currency=EUR,GBP"}, "GBP", "pm_x", 1, "", "b"},
		"by method":                              {[]string{"a method=pm_card_*", "b method=pm_sandbox_*"}, "USD", "pm_sandbox_slow", 1, "", "b"},
		"by amount":                              {[]string{"a currency=USD max=999", "b currency=USD min=1000"}, "USD", "pm_x", 1000, "", "b"},
		"whoever is open before the cheaper":     {[]string{"a", "b bps=500"}, "USD", "pm_x", 10_000, "a", "b"},
		"a closed door is still the only door":   {[]string{"a", "b currency=EUR"}, "USD", "pm_x", 1, "a", "a"},
		"nobody":                                 {[]string{"a currency=EUR", "b method=pm_y"}, "USD", "pm_x", 1, "", ""},
		"the cheapest of several rules counts":   {[]string{"b bps=100", "a bps=300", "a currency=USD bps=50"}, "USD", "pm_x", 10_000, "", "a"},
		"no overflow with the largest of prices": {[]string{"a bps=10000", "b bps=9999"}, "USD", "pm_x", 1_000_000_000_000_000_000, "", "b"},
	} {
		t.Run(name, func(t *testing.T) {
			r, _, _, _ := two(t, c.rules...)
			if c.open != "" {
				r.byName[c.open].authorise.Force(outside.Open)
			}
			got, err := r.Choose(t.Context(), engine.Attempt{Method: c.method, Amount: engine.Money{Amount: c.amount, Currency: c.currency}})
			if got != c.want || (err != nil) != (c.want == "") {
				t.Fatalf("%q, %v", got, err)
			}
			if c.want == "" && engine.CodeOf(err) != engine.CodePaymentDeclined {
				t.Fatal(err)
			}
		})
	}
}

func TestFailoverHappensOnlyIfTheFirstCertainlyDidNothing(t *testing.T) {
	for name, c := range map[string]struct {
		say       error
		stale     bool // the attempt was worked on before
		renote    error
		no        bool // no Renote at all
		secondBad error
		want      string
		b         int // calls of b
	}{
		"not taken, and noted":                    {say: errNotTaken, want: "b", b: 1},
		"unknown":                                 {say: errNoAnswer, want: "unknown"},
		"an error that says nothing":              {say: errors.New("?"), want: "unknown"},
		"a request refused for what it says":      {say: notTaken(ErrRejected, "400"), want: "not taken"},
		"not taken this time, perhaps before":     {say: errNotTaken, stale: true, want: "not taken"},
		"not taken, and the note fails":           {say: errNotTaken, renote: errors.New("away"), want: "not taken"},
		"not taken, and the note may have failed": {say: errNotTaken, renote: engine.ErrUnknown, want: "not taken"},
		"no way to note it":                       {say: errNotTaken, no: true, want: "not taken"},
		"the second is unknown":                   {say: errNotTaken, secondBad: errNoAnswer, want: "unknown", b: 1},
		"the second does not take it either":      {say: errNotTaken, secondBad: errNotTaken, want: "not taken", b: 1},
		"an answer":                               {say: nil, want: "a"},
	} {
		t.Run(name, func(t *testing.T) {
			r, a, b, noted := two(t)
			if c.say != nil {
				a.say["authorise"] = says("", c.say)
			}
			if c.secondBad != nil {
				b.say["authorise"] = says("", c.secondBad)
			}
			switch {
			case c.no:
				r.c.Renote = nil
			case c.renote != nil:
				r.c.Renote = func(context.Context, engine.Attempt, string) error { return c.renote }
			default:
				inner := r.c.Renote
				r.c.Renote = func(ctx context.Context, at engine.Attempt, to string) error {
					if len(b.calls) > 0 || at.Provider != "a" || to != "b" {
						t.Errorf("%s was called before it was noted: %+v, %s", b.calls, at.Provider, to)
					}
					return inner(ctx, at, to)
				}
			}
			p, err := r.Authorise(t.Context(), engine.Attempt{Provider: "a", Fresh: !c.stale})
			got := p.Provider
			if err != nil {
				got = verdict(err)
			}
			if got != c.want || len(b.calls) != c.b || len(*noted) != c.b {
				t.Fatalf("%s: b was called %d times, noted %v: %v", got, len(b.calls), *noted, err)
			}
		})
	}
}

func TestNobodyIsNotedAtAProviderWhoseBreakerIsOpen(t *testing.T) {
	r, a, b, noted := two(t)
	a.say["authorise"] = says("", errNotTaken)
	r.byName["b"].authorise.Force(outside.Open)
	if _, err := r.Authorise(t.Context(), engine.Attempt{Provider: "a", Fresh: true}); verdict(err) != "not taken" || len(b.calls)+len(*noted) != 0 {
		t.Fatalf("%v, %v: %v", b.calls, *noted, err)
	}
}

func TestAFailoverStaysWithinTheBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, a, b, _ := two(t)
		a.say["authorise"] = func() (engine.Payment, error) { time.Sleep(3 * time.Second); return engine.Payment{}, errNotTaken }
		began := time.Now()
		_, err := r.Authorise(t.Context(), engine.Attempt{Provider: "a", Fresh: true})
		if verdict(err) != "not taken" || len(b.calls) != 0 || time.Since(began) > r.Budget() {
			t.Fatalf("%s, %v, %v", time.Since(began), b.calls, err)
		}
	})
}

func TestAnAttemptStaysWithItsProvider(t *testing.T) {
	r, a, b, _ := two(t)
	at := engine.Attempt{Provider: "b", ProviderRef: "b_1"}
	for op, do := range map[string]func(context.Context, engine.Attempt) (engine.Payment, error){
		"authorise": r.Authorise, "lookup": r.Lookup, "void": r.Void, "capture": r.Capture, "refund": r.Refund,
	} {
		b.calls = nil
		if _, err := do(t.Context(), at); err != nil || len(a.calls) != 0 || fmt.Sprint(b.calls) != "["+op+"]" {
			t.Errorf("%s: %v, a %v, b %v", op, err, a.calls, b.calls)
		}
	}
	at.Provider = "gone"
	if _, err := r.Lookup(t.Context(), at); verdict(err) != "not taken" || neverSeen(err) {
		t.Errorf("a provider that is not set up here: %v", err)
	}
	if _, err := r.Authorise(t.Context(), engine.Attempt{Fresh: true}); verdict(err) != "not taken" || len(a.calls) != 0 {
		t.Errorf("an attempt without a provider was sent: %v, %v", a.calls, err)
	}
}

func TestAnAttemptOfAnUnknownProviderIsAskedForEverywhere(t *testing.T) {
	never := says("", engine.E(engine.CodeNotFound, "never"))
	for name, c := range map[string]struct {
		a, b func() (engine.Payment, error)
		want string
	}{
		"one has it":                        {never, nil, "authorised"},
		"one has its end, one the money":    {says(engine.PaymentVoided, nil), nil, "authorised"},
		"one has the money, one is away":    {says("", errNotTaken), nil, "authorised"},
		"one never saw it, one is away":     {never, says("", errNotTaken), "not taken"},
		"one has its end, one is away":      {says(engine.PaymentVoided, nil), says("", errNoAnswer), "not taken"},
		"nobody ever saw it":                {never, never, "never seen"},
		"one is processing, one never saw ": {says(engine.PaymentUnknown, nil), never, "unknown"},
	} {
		t.Run(name, func(t *testing.T) {
			r, a, b, _ := two(t)
			a.say["lookup"], b.say["lookup"] = c.a, c.b
			p, err := r.Lookup(t.Context(), engine.Attempt{})
			got := string(p.State)
			switch {
			case neverSeen(err):
				got = "never seen"
			case err != nil:
				got = verdict(err)
			}
			if got != c.want {
				t.Fatalf("%s: %v", got, err)
			}
		})
	}
	r, a, b, _ := two(t)
	a.say["void"], b.say["void"] = says(engine.PaymentVoided, nil), says(engine.PaymentCaptured, nil)
	if p, err := r.Void(t.Context(), engine.Attempt{}); err != nil || p.State != engine.PaymentCaptured || len(a.calls) != 1 || len(b.calls) != 1 {
		t.Errorf("void everywhere: %+v, %v", p, err)
	}
	a.say["void"] = says("", errNoAnswer)
	if _, err := r.Void(t.Context(), engine.Attempt{}); verdict(err) != "unknown" {
		t.Errorf("void with one away: %v", err)
	}
	a.say["lookup"] = never
	if p, err := r.Capture(t.Context(), engine.Attempt{}); err != nil || p.Provider != "b" || b.calls[len(b.calls)-1] != "capture" {
		t.Errorf("capture finds who has it: %+v, %v", p, err)
	}
}

func TestRoutesAreReadWhole(t *testing.T) {
	got, err := ParseRule(" stripe currency=EUR method=pm_*,tok_visa min=100 max=5000 fixed=30 bps=290 ")
	want := Rule{Provider: "stripe", Currencies: []string{"EUR"}, Methods: []string{"pm_*", "tok_visa"}, Min: 100, Max: 5000, Fixed: 30, BasisPoints: 290}
	if err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
		t.Fatalf("%+v, %v", got, err)
	}
	for s, says := range map[string]string{
		"":                            "PROVIDER",
		"a dollars":                   "key=value",
		"a colour=red":                "no key is called colour",
		"a currency=usd":              "three upper-case letters",
		"a method=[":                  "pattern",
		"a min=x":                     "whole number",
		"a currency=USD min=-1":       "negative",
		"a currency=USD min=10 max=9": "no smaller",
		"a bps=10001":                 "bps",
		"a fixed=30":                  "the one currency",
		"a currency=USD,EUR fixed=30": "the one currency",
	} {
		if _, err := ParseRule(s); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v", s, err)
		}
	}
	g, err := NewGuard(&named{name: "a"}, GuardConfig{})
	if err != nil {
		t.Fatal(err)
	}
	h, err := NewGuard(&named{name: "b"}, GuardConfig{})
	if err != nil {
		t.Fatal(err)
	}
	for says, c := range map[string]RouterConfig{
		"needs a provider":      {},
		"which takes what":      {Guards: []*Guard{g, h}},
		"no provider is called": {Guards: []*Guard{g}, Rules: []Rule{{Provider: "x"}}},
		"two providers":         {Guards: []*Guard{g, g}},
	} {
		if _, err := NewRouter(c); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", says, err)
		}
	}
	only, err := NewRouter(RouterConfig{Guards: []*Guard{g}})
	if err != nil {
		t.Fatal(err)
	}
	if name, err := only.Choose(t.Context(), engine.Attempt{Method: "anything"}); name != "a" || err != nil {
		t.Fatal(name, err)
	}
}
