package main

import (
	"fmt"
	"strings"
	"testing"
	"time"
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
	// Where Redis is slow to answer, each node counts alone for a second, and says so in its
	// metrics: then that much is tried again, by somebody else.
	alone := func() (lines string) {
		for _, p := range nodes {
			for line := range strings.Lines(send("GET", p.ready.Admin+"/metrics", testToken, "", "").Raw) {
				if strings.HasPrefix(line, "flashsale_limit_shared_failures_total") {
					lines += line
				}
			}
		}
		return lines
	}
	count := func(ask func(round, n int) reply, refused func(reply) bool) (round, in int) {
		for deadline := time.Now().Add(patience); ; round++ {
			before := alone()
			var wrong []string
			in = 0
			for n := range 10 {
				if got := ask(round, n); got.Status == 201 {
					in++
				} else if !refused(got) {
					wrong = append(wrong, fmt.Sprint(got.Status, got.Header, got.Raw))
				}
			}
			if strings.Count(before, "\n") != len(nodes) || time.Now().After(deadline) {
				t.Fatalf("the nodes do not count together: %q", before)
			}
			if alone() == before {
				if len(wrong) > 0 {
					t.Errorf("%q", wrong)
				}
				return round, in
			}
			<-time.After(2 * time.Second)
		}
	}
	if _, in := count(func(round, n int) reply {
		return reserve(n, fmt.Sprint("ann", round), fmt.Sprint("192.0.", 2+round, ".", n))
	}, func(got reply) bool {
		return got.Status == 429 && got.Header.Get("RateLimit-Policy") == `"buyer";q=5;w=3600` && got.Header.Get("Retry-After") != ""
	}); in != 5 {
		t.Errorf("the buyer had %d of 5", in)
	}
	bot := func(round, n int) string { return fmt.Sprint("bot", round, "-", n) }
	bad := func(round int) string { return fmt.Sprint("198.51.100.", 10+round) }
	round, in := count(func(round, n int) reply { return reserve(n, bot(round, n), bad(round)) }, func(got reply) bool { return got.text("limit") == "ip" })
	if in != 7 {
		t.Errorf("the address had %d of 7", in)
	}
	// Who is behind that address and holds something can pay for it.
	id := insist(t, func() reply { return reserve(0, bot(round, 0), "198.51.100.2") }).must(t, 201).text("id") // the same key: the hold it made
	nodes[1].pays(t, token(t, bot(round, 0)), id, "p", "X-Forwarded-For", bad(round))
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
		id := p.held(t, ann, "drop", fmt.Sprint("k", n)).text("id")
		send("DELETE", p.ready.API+"/v1/reservations/"+id, ann, "", "").must(t, 200)
	}
	id := p.held(t, ann, "drop", "k2").text("id")
	if got := p.reserve(ann, "drop", "k3"); got.Status != 429 || got.text("limit") != "suspect" || !strings.Contains(got.Raw, "were not paid for") {
		t.Errorf("%s", got.Raw)
	}
	p.pays(t, ann, id, "pay")
	p.held(t, token(t, "bob"), "drop", "k")
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
