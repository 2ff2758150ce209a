package record

import (
	"context"
	"os"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/flashsale-engine/flashsale/engine"
)

// Rebuilds is engine.RebuildRecord on Postgres. Its lease is judged by Postgres'
// clock alone, and each step checks its token in its own transaction.
type Rebuilds struct {
	db     *DB
	sales  *SaleStore
	holder string
}

var _ engine.RebuildRecord = (*Rebuilds)(nil)

// NewRebuilds gives the record's side of rebuilds. New snapshots are handed to
// the store's OnChange.
func NewRebuilds(db *DB, sales *SaleStore) *Rebuilds {
	host, _ := os.Hostname()
	return &Rebuilds{db: db, sales: sales, holder: host + ":" + strconv.Itoa(os.Getpid())}
}

// ours names the row of a lease that is still the caller's.
const ours = `g.sale_no = $1 AND g.shard = $2 AND g.token = $3 AND g.until > clock_timestamp()`

func errLeaseLost(l engine.RebuildLease) error {
	return engine.E(engine.CodeGateFrozen, "the rebuild of shard %d of sale %q is another node's now", l.Shard, l.Sale.ID)
}

// Take makes the caller the only rebuilder of a shard, and notes it as frozen.
// False: another one is at it, or the shard is not as s says.
func (r *Rebuilds) Take(ctx context.Context, s *engine.Sale, shard int, why engine.Cause, d time.Duration) (l engine.RebuildLease, taken bool, err error) {
	var now *engine.Sale
	err = r.db.tx(ctx, func(tx pgx.Tx) error {
		l, taken = engine.RebuildLease{Sale: s, Shard: shard, Cause: why}, false
		// The sale's row comes first for everybody who changes a lease.
		if _, err := tx.Exec(ctx, `SELECT FROM sales WHERE no = $1 FOR UPDATE`, s.No); err != nil {
			return err
		}
		// Every shard has a row of its own from now on: the sale's epoch is about to
		// rise, and theirs is not.
		_, err := tx.Exec(ctx, `
			INSERT INTO gate_leases (sale_no, shard, epoch)
			SELECT s.no, n, s.epoch FROM sales s, generate_series(0, s.shards - 1) AS n WHERE s.no = $1 AND s.epoch > 0
			ON CONFLICT DO NOTHING`, s.No)
		if err != nil {
			return err
		}
		err = tx.QueryRow(ctx, `
			UPDATE gate_leases g SET
				reason = CASE WHEN state = 'open' THEN $4 ELSE reason END,
				since = CASE WHEN state = 'open' THEN clock_timestamp() ELSE since END,
				state = 'frozen', holder = $5, token = token + 1, until = clock_timestamp() + $6::interval
			WHERE sale_no = $1 AND shard = $2 AND epoch = $3 AND until <= clock_timestamp() AND ($4 <> $7 OR state = 'frozen')
				AND NOT (state = 'frozen' AND reason = $8 AND $9 = $10)
			RETURNING token, reason`, s.No, shard, s.Lease(shard).Epoch, why.Lost, r.holder, d, engine.CauseUnfinished,
			engine.CauseHalted, why.Actor, engine.KeeperActor).Scan(&l.Token, &l.Cause.Lost)
		if err == pgx.ErrNoRows { //nolint:errorlint // QueryRow gives it bare
			return nil
		}
		if err != nil {
			return err
		}
		taken = true
		if why.Lost == engine.CauseHalted {
			act := engine.Act{Actor: why.Actor, Name: "gate freeze", Reason: why.Reason}
			if err := writeAudit(ctx, tx, act, s.ID, map[string]any{"shard": shard, "epoch": s.Lease(shard).Epoch}); err != nil {
				return err
			}
		}
		if _, err := tx.Exec(ctx, `UPDATE sales SET version = version + 1, updated_at = now() WHERE no = $1`, s.No); err != nil {
			return err
		}
		now, err = readSale(ctx, tx, s.ID, "")
		return err
	})
	if err == nil && taken {
		r.sales.changed(now)
	}
	return l, taken, err
}

