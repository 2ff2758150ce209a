package record_test

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/url"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/flashsale-engine/flashsale/engine"
	"github.com/flashsale-engine/flashsale/orders/record"
)

// rival is another client of the same database, in a transaction.
type rival struct {
	t  *testing.T
	tx pgx.Tx
}

func newRival(t *testing.T, url string) rival {
	t.Helper()
	c, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close(context.Background()) })
	// Whoever looks for a deadlock first is the one who is given up: never the rival.
	if _, err := c.Exec(t.Context(), `SET deadlock_timeout = '10min'`); err != nil {
		t.Fatal(err)
	}
	tx, err := c.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return rival{t, tx}
}

func (r rival) exec(sql string) {
	r.t.Helper()
	if _, err := r.tx.Exec(r.t.Context(), sql); err != nil {
		r.t.Error(err)
	}
}

func (r rival) commit() {
	r.t.Helper()
	if err := r.tx.Commit(r.t.Context()); err != nil {
		r.t.Error(err)
	}
}

// blocked waits until somebody in the test's database waits for a lock.
func blocked(t *testing.T, url string, n int64) {
	t.Helper()
	until(t, "somebody waits for a lock", func() bool {
		return ask(t, url, `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`) >= n
	})
}

func agree(t *testing.T, db *record.DB, s *engine.Sale, sold int64) {
	t.Helper()
	totals, err := record.NewAudit(db).Totals(t.Context(), s.No)
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range totals {
		if x.Sold != sold || x.LedgerSold != sold || x.Orders != sold {
			t.Errorf("SKU %d: %+v, want %d sold", x.No, x, sold)
		}
	}
}

func TestSKUsAreLockedInTheirOrderWhateverThatOfACart(t *testing.T) {
	db, url := openRecord(t)
	s := create(t, db, "drop", 10, 10, 10)
	l := ledger(t, db)
	b := batch(0, event(s, 1, 2, 0), event(s, 1, 1, 0))
	first, others := newRival(t, url), newRival(t, url)
	first.exec(`SELECT FROM skus WHERE no = 0 FOR UPDATE`)
	done := make(chan error, 1)
	go func() { _, err := l.Commit(t.Context(), b); done <- err }()
	blocked(t, url, 1) // the writer waits for SKU 0, and has no other yet
	others.exec(`SELECT FROM skus WHERE no > 0 FOR UPDATE NOWAIT`)
	others.commit()
	first.commit()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// The writer's locks are sorted, so writers do not deadlock with each other; but
// somebody who does not sort may do it to them.
func TestADeadlockWithSomebodyWhoDoesNotSortIsSurvived(t *testing.T) {
	db, url := openRecord(t)
	s := create(t, db, "drop", 10, 10)
	l := ledger(t, db)
	b := batch(0, event(s, 1, 0, 1))
	r := newRival(t, url)
	r.exec(`SELECT FROM skus WHERE no = 1 FOR UPDATE`)
	done := make(chan error, 1)
	go func() { _, err := l.Commit(t.Context(), b); done <- err }()
	blocked(t, url, 1) // the writer holds SKU 0 and waits for SKU 1
	r.exec(`SELECT FROM skus WHERE no = 0 FOR UPDATE`)
	r.commit()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	agree(t, db, s, 1)
	until(t, "Postgres has counted the deadlock", func() bool {
		return ask(t, url, `SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()`) == 1
	})
}

func TestASerializationFailureIsTriedAgain(t *testing.T) {
	db, url := openRecord(t)
	s := create(t, db, "drop", 10)
	ledger(t, db)
	if err := psql(t, url, `DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET default_transaction_isolation = ''repeatable read''', current_database()); END $$`); err != nil {
		t.Fatal(err)
	}
	strict := openAt(t, url) // its sessions begin with that
	r := newRival(t, url)
	r.exec(`UPDATE skus SET stock = stock + 1`)
	done := make(chan error, 1)
	go func() { _, err := record.NewLedger(strict).Commit(t.Context(), batch(0, event(s, 1, 0))); done <- err }()
	blocked(t, url, 1) // the writer's snapshot is older than the rival's change
	r.commit()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	until(t, "Postgres has counted the failure", func() bool {
		return ask(t, url, `SELECT xact_rollback FROM pg_stat_database WHERE datname = current_database()`) >= 1
	})
	if n := ask(t, url, `SELECT stock - sold FROM skus`); n != 10 {
		t.Errorf("%d units are left of 11, 1 sold", n)
	}
}

// cutter is a proxy in front of Postgres that loses the next COMMIT once it is
// armed: with its answer, or before it arrives.
type cutter struct {
	net.Listener
	to string

	mu    sync.Mutex
	armed string // "", "answer" or "commit"
	cuts  int
}

func newCutter(t *testing.T, to string) (*cutter, string) {
	t.Helper()
	u, err := url.Parse(to)
	if err != nil {
		t.Fatal(err)
	}
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &cutter{Listener: l, to: u.Host}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() { c.serve(client) })
		}
	})
	t.Cleanup(func() { _ = l.Close(); all.Wait() })
	u.Host = l.Addr().String()
	return c, u.String()
}

