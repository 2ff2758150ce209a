package main

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/flashsale-engine/flashsale/engine"
	"github.com/flashsale-engine/flashsale/internal/devstack/testenv"
)

// How long a big shard is frozen: 10,000 SKUs, 90,000 orders and 10,000 payments
// under way. The time is printed, from the loss to the first hold that is given.
func TestARebuildOfAHundredThousandClaims(t *testing.T) {
	const skus, orders, payments = 10_000, 90_000, 10_000
	redis := testenv.OwnRedis(t)
	r := rigOn(t, redis.URL, testenv.Postgres(t), strings.Join(testenv.Kafka(t), ","))
	p := r.serve()
	items := make([]string, skus)
	for i := range items {
		items[i] = fmt.Sprintf(`{"sku":"S-%d","unit_price":1000,"stock":20}`, i)
	}
	p.admin("PUT", "/sales/big", `{"name":"Big","currency":"USD","hold_ttl":"4m","hold_cap":"30m","per_buyer_limit":4,"items":[`+strings.Join(items, ",")+`]}`).must(t, 201)
	p.admin("POST", "/sales/big/arm", "").must(t, 200)
	p.admin("POST", "/sales/big/open", "").must(t, 200)

	// The id of a reservation, as engine.ReservationID spells it: buyer g, key g.
	id := fmt.Sprintf(`int4send(1) || substring(int8send(%d + g) FROM 4) || int8send(g) || int8send(g)`, time.Now().UnixMilli()-engine.TimeZero-orders-payments)
	attempt := `decode(md5(g::text), 'hex')`
	r.exec(`INSERT INTO payments (id, reservation, sale_no, buyer, amount, currency, method, email, state, lease_until, lines)
		SELECT ` + attempt + `, ` + id + `, 1, 'buyer-' || g, 1000, 'USD', 'pm_card_visa', 'b@example.com', CASE WHEN g <= ` + fmt.Sprint(orders) + ` THEN 'captured' ELSE 'authorising' END,
			now() + interval '10 minutes', jsonb_build_array(jsonb_build_object('no', g % ` + fmt.Sprint(skus) + `, 'quantity', 1))
		FROM generate_series(1, ` + fmt.Sprint(orders+payments) + `) AS g`)
	r.exec(`INSERT INTO orders (id, order_id, sale_no, sale_id, buyer, state, lines, total, currency, email, attempt, provider, epoch, seq, reserved_at, accepted_at, placed_at)
		SELECT p.reservation, 'ord_' || p.buyer, 1, 'big', p.buyer, 'confirmed',
			jsonb_build_array(jsonb_build_object('no', p.lines->0->'no', 'sku', 'S-' || (p.lines->0->>'no'), 'quantity', 1, 'unit_price', 1000)), 1000, 'USD', 'b@example.com', p.id, 'sandbox', 1, 1, reserved_at(p.reservation), now(), now()
		FROM payments p WHERE p.state = 'captured'`)

	body := `{"lines":[{"sku":"S-7","quantity":1}]}`
	reserve := func(n int) reply {
		return send("POST", p.ready.API+"/v1/sales/big/reservations", token(t, fmt.Sprint("late-", n)), "k", body)
	}
	reserve(0).must(t, 201)
	lost := time.Now()
	redisDo(t, addrOf(t, redis), "FLUSHALL")
	eventually(t, "the gate is back", func() (bool, string) { got := reserve(1); return got.Status == 201, got.Raw })
	t.Logf("from the loss to the first hold: %.2f s", time.Since(lost).Seconds())
	for _, line := range r.rebuilds() {
		t.Log(line)
	}
	var sold, paying, free float64
	for _, it := range p.admin("GET", "/sales/big", "").must(t, 200).Body["items"].([]any) {
		it := it.(map[string]any)
		sold, paying, free = sold+it["sold"].(float64), paying+it["paying"].(float64), free+it["available"].(float64)
	}
	if sold != orders || paying != payments || free != skus*20-orders-payments-1 {
		t.Errorf("rebuilt with %v sold, %v paying, %v available", sold, paying, free)
	}
}
