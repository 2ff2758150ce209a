package main

import (
	"fmt"
	"strings"
	"testing"
)

func TestALimitHoldsOverAllNodes(t *testing.T) {
	r := newRig(t)
	flags := []string{"--limit", "buyer=5/1h", "--limit", "ip=7/1h", "--limit", "unpaid=off", "--limit-free", "0", "--trusted-proxies", "127.0.0.1"}
	nodes := []*proc{r.serve(flags...), r.serve(flags...)}
	nodes[0].sale("drop", 100, 50, "2m")
	reserve := func(n int, buyer, from string) reply {
		p := nodes[n%2]
		return send("POST", p.ready.API+"/v1/sales/drop/reservations", token(t, buyer), fmt.Sprint("k", n), `{"lines":[{"sku":"A","quantity":1}]}`, "X-Forwarded-For", "203.0.113.7, "+from)
	}
	eventually(t, "both nodes sell", func() (bool, string) {
		got := send("GET", nodes[1].ready.API+"/v1/sales/drop", "", "", "")
		return got.Status == 200 && strings.Contains(got.Raw, `"open"`), got.Raw
	})
	in := 0
	for n := range 10 {
		switch got := reserve(n, "ann", fmt.Sprint("192.0.2.", n)); {
		case got.Status == 201:
			in++
		case got.Status != 429 || got.Header.Get("RateLimit-Policy") != `"buyer";q=5;w=3600` || got.Header.Get("Retry-After") == "":
			t.Errorf("%d %v %s", got.Status, got.Header, got.Raw)
		}
	}
	if in != 5 {
		t.Errorf("the buyer had %d of 5", in)
	}
	in = 0
	for n := range 10 {
		if got := reserve(n, fmt.Sprint("bot", n), "198.51.100.1"); got.Status == 201 {
			in++
		} else if got.text("limit") != "ip" {
			t.Errorf("%s", got.Raw)
		}
	}
	if in != 7 {
		t.Errorf("the address had %d of 7", in)
	}
	// Who is behind that address and holds something can pay for it.
	id := reserve(0, "bot0", "198.51.100.2").must(t, 201).text("id") // the same key: the hold it made
	nodes[1].checkout(token(t, "bot0"), id, "p", "pm_card_visa", "X-Forwarded-For", "198.51.100.1").must(t, 201)
	if got := send("GET", nodes[0].ready.Admin+"/metrics", testToken, "", ""); !strings.Contains(got.Raw, `flashsale_limit_beyond_total{limit="ip"}`) {
		t.Error("the metrics do not tell")
	}
	nodes[0].mustBeClean(t)
}

func TestAChallengeOfOneNodeIsSolvedAtAnother(t *testing.T) {
	r := newRig(t)
	flags := []string{"--challenge", "work", "--challenge-above", "0", "--challenge-bits", "8"}
	one, other := r.serve(flags...), r.serve(flags...)
	one.sale("drop", 10, 5, "2m")
	ann := token(t, "ann")
	got := one.reserve(ann, "drop", "k").must(t, 403)
	given, _ := got.Body["challenge"].(map[string]any)
	if got.Code != "challenge_required" || given["kind"] != "work" || given["bits"] != 8.0 {
		t.Fatalf("%s", got.Raw)
	}
	solution, errs, status := command(t, "solve", fmt.Sprint(given["challenge"]))
	if status != exitOK {
		t.Fatalf("%d %s", status, errs)
	}
	with := func(p *proc, buyer string) reply {
		return send("POST", p.ready.API+"/v1/sales/drop/reservations", token(t, buyer), "k", `{"lines":[{"sku":"A","quantity":1}]}`, "Challenge-Solution", strings.TrimSpace(solution))
	}
	eventually(t, "the other node sells", func() (bool, string) { got := with(other, "ann"); return got.Status == 201, got.Raw })
	if got := with(one, "bob"); got.Code != "challenge_required" {
		t.Errorf("somebody else's solution: %s", got.Raw)
	}
	if _, errs, status := command(t, "solve", "nonsense"); status != exitUsage || !strings.Contains(errs, "no challenge") {
		t.Errorf("%d %s", status, errs)
	}
}

func TestWhoHoldsAndDoesNotPayMayHoldLess(t *testing.T) {
	r := newRig(t)
	p := r.serve("--limit", "unpaid=2/1h", "--limit", "suspect=1/1h")
	p.sale("drop", 10, 5, "2m")
	ann := token(t, "ann")
	for n := range 2 {
		id := p.reserve(ann, "drop", fmt.Sprint("k", n)).must(t, 201).text("id")
		send("DELETE", p.ready.API+"/v1/reservations/"+id, ann, "", "").must(t, 200)
	}
	id := p.reserve(ann, "drop", "k2").must(t, 201).text("id")
	if got := p.reserve(ann, "drop", "k3"); got.Status != 429 || got.text("limit") != "suspect" || !strings.Contains(got.Raw, "were not paid for") {
		t.Errorf("%s", got.Raw)
	}
	p.checkout(ann, id, "pay", "pm_card_visa").must(t, 201)
	p.reserve(token(t, "bob"), "drop", "k").must(t, 201)
}

func TestSettingsOfTheDoorThatCannotWorkAreRefused(t *testing.T) {
	for flags, want := range map[string]string{
		"--limit seller=1/1s":                  "NAME=MOST/WINDOW",
		"--limit buyer=1":                      "number",
		"--trusted-proxies 0.0.0.0/0":          "believe everybody",
		"--trusted-proxies nobody":             "trusted-proxies",
		"--forwarded-header Via":               "forwarded-header",
		"--max-conns-per-ip=-1":                "max-conns-per-ip",
		"--limit-free 2":                       "limit-free",
		"--limit-keys 0":                       "limit-keys",
		"--door-secret short":                  "door-secret",
		"--challenge riddle":                   "riddle",
		"--challenge work --challenge-bits 29": "bits",
		"--challenge turnstile":                "turnstile-secret",
	} {
		args := append([]string{"config", "check", "--admin-token", testToken, "--buyer-key", testKey, "--payment-url", "http://127.0.0.1:1"}, strings.Fields(flags)...)
		if out, errs, status := command(t, args...); status != exitUsage || !strings.Contains(errs, want) {
			t.Errorf("%s: %d %s%s", flags, status, out, errs)
		}
	}
}
