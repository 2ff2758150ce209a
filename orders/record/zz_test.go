package record

import (
	"context"
	"testing"
	"time"
	"encoding/binary"
	"fmt"
	"github.com/jackc/pgx/v5"
	"github.com/flashsale-engine/flashsale/engine"
	"github.com/flashsale-engine/flashsale/internal/devstack/testenv"
)

func TestZZStages(t *testing.T) {
	db, l, b0 := fixture(t, testenv.Postgres(t))
	db.pool.Exec(t.Context(), `UPDATE skus SET stock=1000000000`)
	n := uint64(1)
	for round := range 40 {
		b := Batch{Topic: "t", From: map[int32]int64{0: int64(n - 1)}}
		a := NewAttempts(db)
		_ = a
		var ids, rs [][]byte
		for range 2000 {
			ev := b0.Entries[0].Event
			ev.ID.Created = engine.TimeZero + int64(n)
			binary.BigEndian.PutUint64(ev.ID.Nonce[:], n)
			ev.Attempt = engine.NewAttemptID(ev.ID, "k")
			b.Entries = append(b.Entries, Entry{Offset: int64(n - 1), Event: ev})
			x := ev.Attempt
			ids = append(ids, x[:]); rs = append(rs, ev.ID.Bytes())
			n++
		}
		db.pool.Exec(t.Context(), `INSERT INTO payments (id, reservation, sale_no, buyer, amount, currency, method, email, state, lease_until)
					SELECT a, r, 1, 'ada', 1000, 'USD', 'pm', '', 'authorising', now() FROM unnest($1::bytea[], $2::bytea[]) AS x (a, r)`, ids, rs)
		var t0, t1, t2, t3, t4 time.Time
		t0 = time.Now()
		err := db.tx(t.Context(), func(tx pgx.Tx) error {
			t1 = time.Now()
			d := newDecision()
			if err := d.read(context.Background(), tx, b); err != nil { return err }
			for i := range b.Entries { d.decide(&b.Entries[i]) }
			t2 = time.Now()
			if err := d.insert(context.Background(), tx); err != nil { return err }
			t3 = time.Now()
			err := d.update(context.Background(), tx, b)
			t4 = time.Now()
			return err
		})
		if err != nil { t.Fatal(err) }
		if round%5 == 4 { fmt.Println(round, "begin", t1.Sub(t0), "read", t2.Sub(t1), "insert", t3.Sub(t2), "update", t4.Sub(t3), "commit", time.Since(t4)) }
	}
	_ = l
	ex := func(sql string, args ...any) {
		rows, err := db.pool.Query(t.Context(), "EXPLAIN (ANALYZE, COSTS OFF) "+sql, args...)
		if err != nil { t.Fatal(err) }
		out, err := pgx.CollectRows(rows, pgx.RowTo[string])
		fmt.Println(err)
		for _, x := range out { fmt.Println(x) }
	}
	ex(`SELECT p.id FROM payments p JOIN orders o ON o.id = p.reservation
			WHERE p.state = 'authorised' AND p.lease_until <= clock_timestamp() AND o.state = 'confirmed' AND o.attempt = p.id
			ORDER BY p.lease_until LIMIT 100 FOR UPDATE OF p SKIP LOCKED`)
	ex(`SELECT p.id FROM payments p JOIN orders o ON o.id = p.reservation
			WHERE p.state = 'authorised' AND p.lease_until <= clock_timestamp() AND (o.state = 'refused' OR o.attempt <> p.id)
			ORDER BY p.lease_until LIMIT 100 FOR UPDATE OF p SKIP LOCKED`)
	ex(`SELECT p.id FROM payments p
			WHERE p.state IN ('authorising', 'unknown', 'authorised')
				AND p.lease_until <= clock_timestamp() - interval '1s'
				AND p.listed_at <= clock_timestamp() - interval '1s'
				AND NOT EXISTS (SELECT FROM orders o WHERE o.id = p.reservation)
			ORDER BY p.listed_at LIMIT 100 FOR UPDATE OF p SKIP LOCKED`)
	t9 := time.Now()
	a := NewAudit(db)
	x, err := a.Totals(t.Context(), 1)
	fmt.Println("totals", time.Since(t9), x, err); t9 = time.Now()
	y, err := a.Orphans(t.Context(), 1)
	fmt.Println("orphans", time.Since(t9), len(y), err); t9 = time.Now()
	z, err := a.Unpaid(t.Context(), 1)
	fmt.Println("unpaid", time.Since(t9), len(z), err); t9 = time.Now()
	at := NewAttempts(db)
	w, err := at.Uncaptured(t.Context(), time.Minute, 500)
	fmt.Println("uncaptured", time.Since(t9), len(w), err); t9 = time.Now()
	for _, q := range w { at.Note(t.Context(), q.ID, engine.Payment{State: "captured"}, "") }
	fmt.Println("500 notes", time.Since(t9))
}
