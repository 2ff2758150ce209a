package record

import (
	"context"
	"encoding/json"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/flashsale-engine/flashsale/engine"
)

// NotedAct is a line of the audit log.
type NotedAct struct {
	At     time.Time
	Target string
	Act    engine.Act
}

// Acts gives the newest lines of the audit log, the newest first.
func (a *Audit) Acts(ctx context.Context, most int) (out []NotedAct, err error) {
	err = a.db.with(ctx, reading, func(c *pgxpool.Conn) error {
		rows, err := c.Query(ctx, `SELECT at, actor, act, target, detail FROM audit_log ORDER BY id DESC LIMIT $1`, most)
		if err != nil {
			return err
		}
		out, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (n NotedAct, err error) {
			var detail []byte
			if err := row.Scan(&n.At, &n.Act.Actor, &n.Act.Name, &n.Target, &detail); err != nil {
				return n, err
			}
			var d struct {
				Reason string `json:"reason"`
			}
			_ = json.Unmarshal(detail, &d) // an act without a reason has none to show
			n.At, n.Act.Reason = n.At.UTC(), d.Reason
			return n, nil
		})
		return err
	})
	return out, err
}
