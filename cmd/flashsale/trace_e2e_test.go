package main

import (
	"regexp"
	"strings"
	"testing"
)

func TestSupportIsToldWhyABuyerGotWhatTheyGot(t *testing.T) {
	r := newRig(t)
	first := r.serve()
	second := r.serve()
	first.sale("drop", 2, 1, "2m")
	eventually(t, "the other node knows that the sale is open", func() (bool, string) {
		got := send("GET", second.ready.API+"/v1/sales/drop", "", "", "")
		return got.text("state") == "open", got.Raw
	})
	ann, bob, eve := token(t, "ann"), token(t, "bob"), token(t, "eve")
	id := first.held(t, ann, "drop", "a").text("id")
	first.checkout(ann, id, "declined", "pm_card_chargeDeclined").must(t, 402)
	limit := second.reserve(ann, "drop", "b").must(t, 409)
	order := first.pays(t, ann, id, "paid").text("id")
	second.held(t, bob, "drop", "a")
	eventually(t, "the other node knows that it is sold out", func() (bool, string) {
		for range 20 { // what the gate has said is known for a tenth of a second
			if got := first.reserve(eve, "drop", "x"); got.Code != "sold_out" {
				return false, got.Raw
			}
		}
		out, errs, status := command(t, "trace", "buyer", "eve", "--admin", first.ready.Admin, "--token", testToken)
		if status != exitOK || !strings.Contains(out, "by gate, seq") || !strings.Contains(out, "last word, token not verified") {
			return false, out + errs
		}
		return true, ""
	})
	send("DELETE", first.ready.API+"/v1/reservations/"+id, ann, "", "").must(t, 409)

	args := []string{"trace", "buyer", "ann", "--sale", "drop", "--token", testToken, "--admin", first.ready.Admin + "," + second.ready.Admin}
	out, errs, status := command(t, args...)
	if status != exitOK {
		t.Fatal(errs)
	}
	place := -1
	for _, want := range []string{
		`gate +drop +reservation, seq \d+, now accepted, 2 payment attempts +` + id,
		`node \S+ +drop A +reserve: 201 granted +by gate, seq \d+ of epoch 1, req_`,
		`payments +drop +payment of 1000 USD for ` + id + ` by sandbox, now declined, generic_decline +pay_`,
		`checkout: 402 payment_declined +by payment provider, req_`,
		`node \S+ +drop A +reserve: 409 buyer_limit +by gate, seq \d+, ` + limit.Header.Get("X-Request-Id"),
		`payments +drop +payment of 1000 USD for ` + id + ` by sandbox, now (authorised|captured)`,
		`orders +drop +order of ` + id + `, confirmed, seq \d+ of epoch 1 +` + order,
		`checkout: 201 granted +by record, seq \d+ of epoch 1, req_`,
		`release: 409 already_paid +by gate`,
	} {
		at := regexp.MustCompile(want).FindStringIndex(out)
		if at == nil {
			t.Errorf("%q is missing in\n%s", want, out)
		} else if at[0] < place {
			t.Errorf("%q is not in its place in\n%s", want, out)
		} else {
			place = at[0]
		}
	}
	if strings.Count(out, "remembers its answers since") != 2 || strings.Contains(out, "example.com") || strings.Contains(out, "bob") {
		t.Error(out)
	}
	// A node that is gone is said to be; gate and record still tell.
	second.kill()
	out, errs, status = command(t, args...)
	if status != exitUnavailable || !strings.Contains(out, "does not say what it answered") || strings.Contains(out, "buyer_limit") || !strings.Contains(out, order) {
		t.Errorf("%d\n%s%s", status, out, errs)
	}
	if _, errs, status := command(t, "trace", "buyer", "ann", "--sale", "none", "--token", testToken, "--admin", first.ready.Admin); status != exitFound || !strings.Contains(errs, "no sale none") {
		t.Errorf("%d %s", status, errs)
	}
	if out, _, status := command(t, "trace", "buyer", "mallory", "--token", testToken, "--admin", first.ready.Admin); status != exitOK || !strings.Contains(out, "nobody knows anything of buyer mallory") {
		t.Errorf("%d %s", status, out)
	}
}
