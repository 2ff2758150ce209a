package record

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/flashsale-engine/flashsale/engine"
)

// readRooms gives sales their waiting rooms.
func readRooms(ctx context.Context, q querier, byNo map[uint32]*engine.Sale, nos []int64) error {
	rows, err := q.Query(ctx, `SELECT sale_no, lease_ms, use_ms, start_rate, max_rate, answer_ms, epoch, opens_at, seed, rate_cap, paused
		FROM waiting_rooms WHERE sale_no = ANY ($1)`, nos)
	if err != nil {
		return err
	}
	var no uint32
	var a engine.Admission
	var lease, use, answer int64
	var opens *time.Time
	var seed []byte
	_, err = pgx.ForEachRow(rows, []any{&no, &lease, &use, &a.StartRate, &a.MaxRate, &answer, &a.Epoch, &opens, &seed, &a.RateCap, &a.Paused}, func() error {
		now := a
		now.Lease, now.Use, now.Answer = milliseconds(lease), milliseconds(use), milliseconds(answer)
		if opens != nil {
			now.OpensAt = opens.UTC()
		}
		copy(now.Seed[:], seed)
		byNo[no].Admission = &now
		return nil
	})
	return err
}

func milliseconds(n int64) time.Duration { return time.Duration(n) * time.Millisecond }

// writeRoom brings a sale's waiting room from was to now.
func writeRoom(ctx context.Context, tx pgx.Tx, was, now *engine.Sale) error {
	a := now.Admission
	switch {
	case roomsEqual(was.Admission, a):
		return nil
	case a == nil:
		_, err := tx.Exec(ctx, `DELETE FROM waiting_rooms WHERE sale_no = $1`, now.No)
		return err
	}
	var seed []byte
	if a.Epoch > 0 {
		seed = a.Seed[:]
	}
	_, err := tx.Exec(ctx, `
		INSERT INTO waiting_rooms (sale_no, lease_ms, use_ms, start_rate, max_rate, answer_ms, epoch, opens_at, seed, rate_cap, paused)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
		ON CONFLICT (sale_no) DO UPDATE SET lease_ms = excluded.lease_ms, use_ms = excluded.use_ms, start_rate = excluded.start_rate,
			max_rate = excluded.max_rate, answer_ms = excluded.answer_ms, epoch = excluded.epoch, opens_at = excluded.opens_at,
			seed = excluded.seed, rate_cap = excluded.rate_cap, paused = excluded.paused`,
		now.No, a.Lease.Milliseconds(), a.Use.Milliseconds(), a.StartRate, a.MaxRate, a.Answer.Milliseconds(), a.Epoch, timeOrNull(a.OpensAt), seed, a.RateCap, a.Paused)
	return err
}

func roomsEqual(a, b *engine.Admission) bool {
	if a == nil || b == nil {
		return a == b
	}
	x, y := *a, *b
	x.OpensAt, y.OpensAt = time.Time{}, time.Time{}
	return x == y && a.OpensAt.Equal(b.OpensAt)
}

// shownRoom is a waiting room in the audit log: without its seed.
func shownRoom(a *engine.Admission) any {
	if a == nil {
		return nil
	}
	return map[string]any{"lease": a.Lease.String(), "use": a.Use.String(), "start_rate": a.StartRate, "max_rate": a.MaxRate, "answer": a.Answer.String(),
		"epoch": a.Epoch, "opens_at": timeOrNull(a.OpensAt), "rate_cap": a.RateCap, "paused": a.Paused}
}
