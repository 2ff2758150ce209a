package record

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
)

// doubtEvery is the least time between two looks at a sale that is doubted.
const doubtEvery = 50 * time.Millisecond

// Doubt says that a sale's snapshot may be old, because the gate refused its
// lease, and has it looked at without waiting for the next Refresh. It does not
// block; many doubts make one look.
func (c *Sales) Doubt(no uint32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	if now.Sub(c.doubts[no]) < doubtEvery {
		return
	}
	c.doubts[no] = now
	go c.look(no)
}

// look reads one sale anew if the record has a later version of it.
func (c *Sales) look(no uint32) {
	ctx, cancel := context.WithTimeout(context.Background(), c.db.opt.AcquireTimeout)
	defer cancel()
	var version int64
	if s, ok := c.snap.Load().byNo[no]; ok {
		version = s.Version
	}
	_ = c.db.with(ctx, reading, func(conn *pgxpool.Conn) error { // failing that, Refresh does it
		found, err := readSales(ctx, conn, "s.no = $1 AND s.version > $2", int64(no), version)
		if err == nil && len(found) > 0 {
			c.merge(found, nil)
		}
		return err
	})
}
