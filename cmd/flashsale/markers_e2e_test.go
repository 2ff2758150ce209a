package main

import (
	"encoding/hex"
	"fmt"
	"strings"
	"testing"

	"github.com/flashsale-engine/flashsale/internal/devstack/testenv"
)

// What is looked for afterwards, everywhere.
const (
	markedMail = "marker-mail@example.org"
	markedName = "Marker-Name O'Dálaigh"
	markedRoad = "1 Marker-Road"
	markedCard = "4242424242424242"
)

// dump gives all that a Postgres database has, as one text.
func (r *rig) dump() string {
	r.t.Helper()
	rows, err := r.sql().Query(`SELECT format('%I', tablename) FROM pg_tables WHERE schemaname = 'public'`)
	if err != nil {
		r.t.Fatal(err)
	}
	defer rows.Close()
	var tables []string
	for rows.Next() {
		var table string
		if err := rows.Scan(&table); err != nil {
			r.t.Fatal(err)
		}
		tables = append(tables, table)
	}
	var out strings.Builder
	for _, table := range tables {
		var text string
		if err := r.sql().QueryRow(`SELECT coalesce(string_agg(t::text, E'\n'), '') FROM ` + table + ` t`).Scan(&text); err != nil {
			r.t.Fatal(err)
		}
		fmt.Fprintln(&out, table, text)
	}
	return out.String()
}

// finds says where one of the marks can be read, also as hexadecimal digits.
func finds(where map[string]string, marks ...string) (found []string) {
	for place, text := range where {
		for _, m := range marks {
			if strings.Contains(strings.ToLower(text), strings.ToLower(m)) || strings.Contains(text, hex.EncodeToString([]byte(m))) {
				found = append(found, fmt.Sprintf("%.12s… is in %s", m, place))
			}
		}
	}
	return found
}

