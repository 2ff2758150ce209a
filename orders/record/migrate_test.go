package record

import (
	"testing"
	"time"

	"github.com/flashsale-engine/flashsale/engine"
)

func TestOrdersFromBeforeThePartitionsMoveIntoThem(t *testing.T) {
	url, c := schemaOf(t, 6)
	now := time.Now().UTC()
	months := []time.Time{now, now.AddDate(0, -3, 0), time.Date(2025, 2, 1, 0, 0, 0, 0, time.UTC)}
	const each = 20
	var ids []engine.ReservationID
	for m, month := range months {
		for i := range each {
			id := engine.ReservationID{Sale: 1, Created: month.UnixMilli(), Nonce: engine.Nonce{byte(m), byte(i)}}
			ids = append(ids, id)
			_, err := c.Exec(t.Context(), `INSERT INTO orders (id, order_id, sale_no, sale_id, buyer, state, lines, total, currency, email, attempt, provider, epoch, seq, reserved_at, accepted_at, placed_at)
				VALUES ($1, $2, 1, 'drop', 'ada', 'confirmed', '[]', 0, 'USD', '', $3, 'p', 1, $4, $5, now(), now())`,
				id.Bytes(), id.Order(), make([]byte, 16), i, id.CreatedAt())
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	db := migrated(t, url)
	for _, id := range ids {
		if o, err := NewOrders(db).Order(t.Context(), id); err != nil || o.ID != id {
			t.Errorf("%s: %v", id, err)
		}
	}
	for _, month := range months {
		var n int
		if err := c.QueryRow(t.Context(), `SELECT count(*) FROM `+month.Format("orders_2006_01")).Scan(&n); err != nil || n != each {
			t.Errorf("%s has %d orders, %v", month.Format("2006-01"), n, err)
		}
	}
	var caught int
	if err := c.QueryRow(t.Context(), `SELECT count(*) FROM orders_default`).Scan(&caught); err != nil || caught != 0 {
		t.Errorf("%d orders in the net, %v", caught, err)
	}
}
