package main

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/flashsale-engine/flashsale/engine"
	"github.com/flashsale-engine/flashsale/orders/record"
	"github.com/flashsale-engine/flashsale/payment/sandbox"
	"github.com/flashsale-engine/flashsale/reservation"
)

const hookSecret = "whsec_of_the_payment_table"

// row is a line of the table in docs/payments.md: what the buyer does and is
// told is played, the rest is what must be left of it.
type row struct {
	name  string
	sale  string // "" is drop
	alone bool   // what it does to the provider would change other rows
	play  func(t *testing.T, c *customer)

	hold     string // the reservation's state
	order    bool
	payments string // on record, with their reasons, in the order of their beginning
	books    string // what the sandbox has of them
}

// TestThePaymentTable plays each row of the table of payments against a running
// node and the sandbox, over HTTP on both sides. Every third webhook of all rows
// comes late, twice, out of order, or after a forged or a stale one.
func TestThePaymentTable(t *testing.T) {
	shop := openTable(t)
	rows := slices.Concat(answerRows, unknownRows, actionRows, tabRows, goneRows, breakerRows, captureRows, webhookRows)
	for _, alone := range []bool{true, false} {
		now := slices.DeleteFunc(slices.Clone(rows), func(r row) bool { return r.alone != alone })
		// All at once, whatever -parallel says: they wait most of the time.
		each(len(now), len(now), func(i int) {
			t.Run(now[i].name, func(t *testing.T) { shop.row(t, now[i]) })
		})
	}
	shop.mustBalance(t)
}

// table is what the rows share: a node with its provider, which tells it of
// everything, and a door to the gate for what no buyer can do.
type table struct {
	*rig
	p     *proc
	gate  *reservation.Gate
	sales *record.SaleStore

	verifying sync.Mutex
	verified  time.Time // when the last verdict was begun
	verdict   engine.Verdict
}

// A payment that waits for nobody but its buyer is looked up once a minute here,
// and one that got no answer after ten seconds: what is quicker, an event did.
func openTable(t *testing.T) *table {
	r := newRig(t)
	r.sql() // before the rows share it
	p := r.serve("--reconcile-every", "1m", "--payment-timeout", "5s", "--payment-webhook-secret", hookSecret)
	hook, _ := json.Marshal(sandbox.Webhook{URL: p.ready.API + "/v1/webhooks/sandbox", Secret: hookSecret})
	send("POST", r.box.URL()+"/control/webhooks", "", "", string(hook)).must(t, 200)
	send("POST", r.box.URL()+"/control", "", "", `{"seed":7,"processing_ms":-1,"webhook_delay_ms":300,"webhook_late_rate":0.06,
		"webhook_duplicate_rate":0.08,"webhook_out_of_order_rate":0.06,"webhook_forged_rate":0.08,"webhook_stale_rate":0.06}`).must(t, 200)
	for _, s := range []struct {
		id       string
		stock    int
		ttl, cap string
	}{{"drop", 100, "2m", "5m"}, {"last", 1, "2m", "5m"}, {"short", 1, "10s", "22100ms"}, {"brief", 10, "4500ms", "16600ms"}} {
		p.admin("PUT", "/sales/"+s.id, fmt.Sprintf(`{"name":"Drop","currency":"USD","hold_ttl":%q,"hold_cap":%q,"per_buyer_limit":1,"items":[{"sku":"A","title":"A thing","unit_price":1000,"stock":%d}]}`, s.ttl, s.cap, s.stock)).must(t, 201)
		p.admin("POST", "/sales/"+s.id+"/arm", "").must(t, 200)
		p.admin("POST", "/sales/"+s.id+"/open", "").must(t, 200)
	}
	gate, err := reservation.Open(reservation.Options{URL: r.redis})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = gate.Close() })
	db, err := record.Open(context.Background(), r.postgres, record.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	return &table{rig: r, p: p, gate: gate, sales: record.NewSaleStore(db)}
}

// row plays one row for a buyer of its own and looks at what is left.
func (b *table) row(t *testing.T, r row) {
	sale := r.sale
	if sale == "" {
		sale = "drop"
	}
	c := b.customer(t, sale, strings.NewReplacer(" ", "-", ",", "", "'", "").Replace(r.name))
	r.play(t, c)
	eventually(t, "the hold, the record and the books agree", func() (bool, string) {
		order := send("GET", b.p.ready.API+"/v1/orders/"+strings.Replace(c.id, "rsv_", "ord_", 1), c.tok, "", "").Status
		hold, payments, books := c.state(), c.onRecord(t), c.inBooks()
		got := fmt.Sprintf("hold %s, order %d, on record %q, in the books %q", hold, order, payments, books)
		return hold == r.hold && r.order == (order == 200) && (order == 200 || order == 404) && payments == r.payments && books == r.books, got
	})
	b.verify(t, time.Now())
}

