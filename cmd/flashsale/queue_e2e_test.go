package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/flashsale-engine/flashsale/internal/devstack/testenv"
	"github.com/flashsale-engine/flashsale/ops"
)

// queued creates and arms a sale of one SKU, A, with a waiting room.
func (p *proc) queued(id string, stock int, admission, opens string) {
	p.t.Helper()
	p.admin("PUT", "/sales/"+id, fmt.Sprintf(`{"name":"Drop","currency":"USD","hold_ttl":"2m","hold_cap":"5m","per_buyer_limit":2,"opens_at":%s,"admission":%s,"items":[{"sku":"A","title":"A thing","unit_price":1000,"stock":%d}]}`,
		opens, admission, stock)).must(p.t, 201)
	p.admin("POST", "/sales/"+id+"/arm", "").must(p.t, 200)
}

func (p *proc) queue(id string) reply {
	return send("GET", p.ready.API+"/v1/sales/"+id+"/queue", "", "", "")
}

func (p *proc) enter(token, id string) reply {
	return send("POST", p.ready.API+"/v1/sales/"+id+"/queue", token, "", "")
}

// reserveBy reserves with an admission token.
func (p *proc) reserveBy(token, sale, key, admission string) reply {
	return send("POST", p.ready.API+"/v1/sales/"+sale+"/reservations", token, key, `{"lines":[{"sku":"A","quantity":1}]}`, "Admission-Token", admission)
}

// admitted polls until the buyer has a token.
func (p *proc) admitted(t *testing.T, token, sale string) (admission string) {
	t.Helper()
	eventually(t, "the admission", func() (bool, string) {
		got := p.enter(token, sale)
		admission = got.text("token")
		return admission != "", got.Raw
	})
	return admission
}

func (r reply) number(field string) int { n, _ := r.Body[field].(float64); return int(n) }

func TestASaleWithAWaitingRoom(t *testing.T) {
	r := newRig(t)
	p, q := r.serve(), r.serve()
	p.sale("plain", 2, 1, "2m")
	p.queued("drop", 20, `{"lease":"1m","use":"1m"}`, fmt.Sprintf("%q", time.Now().Add(20*time.Second).UTC().Format(time.RFC3339Nano)))

	// Before the opening: tickets, no places; the commitment, no seed.
	const buyers = 8
	tok := make([]string, buyers)
	for i := range tok {
		tok[i] = token(t, fmt.Sprintf("buyer-%d", i))
		at := []*proc{p, q}[i%2]
		eventually(t, "the other node to know of the sale", func() (bool, string) {
			got := at.enter(tok[i], "drop")
			return got.Status == 201 || got.Status == 200, got.Raw
		})
	}
	doc := p.queue("drop").must(t, 200)
	if doc.text("state") != "armed" || doc.text("commitment") == "" || doc.text("seed") != "" || doc.Body["n"] != nil {
		t.Errorf("%s", doc.Raw)
	}
	p.reserveBy(tok[0], "drop", "k", "").must(t, 403)

	// The opening: the clock's. Everybody's place is what the document says it is.
	eventually(t, "the opening", func() (bool, string) {
		doc = q.queue("drop")
		return doc.text("state") == "open" && doc.number("front") == buyers, doc.Raw
	})
	if doc.number("n") != buyers || len(doc.text("seed")) != 64 {
		t.Errorf("%s", doc.Raw)
	}
	mustVerifyPlaces(t, q, doc, buyers)

	adm := p.admitted(t, tok[0], "drop")
	other := q.admitted(t, tok[1], "drop")
	for reason, got := range map[string]reply{
		"missing": p.reserveBy(tok[0], "drop", "k0", ""),
		"forged":  q.reserveBy(tok[0], "drop", "k0", adm[:len(adm)-2]+"xx"),
		"other":   p.reserveBy(tok[0], "drop", "k0", other),
	} {
		if got.Status != 403 || got.Code != "admission_required" || got.text("reason") != reason || got.text("queue") != "/v1/sales/drop/queue" {
			t.Errorf("%s: %d %s", reason, got.Status, got.Raw)
		}
	}

	// Twenty tabs use one token at once, each under a key of its own, on two nodes.
	var mu sync.Mutex
	made, used := map[string]string{}, 0
	each(20, 20, func(i int) {
		got := []*proc{p, q}[i%2].reserveBy(tok[0], "drop", fmt.Sprintf("tab-%d", i), adm)
		mu.Lock()
		defer mu.Unlock()
		switch {
		case got.Status == 201:
			made[got.text("id")] = fmt.Sprintf("tab-%d", i)
		case got.Status == 403 && got.text("reason") == "used":
			used++
		default:
			t.Errorf("%d %s", got.Status, got.Raw)
		}
	})
	if len(made) != 1 || used != 19 {
		t.Fatalf("%d reservations and %d refusals of one token", len(made), used)
	}
	for id, key := range made { // the request that made it may be repeated, wherever, and paid
		again := q.reserveBy(tok[0], "drop", key, q.admitted(t, tok[0], "drop")).must(t, 201)
		if again.text("id") != id || again.Header.Get("Idempotency-Replayed") != "true" {
			t.Errorf("%s, not %s", again.Raw, id)
		}
		p.pays(t, tok[0], id, "pay")
	}
	batch := send("POST", p.ready.API+"/v1/sales/drop/reservations:batch", token(t, "x"), "", "")
	if batch.Status == 200 {
		t.Errorf("%s", batch.Raw)
	}
	p.held(t, tok[0], "plain", "k") // who has no room asks for no token

	// The front is looked after by operators, and the sale's end is the room's.
	out, errs, status := command(t, "sale", "queue", "drop", "--pause", "--rate", "7", "--reason", "a test", "--json", "--admin", p.ready.Admin, "--token", testToken)
	var view ops.Queue
	if err := json.Unmarshal([]byte(out), &view); err != nil || status != exitOK || !view.Paused || view.RateCap != 7 || view.Joined != buyers {
		t.Errorf("%v %d %q %q", err, status, out, errs)
	}
	if n := r.query(`SELECT count(*) FROM audit_log WHERE act = 'queue' AND target = 'drop' AND detail::text LIKE '%a test%'`); n != 1 {
		t.Errorf("%d entries in the audit log", n)
	}
	if n := r.query(`SELECT count(*) FROM audit_log WHERE detail::text LIKE '%' || $1 || '%' OR detail::text ILIKE '%seed%'`, doc.text("seed")); n != 0 {
		t.Errorf("%d entries of the audit log know the seed", n)
	}
	p.admin("POST", "/sales/drop/drain", "").must(t, 200)
	eventually(t, "the room's end on both nodes", func() (bool, string) {
		a, b := p.queue("drop"), q.queue("drop")
		return a.text("state") == "closed" && b.text("state") == "closed" && q.enter(tok[2], "drop").Code == "sale_not_open", a.Raw + b.Raw
	})
	p.mustBeClean(t)
}

