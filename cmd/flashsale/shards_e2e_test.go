package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/flashsale-engine/flashsale/internal/devstack/testenv"
)

func (p *proc) shards(t *testing.T, sale string) (v shardStatus) {
	t.Helper()
	out, errs, status := command(t, "sale", "status", sale, "--shards", "--json", "--admin", p.ready.Admin, "--token", testToken)
	if err := json.Unmarshal([]byte(out), &v); err != nil || status != exitOK {
		t.Fatalf("sale status --shards: %d %q %q", status, out, errs)
	}
	return v
}

// A sale of sixteen shards on a Redis Cluster of six processes, most of its stock
// in one shard: every unit is sold, to whichever shard's buyers come.
func TestFiveHundredBuyersGetExactlyFiftyUnitsOfSixteenShards(t *testing.T) {
	t.Parallel()
	r := rigOn(t, testenv.OwnRedisCluster(t).URL, testenv.Postgres(t), strings.Join(testenv.Kafka(t), ","))
	p := r.serve()
	p.admin("PUT", "/sales/drop", `{"name":"Drop","currency":"USD","hold_ttl":"2m","hold_cap":"5m","per_buyer_limit":1,"shards":16,"items":[{"sku":"A","unit_price":1000,"stock":50}]}`).must(t, 201)
	p.admin("POST", "/sales/drop/arm", "").must(t, 200)
	move := []string{"stock", "move", "drop", "A", "--to", "7", "--units", "3", "--reason", "for the test", "--admin", p.ready.Admin, "--token", testToken}
	for from := range 4 {
		if out, errs, status := command(t, append(move, "--from", fmt.Sprint(from))...); status != exitOK {
			t.Fatalf("stock move: %d %s %s", status, out, errs)
		}
	}
	if _, errs, status := command(t, append(move, "--from", "3")...); status != exitFound || !strings.Contains(errs, "sold_out") {
		t.Errorf("more is moved than there is: %d %s", status, errs)
	}
	if got := p.admin("POST", "/sales/drop/stock/move", `{"sku":"A","from":1,"to":16,"units":1,"reason":"x"}`); got.Status != 400 {
		t.Errorf("moved to a shard that is none: %s", got.Raw)
	}
	if n := r.query("SELECT count(*) FROM audit_log WHERE act = 'move stock' AND detail->>'reason' LIKE '3 units of A from shard % to shard 7: for the test'"); n != 4 {
		t.Errorf("%d moves in the audit log", n)
	}
	v := p.shards(t, "drop")
	if len(v.Shards) != 16 || v.Shards[7].Items[0].Available != 15 || v.Shards[0].Items[0].Available != 1 {
		t.Errorf("shards %+v", v)
	}
	p.mustBeClean(t)
	p.admin("POST", "/sales/drop/open", "").must(t, 200)

	var mu sync.Mutex
	count := map[string]int{}
	each(500, 250, func(i int) {
		tok, key := token(t, fmt.Sprintf("buyer-%d", i)), fmt.Sprintf("k-%d", i)
		got := insist(t, func() reply { return p.reserve(tok, "drop", key) })
		outcome := fmt.Sprintf("%d %s", got.Status, got.Code)
		if got.Status == 201 {
			id := got.text("id")
			got = insist(t, func() reply { return p.checkout(tok, id, key, "pm_card_visa") })
			outcome = fmt.Sprintf("%d %s", got.Status, got.text("state"))
		}
		mu.Lock()
		defer mu.Unlock()
		count[outcome]++
	})
	if count["201 confirmed"] != 50 || count["409 sold_out"] != 450 || len(count) != 2 {
		t.Errorf("got %v", count)
	}
	if n := r.query("SELECT count(*) FROM orders WHERE state = 'confirmed'"); n != 50 {
		t.Errorf("%d orders in Postgres", n)
	}
	t.Logf("verify: %+v", p.mustBeClean(t))

	p.admin("POST", "/sales/drop/stock", `{"sku":"A","delta":20,"reason":"more"}`).must(t, 200)
	p.admin("POST", "/sales/drop/stock", `{"sku":"A","delta":-19,"reason":"less"}`).must(t, 200)
	if got := p.admin("POST", "/sales/drop/stock", `{"sku":"A","delta":-2,"reason":"too many"}`); got.Code != "sold_out" {
		t.Errorf("one unit is free and two were taken: %s", got.Raw)
	}
	sold := 0
	each(20, 5, func(i int) {
		if insist(t, func() reply { return p.reserve(token(t, fmt.Sprintf("late-%d", i)), "drop", "k") }).Status == 201 {
			mu.Lock()
			defer mu.Unlock()
			sold++
		}
	})
	if sold != 1 {
		t.Errorf("%d of one unit were reserved", sold)
	}
	p.mustBeClean(t)
}