func (c *cutter) arm(what string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.armed = what
}

func (c *cutter) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cuts
}

// take gives what is to be lost, once.
func (c *cutter) take(sent []byte) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.armed == "" || !bytes.Contains(bytes.ToLower(sent), []byte("commit\x00")) {
		return ""
	}
	what := c.armed
	c.armed = ""
	c.cuts++
	return what
}

func (c *cutter) serve(client net.Conn) {
	defer client.Close()
	server, err := net.Dial("tcp", c.to)
	if err != nil {
		return
	}
	defer server.Close()
	var deaf sync.Mutex // held while the server's answers are to be lost
	var back sync.WaitGroup
	defer back.Wait()
	answered := make(chan struct{}, 1)
	back.Go(func() {
		defer client.Close()
		buf := make([]byte, 64<<10)
		for {
			n, err := server.Read(buf)
			if err != nil {
				return
			}
			if !deaf.TryLock() {
				answered <- struct{}{} // it has committed, and nobody will hear of it
				return
			}
			_, err = client.Write(buf[:n])
			deaf.Unlock()
			if err != nil {
				return
			}
		}
	})
	buf := make([]byte, 64<<10)
	for {
		n, err := client.Read(buf)
		if err != nil {
			_ = server.Close()
			return
		}
		lost := c.take(buf[:n])
		if lost == "commit" {
			_ = server.Close()
			return
		}
		if lost == "answer" {
			deaf.Lock()
		}
		if _, err := io.Copy(server, bytes.NewReader(buf[:n])); err != nil {
			return
		}
		if lost == "answer" {
			<-answered
			_ = server.Close()
			return
		}
	}
}

// The connection is cut after the COMMIT was sent. Whether it happened is never
// guessed: the stream's position, which moves in the same transaction, says so.
func TestAConnectionCutInTheCommitIsReadBack(t *testing.T) {
	for _, lost := range []string{"answer", "commit"} {
		t.Run("the "+lost+" is lost", func(t *testing.T) {
			direct, url := openRecord(t)
			s := create(t, direct, "drop", 10)
			proxy, through := newCutter(t, url)
			db := openAt(t, through)
			l := ledger(t, db)
			first, second := event(s, 1, 0), event(s, 2, 0)
			proxy.arm(lost)
			r, err := l.Commit(t.Context(), batch(0, first, second))
			if err != nil {
				t.Fatal(err)
			}
			if proxy.count() != 1 || r.Next[0] != 2 || len(r.Decided) != 2 || r.Decided[0].State != engine.Confirmed || r.Decided[1].ReplyTo != "node-1" {
				t.Errorf("%d cuts, %+v", proxy.count(), r)
			}
			agree(t, direct, s, 3)
			if n := ask(t, url, `SELECT count(*) FROM orders`); n != 2 {
				t.Errorf("%d orders", n)
			}
			if _, err := l.Commit(t.Context(), batch(2, event(s, 1, 0))); err != nil {
				t.Errorf("the next batch: %v", err)
			}
		})
	}
}

// A batch that is written without a look at existing orders must still meet
// them: when another node published one again, and when half of them are there.
func TestOrdersThatExistAreMetByTheKeyAndWrittenOnce(t *testing.T) {
	db, url := openRecord(t)
	s := create(t, db, "drop", 100)
	l := ledger(t, db)
	a, b, c := event(s, 1, 0), event(s, 1, 0), event(s, 1, 0)
	commit(t, l, batch(0, a, b))
	r := commit(t, l, batch(2, c, b, c))
	if len(r.Decided) != 3 || r.Decided[0].Repeated || !r.Decided[1].Repeated || !r.Decided[2].Repeated {
		t.Errorf("%+v", r.Decided)
	}
	for i := range int64(40) { // beyond the batches that look because of it
		commit(t, l, batch(5+i, event(s, 1, 0)))
	}
	if r := commit(t, l, batch(45, a)); !r.Decided[0].Repeated {
		t.Errorf("%+v", r.Decided)
	}
	spoilt := b // its order is there: no dead letter, whatever came of the event since
	spoilt.Total.Amount++
	if r := commit(t, record.NewLedger(db), batch(46, spoilt)); len(r.Dead) != 0 || !r.Decided[0].Repeated {
		t.Errorf("%+v", r)
	}
	agree(t, db, s, 43)
	if n := ask(t, url, `SELECT count(*) FROM orders`); n != 43 {
		t.Errorf("%d orders", n)
	}
}