func TestAWaitingRoomIsShownInWords(t *testing.T) {
	at, n := time.Date(2026, 11, 27, 9, 0, 0, 0, time.UTC), int64(40)
	for says, v := range map[string]ops.Queue{
		"drop  room pre, sale armed  (epoch 2)\nopens      2026-11-27T09:00:00Z\nfront      0, 0.0 places per second\n":                {Sale: "drop", State: "pre", Sales: "armed", Epoch: 2, OpensAt: &at},
		"opened     2026-11-27T09:00:00Z with 40 tickets\nfront      9, 2.5 places per second, held back by stock; stock reaches 40\n": {OpensAt: &at, OpenedAt: &at, N: &n, Front: 9, Rate: 2.5, Limit: "stock", Reach: &n},
		"operator   nobody is called: paused":                     {Paused: true, RateCap: 3},
		"operator   at most 3 places per second\nmoved by   n1\n": {RateCap: 3, Runner: "n1"},
	} {
		var b strings.Builder
		if err := printQueue(&b, v, false); err != nil || !strings.Contains(b.String(), says) {
			t.Errorf("%v, want %q in\n%s", err, says, b.String())
		}
	}
}

// mustVerifyPlaces has the script that shares no code with the engine check every place.
func mustVerifyPlaces(t *testing.T, p *proc, doc reply, n int) {
	t.Helper()
	type ticket struct {
		Ticket int `json:"ticket"`
		Place  int `json:"place"`
	}
	in := map[string]any{"sale": doc.text("sale"), "commitment": doc.text("commitment"), "seed": doc.text("seed"), "n": n}
	var all []ticket
	for i := range n {
		got := send("GET", fmt.Sprintf("%s/v1/sales/%s/queue/%d", p.ready.API, doc.text("sale"), i), "", "", "").must(t, 200)
		all = append(all, ticket{i, got.number("place")})
	}
	in["tickets"] = all
	text, err := json.Marshal(in)
	must(t, err)
	cmd := exec.Command("python3", "../../scripts/verify-places.py")
	cmd.Stdin = strings.NewReader(string(text))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v: %s of %s", err, out, text)
	}
}