// Keep renews a lease, or gives it back: CodeGateFrozen if it is not the caller's.
func (r *Rebuilds) Keep(ctx context.Context, l engine.RebuildLease, d time.Duration) error {
	return r.db.with(ctx, writing, func(c *pgxpool.Conn) error {
		tag, err := c.Exec(ctx, `UPDATE gate_leases g SET until = clock_timestamp() + $4::interval WHERE `+ours, l.Sale.No, l.Shard, l.Token, d)
		if err == nil && tag.RowsAffected() == 0 {
			return errLeaseLost(l)
		}
		return err
	})
}

// Raise gives the shard an epoch above all of the sale's. Payments that begin
// under an older one are refused from its COMMIT on: see Attempts.Begin.
func (r *Rebuilds) Raise(ctx context.Context, l engine.RebuildLease, server string) (now *engine.Sale, err error) {
	err = r.db.tx(ctx, func(tx pgx.Tx) error {
		was, err := readSale(ctx, tx, l.Sale.ID, "FOR UPDATE")
		if err != nil {
			return err
		}
		tag, err := tx.Exec(ctx, `UPDATE gate_leases g SET epoch = $4, server = $5, granted_at = clock_timestamp() WHERE `+ours,
			l.Sale.No, l.Shard, l.Token, was.Epoch+1, server)
		if err != nil {
			return err
		}
		if tag.RowsAffected() == 0 {
			return errLeaseLost(l)
		}
		if _, err := tx.Exec(ctx, `UPDATE sales SET epoch = $2, version = version + 1, updated_at = now() WHERE no = $1`, was.No, was.Epoch+1); err != nil {
			return err
		}
		before := was.Lease(l.Shard)
		err = writeAudit(ctx, tx, engine.Act{Actor: l.Cause.Actor, Name: "gate rebuild", Reason: l.Cause.Reason}, was.ID, map[string]any{
			"shard": l.Shard, "lost": l.Cause.Lost, "epoch": []any{before.Epoch, was.Epoch + 1}, "server": []any{before.Server, server}})
		if err != nil {
			return err
		}
		now, err = readSale(ctx, tx, was.ID, "")
		return err
	})
	if err != nil {
		return nil, err
	}
	r.sales.changed(now)
	return now, nil
}

// Reopen notes that the gate is back, and gives how long it was frozen.
func (r *Rebuilds) Reopen(ctx context.Context, l engine.RebuildLease, done engine.Rebuilt) (time.Duration, error) {
	var ms int64
	var now *engine.Sale
	err := r.db.tx(ctx, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `SELECT FROM sales WHERE no = $1 FOR UPDATE`, l.Sale.No); err != nil {
			return err
		}
		err := tx.QueryRow(ctx, `
			UPDATE gate_leases g SET state = 'open', reason = '', since = clock_timestamp(), holder = '',
				took_ms = extract(epoch FROM clock_timestamp() - g.since) * 1000
			WHERE `+ours+` AND g.epoch = $4 RETURNING took_ms`, l.Sale.No, l.Shard, l.Token, done.Epoch).Scan(&ms)
		if err == pgx.ErrNoRows { //nolint:errorlint // QueryRow gives it bare
			return errLeaseLost(l)
		}
		if err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `
			INSERT INTO gate_rebuilds (sale_no, shard, cause, actor, was, epoch, server, frozen_ms, accepted, paying, kept, lost)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)`, l.Sale.No, l.Shard, done.Cause, l.Cause.Actor, done.Was, done.Epoch, done.Server, ms,
			done.Accepted, done.Paying, done.Kept, done.Lost)
		if err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `UPDATE sales SET version = version + 1, updated_at = now() WHERE no = $1`, l.Sale.No); err != nil {
			return err
		}
		now, err = readSale(ctx, tx, l.Sale.ID, "")
		return err
	})
	if err != nil {
		return 0, err
	}
	r.sales.changed(now)
	return time.Duration(ms) * time.Millisecond, nil
}