// The proof that contact data is encrypted wherever it is kept, and that neither it
// nor a secret is logged: buyers meet all that can go wrong, at level debug, and then
// everything that the engine has written anywhere is searched.
func TestContactDataAndSecretsAreNowhereInClear(t *testing.T) {
	r := newRig(t)
	keys, _, _ := command(t, "data", "key", "new")
	file := write(t, "keys.json", keys)
	hook := "whsec_" + "TWFya2VyTWFya2VyTWFya2VyTWFya2VyTWFya2Vy"
	p := r.serve("--log-level", "debug", "--data-keys", file, "--payment-webhook-secret", hook)
	p.sale("drop", 100, 50, "2m")
	contact := fmt.Sprintf(`{"email":%q,"address":{"name":%q,"line1":%q,"city":"Cork","country":"IE"}}`, markedMail, markedName, markedRoad)
	ann := token(t, "ann")
	pay := func(id, key, method string) reply {
		return send("POST", p.ready.API+"/v1/reservations/"+id+"/checkout", ann, key, fmt.Sprintf(`{"payment_method":%q,"contact":%s}`, method, contact), "Prefer", "wait=5")
	}
	hold := func(key string) string { return p.held(t, ann, "drop", key).text("id") }

	good := hold("good")
	pay(good, "declined", "pm_card_chargeDeclined").must(t, 402)
	paid := pay(good, "paid", "pm_card_visa").must(t, 201)
	pay(good, "paid", "pm_card_visa").must(t, 201) // again
	for _, method := range []string{"pm_sandbox_timeoutBeforeCharge", "pm_sandbox_timeoutAfterCharge", "pm_sandbox_error", "pm_sandbox_outage", "pm_sandbox_rateLimit", "pm_card_authenticationRequired", "pm_card_radarBlock"} {
		if got := pay(hold(method), "k", method); got.Status == 0 {
			t.Fatal(method, got.Raw)
		}
	}
	api := p.ready.API + "/v1/reservations/" + hold("bad") + "/checkout"
	for _, body := range []string{`{"payment_method":"` + markedCard + `","contact":` + contact + `}`, `{"contact":` + contact + `,"x":"` + markedMail + `"}`, `{"payment_method":"pm_card_visa","contact":` + contact + `,`, `{"payment_method":"` + markedMail + `"}`} {
		if got := send("POST", api, ann, "k", body); got.Status != 400 || len(finds(map[string]string{"the answer": got.Raw}, markedMail, markedName, markedRoad, markedCard)) > 0 {
			t.Errorf("%d %s", got.Status, got.Raw)
		}
	}
	send("POST", api, ann+"x", "k", `{}`).must(t, 401)
	send("GET", p.ready.Admin+"/admin/v1/sales", testToken+"x", "", "").must(t, 401)
	send("POST", p.ready.API+"/v1/webhooks/sandbox", "x", "", `{"email":"`+markedMail+`"}`)
	// The statement that carries the contact fails.
	r.exec(`ALTER TABLE contacts RENAME COLUMN sealed TO gone`)
	if got := pay(hold("broken"), "k", "pm_card_visa"); got.Status < 500 {
		t.Errorf("without the column: %d %s", got.Status, got.Raw)
	}
	r.exec(`ALTER TABLE contacts RENAME COLUMN gone TO sealed`)
	r.exec(`ALTER TABLE contacts ADD CONSTRAINT nothing_more CHECK (octet_length(sealed) < 1) NOT VALID`)
	if got := pay(hold("refused"), "k", "pm_card_visa"); got.Status < 500 {
		t.Errorf("refused by a constraint: %d %s", got.Status, got.Raw)
	}
	r.exec(`ALTER TABLE contacts DROP CONSTRAINT nothing_more`)

	order := send("GET", p.ready.API+"/v1/orders/"+paid.text("id"), ann, "", "").must(t, 200)
	if got := fmt.Sprint(order.Body["contact"]); !strings.Contains(got, markedMail) || !strings.Contains(got, markedRoad) {
		t.Errorf("the buyer's order shows %s", got)
	}
	seen := map[string]string{"the admin's orders": p.admin("GET", "/sales/drop/orders", "").Raw + p.admin("GET", "/orders/"+paid.text("id"), "").Raw + p.admin("GET", "/payments?limit=100", "").Raw + p.admin("GET", "/dead-letters?state=all", "").Raw}

	// Erased through the admin API, by an owner alone; the order stays.
	out, errs, status := command(t, "data", "erase", "--buyer", "ann", "--reason", "she asked", "--admin", p.ready.Admin, "--token", testToken)
	if status != exitOK || !strings.Contains(out, "erased") || strings.Contains(out, "erased 0") {
		t.Errorf("%d %s%s", status, out, errs)
	}
	order = send("GET", p.ready.API+"/v1/orders/"+paid.text("id"), ann, "", "").must(t, 200)
	if got := fmt.Sprint(order.Body["contact"]); got != "map[lost:erased]" || order.text("state") != "confirmed" {
		t.Errorf("the erased order shows %s", got)
	}
	if err := p.stop(); err != nil {
		t.Error(err)
	}
	seen["the log"], seen["Postgres"], seen["Redis"], seen["Kafka"] = p.stderr.String(), r.dump(), testenv.Everything(t, r.redis), testenv.Records(t, strings.Split(r.kafka, ","), r.topic)
	for place, text := range seen {
		if len(text) < 500 {
			t.Errorf("there is hardly anything in %s: %q", place, text)
		}
	}
	keyPart := strings.SplitN(keys, `"value":"`, 2)[1][:30]
	secrets := []string{markedMail, markedName, markedRoad, markedCard, ann, ann[strings.LastIndexByte(ann, '.')+1:], testToken, testKey, hook, keyPart}
	for _, f := range finds(seen, secrets...) {
		t.Error(f)
	}

	// The search finds what is there: a node without a keyset leaves it in clear.
	p = r.serve()
	pay(p.held(t, ann, "drop", "clear").text("id"), "clear", "pm_card_visa").must(t, 201)
	if got := finds(map[string]string{"Postgres": r.dump()}, markedMail, markedName, markedRoad); len(got) != 3 {
		t.Errorf("of what is in clear it finds %q", got)
	}
	if out, errs, status := command(t, "data", "rewrap", "--postgres-url", r.postgres, "--data-keys", file); status != exitOK || !strings.Contains(out, "in clear") {
		t.Errorf("%d %s%s", status, out, errs)
	}
	if got := finds(map[string]string{"Postgres": r.dump()}, markedMail, markedName, markedRoad); len(got) > 0 {
		t.Errorf("rewrapped, and yet %q", got)
	}
}