// The node that moves the front is killed; Redis then forgets everything. Whoever was
// admitted stays so, and whoever waits gets a place again.
func TestAWaitingRoomOutlivesItsNodeAndItsRedis(t *testing.T) {
	redis := testenv.OwnRedis(t)
	r := rigOn(t, redis.URL, testenv.Postgres(t), strings.Join(testenv.Kafka(t), ","))
	nodes := map[string]*proc{}
	for range 2 {
		p := r.serve()
		nodes[fmt.Sprint(p.cmd.Process.Pid)] = p
	}
	var p, dead *proc
	for _, p = range nodes {
		break
	}
	p.queued("drop", 500, `{"lease":"1m","use":"2m","start_rate":10,"max_rate":10}`, "null")
	const buyers = 120
	tok := make([]string, buyers)
	for i := range tok {
		tok[i] = token(t, fmt.Sprintf("buyer-%d", i))
	}
	each(buyers, 32, func(i int) {
		if got := p.enter(tok[i], "drop"); got.Status != 201 || got.text("state") != "waiting" {
			t.Errorf("%d %s", got.Status, got.Raw)
		}
	})
	p.admin("POST", "/sales/drop/open", "").must(t, 200)
	var runner string
	eventually(t, "a runner", func() (bool, string) {
		got := p.admin("GET", "/sales/drop/queue", "")
		runner = got.text("runner")
		return runner != "" && got.number("front") > 0, got.Raw
	})
	for pid, n := range nodes {
		if strings.HasSuffix(runner, ":"+pid) {
			dead = n
		} else {
			p = n
		}
	}
	if dead == nil || dead == p {
		t.Fatalf("%s moves the front", runner)
	}
	dead.kill()
	before := p.queue("drop").number("front")
	eventually(t, "the other node to go on", func() (bool, string) {
		got := p.admin("GET", "/sales/drop/queue", "")
		return got.number("front") > before && got.text("runner") != runner, got.Raw
	})
	var lucky string
	var adm string
	eventually(t, "somebody admitted", func() (bool, string) {
		for _, lucky = range tok {
			if adm = p.enter(lucky, "drop").text("token"); adm != "" {
				return true, ""
			}
		}
		return false, "nobody"
	})

	redisDo(t, addrOf(t, redis), "FLUSHALL")
	eventually(t, "another room", func() (bool, string) {
		got := p.admin("GET", "/sales/drop/queue", "")
		return got.number("epoch") == 2 && got.text("state") == "armed", got.Raw
	})
	each(buyers, 32, func(i int) {
		if got := p.enter(tok[i], "drop"); got.Status != 201 || got.text("state") != "waiting" {
			t.Errorf("%d %s", got.Status, got.Raw)
		}
	})
	eventually(t, "a reservation by who was admitted before", func() (bool, string) {
		got := p.reserveBy(lucky, "drop", "cart", adm)
		return got.Status == 201, got.Raw
	})
	eventually(t, "the front in the new room", func() (bool, string) {
		got := p.queue("drop")
		return got.text("state") == "open" && got.number("n") == buyers && got.number("front") > 0, got.Raw
	})
	p.mustBeClean(t)
}

// A page follows the room by server-sent events, and a node that ends does not wait for it.
func TestAWaitingRoomIsFollowed(t *testing.T) {
	r := newRig(t)
	p := r.serve()
	p.queued("drop", 10, `{}`, "null")
	res, err := http.Get(p.ready.API + "/v1/sales/drop/queue/events")
	must(t, err)
	defer res.Body.Close()
	if kind := res.Header.Get("Content-Type"); kind != "text/event-stream" {
		t.Fatalf("%s", kind)
	}
	lines := bufio.NewScanner(res.Body)
	next := func(what string, is func(r reply) bool) {
		t.Helper()
		for lines.Scan() {
			text, ok := strings.CutPrefix(lines.Text(), "data: ")
			if !ok {
				continue
			}
			got := reply{Raw: text}
			must(t, json.Unmarshal([]byte(text), &got.Body))
			if is(got) {
				return
			}
		}
		t.Fatalf("%s was never told: %v", what, lines.Err())
	}
	next("the room", func(r reply) bool { return r.text("state") == "armed" })
	p.enter(token(t, "ann"), "drop").must(t, 201)
	next("who joined", func(r reply) bool { return r.number("joined") == 1 })
	p.admin("POST", "/sales/drop/open", "").must(t, 200)
	next("the front", func(r reply) bool { return r.number("front") == 1 })
	began := time.Now()
	if err := p.stop(); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took > 15*time.Second {
		t.Errorf("it took %s to end", took)
	}
}
