package main

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/flashsale-engine/flashsale/internal/devstack"
	"github.com/flashsale-engine/flashsale/internal/devstack/testenv"
)

// Whatever becomes of Redis in the middle of a sale: exactly the stock is sold,
// nobody who was told of an order is without one, and verify finds nothing.
func TestAGateThatIsLostMidSaleComesBack(t *testing.T) {
	for name, lose := range map[string]func(t *testing.T, b *devstack.Backend){
		"FLUSHALL": func(t *testing.T, b *devstack.Backend) { redisDo(t, addrOf(t, b), "FLUSHALL") },
		"kill -9 and back without its data": func(t *testing.T, b *devstack.Backend) {
			must(t, b.Kill())
			restartEmpty(t, b)
		},
		"kill -9 and back with its AOF": func(t *testing.T, b *devstack.Backend) {
			must(t, b.Kill())
			must(t, b.Restart(t.Context()))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			redis := testenv.OwnRedis(t)
			r := rigOn(t, redis.URL, testenv.Postgres(t), strings.Join(testenv.Kafka(t), ","))
			p := r.serve()
			p.sale("drop", 300, 1, "4m")
			waiting := p.holds(t, "drop", 40) // buyers who think it over meanwhile
			c := &crowd{t: t, p: p, sale: "drop", stock: 260, atSold: 100, then: func() { lose(t, redis) }}
			c.buy(400, 64)
			kept := 0
			for id, tok := range waiting {
				switch got := insist(t, func() reply { return p.checkout(tok, id, "pay", "pm_card_visa") }); {
				case got.Status == 201 && strings.Contains(name, "AOF"):
					kept++
				case got.Code == "reservation_lost" && !strings.Contains(name, "AOF"):
				default:
					t.Errorf("%s, held before the loss: %d %s", id, got.Status, got.Raw)
				}
			}
			c.stock = 300
			if kept == 0 {
				c.buy(40, 40) // theirs are for sale again
			}
			c.mustHaveSold(r, 1)
		})
	}
}

// A sale of four shards on one Redis loses all of them at once.
func TestAllShardsThatAreLostAtOnceComeBack(t *testing.T) {
	redis := testenv.OwnRedis(t)
	r := rigOn(t, redis.URL, testenv.Postgres(t), strings.Join(testenv.Kafka(t), ","))
	p := r.serve()
	p.admin("PUT", "/sales/drop", `{"name":"Drop","currency":"USD","hold_ttl":"4m","hold_cap":"10m","per_buyer_limit":1,"shards":4,"items":[{"sku":"A","title":"A thing","unit_price":1000,"stock":200}]}`).must(t, 201)
	p.admin("POST", "/sales/drop/arm", "").must(t, 200)
	p.admin("POST", "/sales/drop/open", "").must(t, 200)
	c := &crowd{t: t, p: p, sale: "drop", stock: 200, atSold: 100, then: func() { redisDo(t, addrOf(t, redis), "FLUSHALL") }}
	c.buy(300, 64)
	c.mustHaveSold(r, 4)
}

// A Redis fails over to a replica that had stopped hearing of it: holds, payments
// and claims that it had acknowledged are not there.
func TestAFailoverToALaggingReplicaComesBack(t *testing.T) {
	master, replica := testenv.OwnRedis(t), testenv.OwnRedis(t)
	clients, replication := newSwitch(t, addrOf(t, master)), newSwitch(t, addrOf(t, master))
	host, port, _ := strings.Cut(replication.addr(), ":")
	redisDo(t, addrOf(t, replica), "REPLICAOF "+host+" "+port)
	r := rigOn(t, "redis://"+clients.addr()+"/0", testenv.Postgres(t), strings.Join(testenv.Kafka(t), ","))
	p := r.serve()
	p.sale("drop", 300, 1, "4m")
	eventually(t, "the replica is there", func() (bool, string) {
		got := redisDo(t, addrOf(t, master), "WAIT 1 1000")
		return got == ":1", got
	})
	c := &crowd{t: t, p: p, sale: "drop", stock: 300, atSold: 80}
	c.then = func() {
		replication.turn("") // from here on the replica lags
		eventually(t, "sixty more are sold", func() (bool, string) { n := c.sold.Load(); return n >= 140, fmt.Sprint(n) })
		must(t, master.Kill())
		redisDo(t, addrOf(t, replica), "REPLICAOF NO ONE")
		clients.turn(addrOf(t, replica))
	}
	c.buy(400, 64)
	c.mustHaveSold(r, 1)
}

