package record

import (
	"context"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/flashsale-engine/flashsale/engine"
)

// readLeases gives sales the leases of their shards. One that has none keeps
// none: engine.Sale.Lease then goes by the sale's epoch.
func readLeases(ctx context.Context, q querier, byNo map[uint32]*engine.Sale, nos []int64) error {
	rows, err := q.Query(ctx, `SELECT sale_no, epoch, server, granted_at, state = 'frozen', reason, since, took_ms
		FROM gate_leases WHERE sale_no = ANY ($1) ORDER BY sale_no, shard`, nos)
	if err != nil {
		return err
	}
	var no uint32
	var l engine.GateLease
	var granted *time.Time
	var frozen bool
	var reason string
	var since time.Time
	var took int64
	_, err = pgx.ForEachRow(rows, []any{&no, &l.Epoch, &l.Server, &granted, &frozen, &reason, &since, &took}, func() error {
		r := engine.Repair{Reason: reason, Took: time.Duration(took) * time.Millisecond}
		if granted != nil {
			r.Granted = granted.UTC()
		}
		if frozen {
			r.Frozen = since.UTC()
		} else if granted != nil {
			r.Opened = since.UTC()
		}
		s := byNo[no]
		s.Leases, s.Repairs = append(s.Leases, l), append(s.Repairs, r)
		return nil
	})
	return err
}

// writeLeases names the servers of a sale's leases. An epoch changes by Raise alone.
func writeLeases(ctx context.Context, tx pgx.Tx, was, now *engine.Sale) error {
	if slices.Equal(was.Leases, now.Leases) {
		return nil
	}
	shards, epochs, servers := make([]int32, len(now.Leases)), make([]int64, len(now.Leases)), make([]string, len(now.Leases))
	for i, l := range now.Leases {
		shards[i], epochs[i], servers[i] = int32(i), l.Epoch, l.Server
	}
	_, err := tx.Exec(ctx, `
		INSERT INTO gate_leases AS g (sale_no, shard, epoch, server)
		SELECT $1, * FROM unnest($2::int[], $3::bigint[], $4::text[])
		ON CONFLICT (sale_no, shard) DO UPDATE SET server = excluded.server WHERE g.epoch = excluded.epoch`,
		now.No, shards, epochs, servers)
	return err
}
