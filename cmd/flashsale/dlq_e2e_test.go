package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/flashsale-engine/flashsale/engine"
)

func (p *proc) dlq(t *testing.T, args ...string) (string, int) {
	t.Helper()
	out, errs, status := command(t, append(append([]string{"dlq"}, args...), "--admin", p.ready.Admin, "--token", testToken)...)
	return out + errs, status
}

func (p *proc) dead(t *testing.T, args ...string) []engine.DeadLetter {
	t.Helper()
	text, status := p.dlq(t, append([]string{"ls", "--json"}, args...)...)
	var out struct {
		Letters []engine.DeadLetter `json:"dead_letters"`
	}
	if err := json.Unmarshal([]byte(text), &out); err != nil || status != exitOK {
		t.Fatalf("dlq ls: status %d, %s", status, text)
	}
	return out.Letters
}

// Accepted reservations whose events the record refused are lost in verify's
// eyes until an operator retries them or says why not.
func TestAnAcceptedReservationInTheDeadLettersIsLostUntilItIsRetriedOrDropped(t *testing.T) {
	r := newRig(t)
	p := r.serve("--default-wait", "1s")
	p.sale("drop", 10, 1, "4m")
	holds := p.holds(t, "drop", 3)
	r.exec("UPDATE skus SET unit_price = 999") // an operator by hand, where nobody may
	for id, tok := range holds {
		p.checkout(tok, id, "pay", "pm_card_visa").must(t, 202)
	}
	eventually(t, "three dead letters", func() (bool, string) {
		n := len(p.dead(t, "--cause", "price_mismatch", "--sale", "drop"))
		return n == 3, fmt.Sprint(n)
	})
	r.exec("UPDATE skus SET unit_price = 1000")
	if v, status := p.verify(t); status == exitOK || v.Lost != 3 || !strings.Contains(v.Findings[0].Detail, "dead letter") {
		t.Fatalf("status %d, %+v", status, v)
	}
	list := p.dead(t)
	one := fmt.Sprint(list[0].ID)
	if got, status := p.dlq(t, "retry", one, "--dry-run"); status != exitOK || !strings.Contains(got, "would be confirmed") || len(p.dead(t)) != 3 {
		t.Errorf("status %d: %s", status, got)
	}
	if got, status := p.dlq(t, "drop", one); status != exitUsage {
		t.Errorf("a drop without a reason: status %d: %s", status, got)
	}
	if got, status := p.dlq(t, "drop", one, "--reason", "the buyer was given another pair", "--dry-run"); status != exitOK || len(p.dead(t)) != 3 {
		t.Errorf("status %d: %s", status, got)
	}
	if got, status := p.dlq(t, "drop", one, "--reason", "the buyer was given another pair"); status != exitOK || !strings.Contains(got, "dropped") {
		t.Errorf("status %d: %s", status, got)
	}
	if v, _ := p.verify(t); v.Lost != 2 {
		t.Errorf("after the drop: %+v", v)
	}
	for _, want := range []string{"confirmed", ""} { // the second time there are none
		if got, status := p.dlq(t, "retry", "--all", "--sale", "drop", "--reason", "the price is right again"); status != exitOK || strings.Count(got, "confirmed") != 2*len(want)/len("confirmed") {
			t.Errorf("status %d: %s", status, got)
		}
	}
	if n := r.query("SELECT count(*) FROM orders WHERE state = 'confirmed'"); n != 2 {
		t.Errorf("%d orders", n)
	}
	if v, _ := p.verify(t); v.Lost != 0 || v.Oversold != 0 || v.Drift != 0 {
		t.Errorf("in the end: %+v", v)
	}
	if rows, settled := p.dead(t, "--state", "all"), p.dead(t, "--state", "dropped"); len(rows) != 3 || len(settled) != 1 || settled[0].SettledWhy == "" {
		t.Errorf("%+v", rows)
	}
	if n := r.query("SELECT count(*) FROM audit_log WHERE target LIKE 'dead_letter/%'"); n != 3 {
		t.Errorf("%d entries in the audit log", n)
	}
}