func TestOperatorsRebuildAGateByHand(t *testing.T) {
	redis := testenv.OwnRedis(t)
	r := rigOn(t, redis.URL, testenv.Postgres(t), strings.Join(testenv.Kafka(t), ","))
	p := r.serve("--no-auto-rebuild")
	p.sale("drop", 20, 1, "4m")
	holds := p.holds(t, "drop", 10)
	paid := map[string]string{}
	for id, tok := range holds {
		p.pays(t, tok, id, "pay")
		paid[id] = tok
		if len(paid) == 4 {
			break
		}
	}
	gate := func(args ...string) (out map[string]any, text string, status int) {
		t.Helper()
		text, errs, status := command(t, append(append([]string{"gate"}, args...), "--json", "--admin", p.ready.Admin, "--token", testToken)...)
		if err := json.Unmarshal([]byte(text), &out); err != nil && text != "" {
			t.Fatalf("gate %v prints %q, %q", args, text, errs)
		}
		return out, text + errs, status
	}
	if _, text, status := gate("status"); status != exitOK || !strings.Contains(text, `"state":"open"`) || !strings.Contains(text, `"epoch":1`) {
		t.Errorf("status %d: %s", status, text)
	}
	if _, text, status := gate("rebuild", "--sale", "drop", "--dry-run"); status != exitOK || !strings.Contains(text, `"accepted":4`) || !strings.Contains(text, `"held":6`) {
		t.Errorf("dry run: status %d: %s", status, text)
	}
	if _, text, status := gate("rebuild"); status != exitOK || !strings.Contains(text, `"rebuilt":[]`) {
		t.Errorf("with nothing lost: status %d: %s", status, text)
	}
	if _, text, status := gate("rebuild", "--sale", "drop", "--shard", "1"); status != exitFound {
		t.Errorf("a shard that is not there: status %d: %s", status, text)
	}
	if _, text, status := gate("rebuild", "--sale", "drop", "--reason", "drill"); status != exitOK || !strings.Contains(text, `"accepted":4`) || !strings.Contains(text, `"kept":6`) || !strings.Contains(text, `"epoch":2`) {
		t.Errorf("rebuild: status %d: %s", status, text)
	}
	if n := r.query("SELECT count(*) FROM audit_log WHERE act = 'gate rebuild' AND actor = 'owner' AND detail->>'reason' = 'drill'"); n != 1 {
		t.Errorf("audited %d times", n)
	}
	p.mustBeClean(t)

	// What was put back has no place at the gate that is there now, and its time-line does not make one up.
	for id := range holds {
		_, isOrder := paid[id]
		out, errs, status := command(t, "order", "trace", id, "--admin", p.ready.Admin, "--token", testToken)
		if status != exitOK || strings.Contains(out, "seq 0") || !strings.Contains(out, "put back by a rebuild") || isOrder && !regexp.MustCompile(`order confirmed, seq [1-9]\d* of epoch 1`).MatchString(out) {
			t.Errorf("the way of %s, paid %v: status %d\n%s%s", id, isOrder, status, out, errs)
		}
	}
	for id := range paid {
		if _, errs, status := command(t, "hold", "release", id, "--reason", "drill", "--admin", p.ready.Admin, "--token", testToken); status != exitFound || !strings.Contains(errs, "already_paid") {
			t.Errorf("releasing an order: status %d, %s", status, errs)
		}
	}
	for id, tok := range holds {
		if _, isOrder := paid[id]; isOrder {
			continue
		}
		out, errs, status := command(t, "hold", "release", id, "--reason", "asked by phone", "--admin", p.ready.Admin, "--token", testToken)
		if status != exitOK || !strings.Contains(out, "is released") || p.reservation(tok, id).text("state") != "released" {
			t.Errorf("releasing a hold: status %d, %s%s; the buyer sees %s", status, out, errs, p.reservation(tok, id).Raw)
		}
		if n := r.query("SELECT count(*) FROM audit_log WHERE act = 'release hold' AND actor = 'owner' AND target = 'drop' AND detail->>'reason' = $1", id+": asked by phone"); n != 1 {
			t.Errorf("audited %d times", n)
		}
		break
	}
	if n := r.query("SELECT count(*) FROM audit_log WHERE act = 'release hold'"); n != 1 {
		t.Errorf("%d releases are on record, those that were refused among them", n)
	}

	redisDo(t, addrOf(t, redis), "FLUSHALL")
	if _, text, status := gate("status"); status != exitFound || !strings.Contains(text, `"state":"lost"`) {
		t.Errorf("after FLUSHALL: status %d: %s", status, text)
	}
	ann := token(t, "ann")
	if got := p.reserve(ann, "drop", "k"); got.Status != 503 || got.Code != "gate_frozen" || got.Header.Get("Retry-After") == "" {
		t.Errorf("reserving meanwhile: %d %s", got.Status, got.Raw)
	}
	if _, text, status := gate("rebuild"); status != exitOK || !strings.Contains(text, `"cause":"terms"`) || !strings.Contains(text, `"epoch":3`) {
		t.Errorf("rebuild: status %d: %s", status, text)
	}
	for id, tok := range holds {
		got := p.reservation(tok, id)
		_, isOrder := paid[id]
		if isOrder && got.text("state") != "confirmed" || !isOrder && (got.Status != 410 || got.Code != "reservation_lost") {
			t.Errorf("%s, paid %v: %d %s", id, isOrder, got.Status, got.Raw)
		}
		if again := p.checkout(tok, id, "pay", "pm_card_visa"); isOrder && again.Status != 201 || !isOrder && again.Code != "reservation_lost" {
			t.Errorf("paying for %s, paid %v: %d %s", id, isOrder, again.Status, again.Raw)
		}
	}
	for i := range 16 {
		p.held(t, token(t, fmt.Sprint("late-", i)), "drop", "k")
	}
	if got := p.reserve(token(t, "late-17"), "drop", "k"); got.Code != "sold_out" {
		t.Errorf("one more than there is: %s", got.Raw)
	}
	text := metricsOf(t, p)
	for _, want := range []string{`flashsale_gate_epoch{sale="drop",shard="0"} 3`, `flashsale_gate_frozen_seconds{sale="drop",shard="0"} 0`, `flashsale_gate_rebuilds_total{cause="terms"} 1`} {
		if !strings.Contains(text, want) {
			t.Errorf("the metrics lack %s", want)
		}
	}
	p.mustBeClean(t)
}

