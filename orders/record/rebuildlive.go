package record

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/flashsale-engine/flashsale/engine"
)

// Live visits what the record knows to be taken of a shard, all at one instant:
// first its buyers' confirmed orders, then unfinished attempts without an order,
// the first begun first. Left out are attempts that are parked as unsent, whose
// hold the buyer has back. Of several attempts of a reservation the last one counts
// that nobody has begun to cancel; a hold that has no other is barred to it.
func (r *Rebuilds) Live(ctx context.Context, l engine.RebuildLease, s *engine.Sale, visit func(engine.Hold)) error {
	return r.db.with(ctx, reading, func(c *pgxpool.Conn) error {
		tx, err := c.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly})
		if err != nil {
			return err
		}
		defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }()
		var mine bool
		if err := tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM gate_leases g WHERE `+ours+`)`, l.Sale.No, l.Shard, l.Token).Scan(&mine); err != nil {
			return err
		}
		if !mine {
			return errLeaseLost(l)
		}
		if err := liveOrders(ctx, tx, s, l.Shard, visit); err != nil {
			return err
		}
		return liveAttempts(ctx, tx, s, l.Shard, visit)
	})
}

// Taken counts what Live would visit of a shard: orders and unfinished attempts.
// It needs no lease.
func (r *Rebuilds) Taken(ctx context.Context, s *engine.Sale, shard int) (accepted, paying int, err error) {
	err = r.db.with(ctx, reading, func(c *pgxpool.Conn) error {
		tx, err := c.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly})
		if err != nil {
			return err
		}
		defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }()
		accepted, paying = 0, 0
		if err := liveOrders(ctx, tx, s, shard, func(engine.Hold) { accepted++ }); err != nil {
			return err
		}
		return liveAttempts(ctx, tx, s, shard, func(engine.Hold) { paying++ })
	})
	return accepted, paying, err
}

func liveOrders(ctx context.Context, tx pgx.Tx, s *engine.Sale, shard int, visit func(engine.Hold)) error {
	first, last := saleRange(s.No)
	rows, err := tx.Query(ctx, `SELECT o.id, o.attempt, o.lines, o.seq, o.accepted_at FROM orders o
		WHERE o.id BETWEEN $1 AND $2 AND o.state = 'confirmed'`, first, last)
	if err != nil {
		return err
	}
	var id, attempt, lines []byte
	var seq int64
	var accepted time.Time
	_, err = pgx.ForEachRow(rows, []any{&id, &attempt, &lines, &seq, &accepted}, func() error {
		h, err := liveHold(s, shard, id, lines)
		if err != nil || h == nil {
			return err
		}
		h.State, h.Attempts, h.Seq, h.ExpiresAt = engine.Accepted, 1, uint64(seq), accepted.UTC()
		copy(h.Fence[:], attempt)
		visit(*h)
		return nil
	})
	return err
}

func liveAttempts(ctx context.Context, tx pgx.Tx, s *engine.Sale, shard int, visit func(engine.Hold)) error {
	rows, err := tx.Query(ctx, `
		SELECT * FROM (
			SELECT DISTINCT ON (p.reservation) p.reservation, p.id, p.lines, p.created_at, p.cancelled <> '',
				(SELECT count(*) FROM payments q WHERE q.reservation = p.reservation)
			FROM payments p
			WHERE p.sale_no = $1 AND p.state IN `+unfinished+` AND p.parked <> 'unsent'
				AND NOT EXISTS (SELECT FROM orders o WHERE o.id = p.reservation AND o.reserved_at = reserved_at(p.reservation))
			ORDER BY p.reservation, p.cancelled <> '', p.created_at DESC) AS last
		ORDER BY created_at`, s.No)
	if err != nil {
		return err
	}
	var id, attempt, lines []byte
	var began any
	var cancelled bool
	var attempts int
	_, err = pgx.ForEachRow(rows, []any{&id, &attempt, &lines, &began, &cancelled, &attempts}, func() error {
		h, err := liveHold(s, shard, id, lines)
		if err != nil || h == nil {
			return err
		}
		h.State, h.Attempts, h.ExpiresAt = engine.Paying, attempts, h.ID.CreatedAt().Add(s.HoldCap)
		if copy(h.Fence[:], attempt); cancelled {
			h.Fence = h.Fence.Barred()
		}
		visit(*h)
		return nil
	})
	return err
}

// liveHold begins a hold of a row; nil: its buyer is at home in another shard.
func liveHold(s *engine.Sale, shard int, id, lines []byte) (*engine.Hold, error) {
	rid, ok := engine.ReservationIDFromBytes(id)
	if !ok || s.Home(rid.Buyer) != shard {
		return nil, nil
	}
	h := &engine.Hold{ID: rid}
	if len(lines) == 0 {
		return h, nil
	}
	var in []lineRow
	if err := json.Unmarshal(lines, &in); err != nil {
		return nil, fmt.Errorf("record: lines of %s: %w", rid, err)
	}
	h.Lines = make([]engine.Line, len(in))
	for i, l := range in {
		h.Lines[i] = engine.Line(l)
	}
	return h, nil
}

// lineRow is a line as the record stores it; an order's has more fields.
type lineRow struct {
	No       uint16 `json:"no"`
	Quantity int    `json:"quantity"`
}

// linesRow gives lines as the record stores them; nil if there are none.
func linesRow(lines []engine.Line) (*string, error) {
	if len(lines) == 0 {
		return nil, nil
	}
	rows := make([]lineRow, len(lines))
	for i, l := range lines {
		rows[i] = lineRow(l)
	}
	raw, err := json.Marshal(rows)
	text := string(raw)
	return &text, err
}
