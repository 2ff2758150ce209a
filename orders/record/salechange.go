package record

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"

	"github.com/flashsale-engine/flashsale/engine"
)

// errStop ends a transaction for a reason that the caller has kept.
var errStop = errors.New("record: stopped by the edit")

// Change locks a sale, lets edit alter a copy, and writes what differs; see
// engine.SaleStore. The sale's row is locked while edit runs, so acts on one sale
// come one after another; SKU rows are locked only after edit, when their stock
// differs, so the order writer does not wait for what edit does at the gate.
// CodeNotFound, CodeSaleState (stock below what is sold), and edit's own.
func (st *SaleStore) Change(ctx context.Context, id string, act engine.Act, edit func(*engine.Sale) error) (*engine.Sale, error) {
	var out *engine.Sale
	var refusal error
	err := st.db.tx(ctx, func(tx pgx.Tx) error {
		was, err := readSale(ctx, tx, id, "FOR UPDATE")
		if err != nil {
			return err
		}
		out = was
		if done, err := actedBefore(ctx, tx, act, id); done || err != nil {
			return err
		}
		now := clone(was)
		if refusal = edit(now); refusal != nil {
			return errStop
		}
		now.No, now.ID, now.Secret, now.Version = was.No, was.ID, was.Secret, was.Version
		out, err = writeChange(ctx, tx, was, now, act)
		return err
	})
	switch {
	case refusal != nil:
		return nil, refusal
	case err != nil:
		return nil, belowSold(err)
	}
	st.changed(out)
	return out, nil
}

func actedBefore(ctx context.Context, tx pgx.Tx, act engine.Act, id string) (done bool, err error) {
	if act.Key == "" {
		return false, nil
	}
	err = tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM audit_log WHERE act = $1 AND target = $2 AND key = $3)`,
		act.Name, id, act.Key).Scan(&done)
	return done, err
}

// writeChange writes the difference and gives the new snapshot. A keyed act that
// changed nothing is noted too: repeated later, it still changes nothing.
func writeChange(ctx context.Context, tx pgx.Tx, was, now *engine.Sale, act engine.Act) (*engine.Sale, error) {
	detail := differences(was, now)
	if len(detail) == 0 {
		if act.Key == "" {
			return was, nil
		}
		return was, writeAudit(ctx, tx, act, now.ID, map[string]any{"changed": false})
	}
	if err := writeItems(ctx, tx, was, now, act); err != nil {
		return nil, err
	}
	if err := writeLeases(ctx, tx, was, now); err != nil {
		return nil, err
	}
	if err := writeRoom(ctx, tx, was, now); err != nil {
		return nil, err
	}
	now.Version++
	_, err := tx.Exec(ctx, `
		UPDATE sales SET name = $2, currency = $3, state = $4, epoch = $5, opens_at = $6, closes_at = $7,
			hold_ttl_ms = $8, hold_cap_ms = $9, per_buyer_limit = $10, shards = $11, version = $12, updated_at = now()
		WHERE no = $1`,
		now.No, now.Name, now.Currency, string(now.State), now.Epoch, timeOrNull(now.OpensAt), timeOrNull(now.ClosesAt),
		now.HoldTTL.Milliseconds(), now.HoldCap.Milliseconds(), now.PerBuyerLimit, now.Shards, now.Version)
	if err != nil {
		return nil, err
	}
	return now, writeAudit(ctx, tx, act, now.ID, detail)
}

// belowSold says in words what skus_never_oversold says by its name.
func belowSold(err error) error {
	var data *DataError
	if errors.As(err, &data) && constraint(err) == "skus_never_oversold" {
		return engine.Wrap(err, engine.CodeSaleState, "stock cannot be brought below the units already sold")
	}
	return err
}