func metricsOf(t *testing.T, p *proc) string {
	t.Helper()
	return send("GET", p.ready.Admin+"/metrics", "", "", "").must(t, 200).Raw
}

// Without order writers nobody knows what was sold: the gate stays closed, and
// comes back once one has read the stream.
func TestAGateStaysFrozenUntilTheRecordHasReadTheStream(t *testing.T) {
	redis := testenv.OwnRedis(t)
	r := rigOn(t, redis.URL, testenv.Postgres(t), strings.Join(testenv.Kafka(t), ","))
	p := r.serve("--roles", "api,relay,reaper,payments")
	p.sale("drop", 2, 1, "4m")
	ann, bob := token(t, "ann"), token(t, "bob")
	id := p.held(t, ann, "drop", "k").text("id")
	p.checkout(ann, id, "pay", "pm_card_visa", "Prefer", "wait=0").must(t, 202) // in the stream, and no order yet
	redisDo(t, addrOf(t, redis), "FLUSHALL")
	eventually(t, "the shard is noted as frozen", func() (bool, string) {
		n := r.query("SELECT count(*) FROM gate_leases WHERE state = 'frozen' AND epoch = 2")
		return n == 1, fmt.Sprint(n)
	})
	if got := p.reserve(bob, "drop", "k"); got.Status != 503 || got.Code != "gate_frozen" {
		t.Errorf("a hold was given though nobody knows what was sold: %d %s", got.Status, got.Raw)
	}
	if got := p.admin("GET", "/gate?sale=drop", ""); !strings.Contains(got.Raw, `"state":"frozen"`) || !strings.Contains(got.Raw, `"reason":"terms"`) {
		t.Errorf("operators see %s", got.Raw)
	}
	r.serve("--roles", "writer")
	eventually(t, "the gate is back", func() (bool, string) { got := p.reserve(bob, "drop", "k"); return got.Status == 201, got.Raw })
	p.becomes(t, ann, id, "confirmed")
	if got := p.reserve(token(t, "eve"), "drop", "k"); got.Code != "sold_out" {
		t.Errorf("one more than there is: %s", got.Raw)
	}
	p.mustBeClean(t)
}
