package record

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/flashsale-engine/flashsale/engine"
)

// miss looks a sale up in the record; callers for the same one share the look.
func (c *Sales) miss(ctx context.Context, key, where string, arg any) (*engine.Sale, error) {
	if c.believedMissing(key) {
		return nil, engine.E(engine.CodeNotFound, "no such sale")
	}
	got, err, _ := c.load.Do(key, func() (any, error) {
		// Detached: one caller who gives up must not fail the others.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.db.opt.AcquireTimeout)
		defer cancel()
		var found []*engine.Sale
		err := c.db.with(ctx, reading, func(conn *pgxpool.Conn) (err error) {
			found, err = readSales(ctx, conn, where, arg)
			return err
		})
		if err != nil {
			return nil, err
		}
		if len(found) == 0 {
			c.noteMissing(key)
			return nil, engine.E(engine.CodeNotFound, "no such sale")
		}
		c.merge(found, nil)
		return found[0], nil
	})
	if err != nil {
		return nil, err
	}
	return got.(*engine.Sale), nil
}

func (c *Sales) believedMissing(key string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	until, ok := c.missing[key]
	return ok && time.Now().Before(until)
}

func (c *Sales) noteMissing(key string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.missing) >= maxMissing {
		clear(c.missing)
	}
	c.missing[key] = time.Now().Add(c.opt.Negative)
}