// verify wants a clean verdict that was begun after a row's end: rows that end
// while another verdict is made share the next one.
func (b *table) verify(t *testing.T, ended time.Time) {
	b.verifying.Lock()
	defer b.verifying.Unlock()
	if b.verified.Before(ended) {
		b.verified = time.Now()
		got := b.p.admin("GET", "/verify?settle=60s", "")
		b.verdict = engine.Verdict{}
		if err := json.Unmarshal([]byte(got.Raw), &b.verdict); got.Status != 200 || err != nil {
			t.Errorf("verify: %d %s", got.Status, got.Raw)
		}
	}
	if !b.verdict.Clean() {
		t.Errorf("verify: %+v", b.verdict)
	}
}

// mustBalance compares money with orders when rows are over, and has verify do it too.
func (b *table) mustBalance(t *testing.T) {
	b.p.mustBeClean(t)
	books, err := b.box.Books()
	if err != nil {
		t.Fatal(err)
	}
	m := books.Totals["usd"]
	if len(books.Doubles) != 0 || m.Open != 0 || m.Authorised != m.Captured+m.Voided+m.Open {
		t.Errorf("doubles %v, %+v", books.Doubles, m)
	}
	orders, worth := b.query("SELECT count(*) FROM orders WHERE state = 'confirmed'"), b.query("SELECT coalesce(sum(total), 0) FROM orders WHERE state = 'confirmed'")
	if m.Captures != orders || m.Captured-m.Refunded != int64(worth) {
		t.Errorf("%d orders of %d in all, and the books say %+v", orders, worth, m)
	}
	eventually(t, "each webhook has its answer: 400 if it was forged or stale, else 200", func() (bool, string) {
		faults := map[sandbox.Kind]int{}
		for _, d := range b.box.Deliveries() {
			want := "delivered 200"
			if d.Fault == sandbox.Forged || d.Fault == sandbox.Stale {
				want = "refused 400"
			}
			if got := fmt.Sprint(d.Status, " ", d.Code); got != want {
				return false, fmt.Sprintf("%+v", d)
			}
			faults[d.Fault]++
		}
		t.Logf("books %+v; webhooks by fault %v", m, faults)
		return true, ""
	})
	if n := b.query("SELECT count(*) FROM provider_events WHERE done_at IS NULL"); n != 0 {
		eventually(t, "all events are acted on", func() (bool, string) {
			n := b.query("SELECT count(*) FROM provider_events WHERE done_at IS NULL")
			return n == 0, fmt.Sprint(n)
		})
	}
}

// customer is a buyer with a hold.
type customer struct {
	*table
	t       *testing.T
	sale    string
	tok, id string
	until   time.Time // the hold's own deadline
}

func (b *table) customer(t *testing.T, sale, name string) *customer {
	t.Helper()
	c := &customer{table: b, t: t, sale: sale, tok: token(t, name)}
	got := b.p.held(t, c.tok, sale, "r")
	c.id, c.until = got.text("id"), got.at(t, "expires_at")
	return c
}

func (r reply) at(t *testing.T, field string) time.Time {
	t.Helper()
	at, err := time.Parse(time.RFC3339Nano, r.text(field))
	if err != nil {
		t.Fatalf("%s: %v in %s", field, err, r.Raw)
	}
	return at
}

func (c *customer) pay(key, method string, header ...string) reply {
	return c.p.checkout(c.tok, c.id, key, method, header...)
}

// told fails the row unless an answer is as the table has it.
func (c *customer) told(r reply, status int, code string) reply {
	c.t.Helper()
	if r.Status != status || r.Code != code {
		c.t.Fatalf("told %d %q, not %d %q: %s", r.Status, r.Code, status, code, r.Raw)
	}
	return r
}

// again repeats a checkout: the same bytes, and a header that says so.
func (c *customer) again(first reply, key, method string) {
	c.t.Helper()
	id := first.Header.Get("X-Request-Id") // a problem document names its request
	if got := c.pay(key, method, "X-Request-Id", id); got.Raw != first.Raw || got.Status != first.Status || got.Header.Get("Idempotency-Replayed") != "true" {
		c.t.Errorf("first %d %s\nagain %d %s", first.Status, first.Raw, got.Status, got.Raw)
	}
}

