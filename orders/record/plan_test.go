package record_test

import (
	"testing"

	"golang.org/x/sync/errgroup"

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
	} {
		if read := ask(t, url, q); read > 5*batches*size {
			t.Errorf("%d rows read for %d orders: %s", read, batches*size, q)
		}
	}
	// No index is about what changes, and there is room in the page.
	if hot := ask(t, url, `SELECT n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'payments'`); hot < batches*size*9/10 {
		t.Errorf("%d of %d updates of payments stayed within their page", hot, batches*size)
	}
}

// What waits to be captured may be a whole sale. The looks that the payments role
// takes four times a second must not read all of it, nor must the notes.
func TestTheLooksForWorkDoNotReadTheBacklog(t *testing.T) {
	db, url := openRecord(t)
	s := create(t, db, "drop", engine.MaxStock)
	const backlog, piece, looks = 2000, 50, 10
	b := batch(0)
	for n := range uint64(backlog) {
		b.Entries = append(b.Entries, record.Entry{Offset: int64(n), Event: numbered(s, n)})
	}
	if err := psql(t, url, `INSERT INTO payments (id, reservation, sale_no, buyer, amount, currency, method, email, state, lease_until)
		SELECT a, r, 1, 'ada', 1000, 'USD', 'pm', '', 'authorising', now() - interval '1 hour' FROM unnest($1::bytea[], $2::bytea[]) AS x (a, r)`, keys(b)...); err != nil {
		t.Fatal(err)
	}
	commit(t, ledger(t, db), b)
	db.Close()
	const updated, read = `SELECT n_tup_upd FROM pg_stat_user_tables WHERE relname = 'payments'`,
		`SELECT seq_tup_read + coalesce(idx_tup_fetch, 0) FROM pg_stat_user_tables WHERE relname = 'payments'`
	until(t, "the counts are in", func() bool { return ask(t, url, updated) >= backlog })
	before := ask(t, url, read)

	db, err := record.Open(t.Context(), url, record.Options{AcquireTimeout: patience, ConnectTimeout: patience})
	if err != nil {
		t.Fatal(err)
	}
	a := record.NewAttempts(db)
	for range looks {
		if got, err := a.Unfinished(t.Context(), 0, piece); err != nil || len(got) != 0 {
			t.Fatalf("%d, %v", len(got), err)
		}
		got, err := a.Authorised(t.Context(), long, 0, piece)
		if err != nil || len(got.Capture) != piece || len(got.Void)+len(got.Lost) != 0 {
			t.Fatalf("%+v, %v", got, err)
		}
		var notes errgroup.Group
		for _, at := range got.Capture {
			notes.Go(func() error {
				return a.NoteSettled(t.Context(), at, engine.Payment{State: engine.PaymentCaptured}, "order_confirmed")
			})
		}
		if err := notes.Wait(); err != nil {
			t.Fatal(err)
		}
	}
	db.Close()
	until(t, "the counts are in", func() bool { return ask(t, url, updated) >= backlog+looks*piece })
	// What was begun is looked at once more when its reminder comes.
	if n := ask(t, url, read) - before; n > backlog+8*looks*piece {
		t.Errorf("%d rows read to find and note %d of %d", n, looks*piece, backlog)
	}
}

// The gauges and lists of what is not resolved look at each payment that may be
// once, and at its order: not at all payments for each of them.
func TestCountingWhatIsUnresolvedReadsEachPaymentOnce(t *testing.T) {
	db, url := openRecord(t)
	create(t, db, "drop", engine.MaxStock)
	const open, looks = 500, 3
	if err := psql(t, url, `INSERT INTO payments (id, reservation, sale_no, buyer, amount, currency, method, email, state, lease_until)
		SELECT decode(md5(n::text), 'hex'), decode(lpad(to_hex(n), 50, '0'), 'hex'), 1, 'ada', 1000, 'USD', 'pm', '', 'authorising', now() - interval '1 hour' FROM generate_series(1, $1) n`, open); err != nil {
		t.Fatal(err)
	}
	if err := psql(t, url, `ANALYZE`); err != nil { // with statistics a small table is tempting to read
		t.Fatal(err)
	}
	a := record.NewAttempts(db)
	for range looks {
		got, err := a.Unresolved(t.Context())
		if err != nil || len(got) != 1 || got[0].Count != open {
			t.Fatalf("%+v, %v", got, err)
		}
		stuck, err := a.List(t.Context(), true, "", open)
		if err != nil || len(stuck) != open {
			t.Fatalf("%d stuck, %v", len(stuck), err)
		}
	}
	db.Close()
	until(t, "the counts are in", func() bool {
		return ask(t, url, `SELECT sum(numbackends)::bigint FROM pg_stat_database WHERE datname = current_database()`) == 1
	})
	for _, q := range []string{
		`SELECT seq_tup_read + coalesce(idx_tup_fetch, 0) FROM pg_stat_user_tables WHERE relname = 'payments'`,
		`SELECT sum(seq_scan + coalesce(idx_scan, 0))::bigint FROM pg_stat_user_tables WHERE relname LIKE 'orders\_%'`,
	} {
		if n := ask(t, url, q); n < looks*open || n > 3*looks*open {
			t.Errorf("%d for %d looks at %d: %s", n, 2*looks, open, q)
		}
	}
}
