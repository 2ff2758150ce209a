package record

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/pressly/goose/v3"

	"github.com/flashsale-engine/flashsale/engine"
	"github.com/flashsale-engine/flashsale/internal/devstack/testenv"
)

func TestOrdersFromBeforeThePartitionsMoveIntoThem(t *testing.T) {
	url := testenv.Postgres(t)
	if err := withMigrations(t.Context(), url, func(p *goose.Provider) error { _, err := p.UpTo(t.Context(), 6); return err }); err != nil {
		t.Fatal(err)
	}
	c, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(context.Background())
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
	if err := Migrate(t.Context(), url); err != nil {
		t.Fatal(err)
	}
	db, err := Open(t.Context(), url, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
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
