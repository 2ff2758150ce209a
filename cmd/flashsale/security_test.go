package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// What belongs to a buyer is not there for another: not to be read, released or paid
// for, with an answer that does not even say whether it exists.
func TestAnotherBuyersThingsAreNotFound(t *testing.T) {
	r := newRig(t)
	p := r.serve()
	p.sale("drop", 5, 2, "2m")
	ann, bob := token(t, "ann"), token(t, "bob")
	held := p.held(t, ann, "drop", "k").text("id")
	paid := p.held(t, ann, "drop", "k2").text("id")
	order := p.pays(t, ann, paid, "pay").text("id")
	nobodys := held[:len(held)-4] + "0000"
	for what, ask := range map[string]func(token, id string) reply{
		"read":    func(token, id string) reply { return p.reservation(token, id) },
		"release": func(token, id string) reply { return send("DELETE", p.ready.API+"/v1/reservations/"+id, token, "", "") },
		"pay":     func(token, id string) reply { return p.checkout(token, id, "steal", "pm_card_visa") },
		"order": func(token, id string) reply {
			return send("GET", p.ready.API+"/v1/orders/"+strings.Replace(id, "rsv_", "ord_", 1), token, "", "")
		},
	} {
		for _, id := range []string{held, paid} {
			theirs, none := ask(bob, id).must(t, 404), ask(bob, nobodys)
			if theirs.Code != "not_found" || none.Status != 404 || strings.ReplaceAll(theirs.text("detail"), id[4:], "") != strings.ReplaceAll(none.text("detail"), nobodys[4:], "") {
				t.Errorf("%s: theirs %s; nobody's %s", what, theirs.Raw, none.Raw)
			}
		}
	}
	if got := p.reservation(ann, held).must(t, 200); got.text("state") != "held" {
		t.Errorf("the buyer's own is %s", got.Raw)
	}
	send("GET", p.ready.API+"/v1/orders/"+order, ann, "", "").must(t, 200)
	p.mustBeClean(t)
}

// The table of docs/security.md names tests; each must be there.
func TestEveryTestThatTheSecurityDocumentNamesExists(t *testing.T) {
	doc, err := os.ReadFile("../../docs/security.md")
	must(t, err)
	there := map[string]bool{}
	must(t, filepath.WalkDir("../..", func(path string, d os.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		for _, m := range regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`).FindAllSubmatch(text, -1) {
			there[string(m[1])] = true
		}
		return err
	}))
	named := regexp.MustCompile("`((?:Test|Fuzz)\\w+)`").FindAllSubmatch(doc, -1)
	for _, m := range named {
		if !there[string(m[1])] {
			t.Errorf("docs/security.md names %s, and there is no such test", m[1])
		}
	}
	rows := regexp.MustCompile(`(?m)^\| API(\d+) .*$`).FindAllString(string(doc), -1)
	for _, row := range rows {
		if !strings.Contains(row, "`Test") {
			t.Errorf("no test covers: %.60s", row)
		}
	}
	if len(rows) != 10 || len(named) < 30 {
		t.Errorf("the document has %d of ten risks, and names %d tests", len(rows), len(named))
	}
}