// pending is told 202 and where to look.
func (c *customer) pending(r reply) {
	c.t.Helper()
	if c.told(r, 202, ""); r.Header.Get("Location") != "/v1/reservations/"+c.id {
		c.t.Errorf("the Location is %q", r.Header.Get("Location"))
	}
}

func (c *customer) state() string { return c.p.reservation(c.tok, c.id).text("state") }

func (c *customer) becomes(state string) { c.t.Helper(); c.p.becomes(c.t, c.tok, c.id, state) }

func (c *customer) reservation() engine.ReservationID {
	id, ok := engine.ParseReservationID(c.id)
	if !ok {
		c.t.Fatalf("%q is no reservation", c.id)
	}
	return id
}

func (c *customer) attempt(key string) engine.AttemptID {
	return engine.NewAttemptID(c.reservation(), key)
}

func (c *customer) onRecord(t *testing.T) (list string) {
	t.Helper()
	if err := c.sql().QueryRow(`SELECT coalesce(string_agg(trim(state || ' ' || reason), ', ' ORDER BY created_at), '') FROM payments WHERE reservation = $1`,
		c.reservation().Bytes()).Scan(&list); err != nil {
		t.Fatal(err)
	}
	return list
}

func (c *customer) inBooks() string {
	b, err := c.box.Books()
	if err != nil {
		c.t.Fatal(err)
	}
	var list []string
	for _, in := range b.Intents {
		if in.Metadata["reservation"] == c.id {
			list = append(list, string(in.Status))
		}
	}
	return strings.Join(list, ", ")
}

// intent finds what the sandbox has under a key; a tombstone has no reservation.
func (c *customer) intent(key string) sandbox.Intent {
	c.t.Helper()
	for _, in := range c.intents() {
		if in.Attempt() == c.attempt(key).String() {
			return in
		}
	}
	c.t.Fatalf("the sandbox has never seen %s", c.attempt(key))
	return sandbox.Intent{}
}

// next has something happen to the sandbox's next requests of this payment.
func (c *customer) next(list ...sandbox.Fault) {
	c.t.Helper()
	if err := c.box.Script(list...); err != nil {
		c.t.Fatal(err)
	}
}

// resolve ends what is processing.
func (c *customer) resolve(key, outcome string) {
	c.t.Helper()
	send("POST", c.box.URL()+"/control/intents/"+c.attempt(key).String()+"/resolve", "", "", fmt.Sprintf(`{"outcome":%q}`, outcome)).must(c.t, 200)
}

// lose takes the hold from a payment, as Redis may at a failover or a node that
// was away too long: the buyer has it back, and the payment does not know.
func (c *customer) lose(key string) {
	c.t.Helper()
	s, err := c.sales.Get(context.Background(), c.sale)
	if err == nil {
		_, err = c.gate.Return(context.Background(), s, c.reservation(), c.attempt(key).Fence())
	}
	if err != nil {
		c.t.Fatal(err)
	}
}

// quiet waits until whatever the sandbox has sent of a payment has been acted upon.
func (c *customer) quiet(key string) {
	c.t.Helper()
	id := c.attempt(key)
	eventually(c.t, "the payment's events are delivered and acted upon", func() (bool, string) {
		for _, d := range c.box.Deliveries() {
			if d.Attempt == id.String() && d.Status == "pending" {
				return false, fmt.Sprintf("%+v", d)
			}
		}
		var open int
		err := c.sql().QueryRow(`SELECT count(*) FROM provider_events WHERE attempt = $1 AND done_at IS NULL`, id[:]).Scan(&open)
		return err == nil && open == 0, fmt.Sprint(open, " events, ", err)
	})
}

// tell has the sandbox send an event about a payment as it stands, true or not,
// and gives its deliveries when they are over.
func (c *customer) tell(key, kind string, fault sandbox.Kind) (event string, got []sandbox.Delivery) {
	c.t.Helper()
	event = send("POST", c.box.URL()+"/control/webhooks/send", "", "",
		fmt.Sprintf(`{"intent":%q,"type":%q,"fault":%q,"delay_ms":200}`, c.attempt(key), kind, fault)).must(c.t, 200).text("event")
	eventually(c.t, "the event is delivered", func() (bool, string) {
		got = nil
		for _, d := range c.box.Deliveries() {
			if d.Event == event {
				got = append(got, d)
			}
		}
		return len(got) > 0 && !slices.ContainsFunc(got, func(d sandbox.Delivery) bool { return d.Status == "pending" }), fmt.Sprintf("%+v", got)
	})
	return event, got
}
