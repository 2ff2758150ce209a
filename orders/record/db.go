package record

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/flashsale-engine/flashsale/engine"
	"github.com/flashsale-engine/flashsale/internal/telemetry"
)

// Options of the record's connections.
type Options struct {
	// MaxConns bounds the pool. Default 16.
	MaxConns int
	// AcquireTimeout is how long a call waits for a free connection before it is
	// told "unavailable". Default 2 s.
	AcquireTimeout time.Duration
	// ConnectTimeout bounds one dial. Default 2 s.
	ConnectTimeout time.Duration
	// Sealer encrypts contacts; nil: they are kept in clear.
	Sealer Sealer
	// Log receives what an operator should know; nil discards.
	Log *slog.Logger
	// Registerer takes the pool's metrics; nil: there are none.
	Registerer prometheus.Registerer
}

func (o Options) withDefaults() Options {
	if o.MaxConns <= 0 {
		o.MaxConns = 16
	}
	if o.AcquireTimeout <= 0 {
		o.AcquireTimeout = 2 * time.Second
	}
	if o.ConnectTimeout <= 0 {
		o.ConnectTimeout = 2 * time.Second
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return o
}

// DB is the record's pool of connections.
type DB struct {
	pool *pgxpool.Pool
	opt  Options
	wait prometheus.Histogram // for a connection
	hold prometheus.Histogram // of one

	// commit is pgx's own, except in the test that loses a COMMIT's answer.
	commit func(context.Context, pgx.Tx) error
}

// Open makes the pool. It does not connect: a node may start before Postgres does.
func Open(ctx context.Context, url string, opt Options) (*DB, error) {
	opt = opt.withDefaults()
	cfg, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, fmt.Errorf("record: Postgres URL: %w", err)
	}
	cfg.MaxConns = int32(min(opt.MaxConns, 10_000))
	cfg.ConnConfig.ConnectTimeout = opt.ConnectTimeout
	if cfg.ConnConfig.RuntimeParams["application_name"] == "" {
		cfg.ConnConfig.RuntimeParams["application_name"] = "flashsale"
	}
	// Plans are made anew for each execution. A flash sale begins with empty
	// tables: a plan that Postgres keeps from then scans them whole, and goes on
	// doing so when they have a million rows, until autovacuum comes by. Planning
	// costs some tens of µs; it also makes a pooler such as PgBouncer harmless.
	cfg.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeCacheDescribe
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("record: pool: %w", err)
	}
	db := &DB{pool: pool, opt: opt, commit: func(ctx context.Context, tx pgx.Tx) error { return tx.Commit(ctx) }}
	if err := db.measure(opt.Registerer); err != nil {
		pool.Close()
		return nil, fmt.Errorf("record: metrics: %w", err)
	}
	return db, nil
}

// Close gives all connections back. Calls under way end first.
func (db *DB) Close() { db.pool.Close() }

// Ping asks Postgres for a sign of life: CodeUnavailable.
func (db *DB) Ping(ctx context.Context) error {
	return db.with(ctx, reading, func(c *pgxpool.Conn) error { return c.Ping(ctx) })
}

// with runs do on a connection and classifies its error.
func (db *DB) with(ctx context.Context, k kind, do func(*pgxpool.Conn) error) error {
	wait, cancel := context.WithTimeout(ctx, db.opt.AcquireTimeout)
	defer cancel()
	began := time.Now()
	c, err := db.pool.Acquire(wait)
	got := time.Now()
	db.wait.Observe(got.Sub(began).Seconds())
	if err != nil {
		return unavailable(err) // nothing was sent
	}
	defer func() {
		c.Release()
		db.hold.Observe(time.Since(got).Seconds())
	}()
	return classify(do(c), k)
}

// inOrderSQL makes the statements that follow it in a transaction look rows up one
// after the other, as they are named or as an index has them. Without statistics,
// which a table that fills within a minute has not got yet, the planner would
// read all of it to find a hundred. A table that has to be read all the same looks
// dear enough then to be compiled for, which takes a second. The actor is for the
// money ledger.
const inOrderSQL = `SELECT set_config('enable_seqscan', 'off', true), set_config('enable_bitmapscan', 'off', true),
	set_config('enable_hashjoin', 'off', true), set_config('enable_mergejoin', 'off', true), set_config('jit', 'off', true),
	set_config('flashsale.actor', 'payments', true)`

// inOrder runs a writing statement that way, in one round trip.
func (db *DB) inOrder(ctx context.Context, read func(pgx.Rows) error, sql string, args ...any) error {
	return db.with(ctx, writing, func(c *pgxpool.Conn) error {
		q := &pgx.Batch{} // without BEGIN, what is sent together is one transaction
		q.Queue(inOrderSQL)
		q.Queue(sql, args...).Query(read)
		return c.SendBatch(ctx, q).Close()
	})
}

// attempts is how often a transaction is tried that Postgres gave up to resolve
// a deadlock or a serialization conflict.
const attempts = 5

// tx runs do in a transaction (READ COMMITTED) and commits. An error before the
// COMMIT means that nothing happened; a COMMIT without an answer wraps
// engine.ErrUnknown. Deadlocks and serialization failures are tried again, so do
// must be repeatable.
func (db *DB) tx(ctx context.Context, do func(pgx.Tx) error) error {
	for n := 1; ; n++ {
		err := db.with(ctx, reading, func(c *pgxpool.Conn) error { return db.once(ctx, c, do) })
		if n == attempts || !conflict(err) {
			return err
		}
		pause := time.Duration(rand.Int64N(int64(5*time.Millisecond) << n)) //nolint:gosec // jitter
		select {
		case <-ctx.Done():
			return err
		case <-time.After(pause):
		}
	}
}

func (db *DB) once(ctx context.Context, c *pgxpool.Conn, do func(pgx.Tx) error) error {
	tx, err := c.Begin(ctx)
	if err != nil {
		return err
	}
	if err := do(tx); err != nil {
		// Detached: a cancelled caller still gives the connection back clean.
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_ = tx.Rollback(end) // failing that, pgx closes the connection, which rolls back too
		return err
	}
	ctx, span := telemetry.Start(ctx, "COMMIT", "db.system.name", "postgresql")
	err = db.commit(ctx, tx)
	span.End(err)
	return classify(err, writing)
}

// notFound turns "no rows" into CodeNotFound.
func notFound(err error, format string, args ...any) error {
	if errors.Is(err, pgx.ErrNoRows) {
		return engine.E(engine.CodeNotFound, format, args...)
	}
	return err
}
