package record_test

import (
	"testing"

	"github.com/flashsale-engine/flashsale/engine"
	"github.com/flashsale-engine/flashsale/orders/record"
)

// A sale fills empty tables within a minute, before Postgres has statistics of
// them. A plan made then must not read whole tables per batch, or per row: the
// writer would slow down with every order. Rows read are counted by Postgres.
func TestTheWritersWorkPerOrderDoesNotGrowWithTheTable(t *testing.T) {
	db, url := openRecord(t)
	s := create(t, db, "drop", engine.MaxStock)
	l := ledger(t, db)
	const batches, size = 30, 100
	n := uint64(0)
	for range batches {
		b := record.Batch{Topic: topic, From: map[int32]int64{0: int64(n)}}
		for range size {
			b.Entries = append(b.Entries, record.Entry{Offset: int64(n), Event: numbered(s, n)})
			n++
		}
		if err := psql(t, url, `INSERT INTO payments (id, reservation, sale_no, buyer, amount, currency, method, email, state, lease_until)
			SELECT a, r, 1, 'ada', 1000, 'USD', 'pm', '', 'authorising', now() FROM unnest($1::bytea[], $2::bytea[]) AS x (a, r)`, keys(b)...); err != nil {
			t.Fatal(err)
		}
		commit(t, l, b)
	}
	db.Close() // a session's counts are complete once it has ended
	until(t, "the counts are in", func() bool {
		return ask(t, url, `SELECT n_tup_upd FROM pg_stat_user_tables WHERE relname = 'payments'`) >= batches*size
	})
	for _, q := range []string{
		`SELECT seq_tup_read + coalesce(idx_tup_fetch, 0) FROM pg_stat_user_tables WHERE relname = 'payments'`,
		`SELECT sum(seq_tup_read + coalesce(idx_tup_fetch, 0))::bigint FROM pg_stat_user_tables WHERE relname LIKE 'orders\_%'`,
		`SELECT idx_tup_read FROM pg_stat_user_indexes WHERE indexrelname = 'payments_unfinished'`,
	} {
		if read := ask(t, url, q); read > 5*batches*size {
			t.Errorf("%d rows read for %d orders: %s", read, batches*size, q)
		}
	}
}
