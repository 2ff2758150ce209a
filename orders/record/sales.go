package record

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/sync/singleflight"

	"github.com/flashsale-engine/flashsale/engine"
)

// SalesOptions are the settings of the cached reader.
type SalesOptions struct {
	// Refresh is how often the record is asked what has changed. Default 500 ms.
	Refresh time.Duration
	// Negative is how long "no such sale" is believed. Default 1 s.
	Negative time.Duration
	// Linger is how long a closed sale stays Active: an event that it accepted in
	// its last moment may still have to be relayed. Default 1 h.
	Linger time.Duration
}

func (o SalesOptions) withDefaults() SalesOptions {
	if o.Refresh <= 0 {
		o.Refresh = 500 * time.Millisecond
	}
	if o.Negative <= 0 {
		o.Negative = time.Second
	}
	if o.Linger <= 0 {
		o.Linger = time.Hour
	}
	return o
}

// Sales is engine.Sales from memory: snapshots that Run keeps fresh, and a look
// at the record for a sale that is asked for the first time. When the record is
// away, the snapshots go on being served.
type Sales struct {
	db   *DB
	opt  SalesOptions
	snap atomic.Pointer[snapshot]
	load singleflight.Group

	mu      sync.Mutex // guards writes of snap, and what follows
	missing map[string]time.Time
	doubts  map[uint32]time.Time // when a sale was last doubted
}

// snapshot is immutable.
type snapshot struct {
	byID   map[string]*engine.Sale
	byNo   map[uint32]*engine.Sale
	active []*engine.Sale // ordered by number
}

// maxMissing bounds what strangers can make us remember.
const maxMissing = 10_000

var _ engine.Sales = (*Sales)(nil)

// NewSales gives a cached reader. Let Run run.
func NewSales(db *DB, opt SalesOptions) *Sales {
	c := &Sales{db: db, opt: opt.withDefaults(), missing: map[string]time.Time{}, doubts: map[uint32]time.Time{}}
	c.snap.Store(&snapshot{byID: map[string]*engine.Sale{}, byNo: map[uint32]*engine.Sale{}})
	return c
}

// Sale finds a sale by name: CodeNotFound.
func (c *Sales) Sale(ctx context.Context, id string) (*engine.Sale, error) {
	if s, ok := c.snap.Load().byID[id]; ok {
		return s, nil
	}
	return c.miss(ctx, lookID(id), "s.id = $1", id)
}

// lookID and lookNo are what a look for a sale goes by.
func lookID(id string) string { return "id " + id }
func lookNo(no uint32) string { return fmt.Sprintf("no %d", no) }

// SaleByNo finds a sale by number: CodeNotFound. Numbers come from reservations,
// and a draft has none: a sale that is known as a draft has probably been armed
// elsewhere since, so it is read anew.
func (c *Sales) SaleByNo(ctx context.Context, no uint32) (s *engine.Sale, err error) {
	if s, ok := c.snap.Load().byNo[no]; ok && s.Epoch > 0 {
		return s, nil
	}
	for range 2 { // the first may be somebody's look that began before the sale was armed
		s, err = c.miss(ctx, lookNo(no), "s.no = $1", int64(no))
		if err != nil || s.Epoch > 0 {
			break
		}
	}
	return s, err
}

// Active lists the sales that relay and reaper look after: armed at least once,
// and not closed for long.
func (c *Sales) Active() []*engine.Sale { return c.snap.Load().active }

// Put takes a newer snapshot at once; an older one is ignored.
func (c *Sales) Put(s *engine.Sale) { c.merge([]*engine.Sale{s}, nil) }

// Run keeps the snapshots fresh until ctx ends.
func (c *Sales) Run(ctx context.Context) error {
	tick := time.NewTicker(c.opt.Refresh)
	defer tick.Stop()
	down := false
	for {
		err := c.Refresh(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if down != (err != nil) {
			down = err != nil
			c.db.opt.Log.Warn("sales cache", "stale", down, "err", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// Refresh asks the record which sales have changed and loads those.
func (c *Sales) Refresh(ctx context.Context) error {
	snap := c.snap.Load()
	known := make([]int64, 0, len(snap.byNo))
	for no := range snap.byNo {
		known = append(known, int64(no))
	}
	var stale []int64
	active := map[uint32]bool{}
	var fresh []*engine.Sale
	err := c.db.with(ctx, reading, func(conn *pgxpool.Conn) error {
		rows, err := conn.Query(ctx, `
			SELECT no, version, epoch > 0 AND (state <> 'closed' OR updated_at > now() - $2::interval)
			FROM sales WHERE state <> 'closed' OR updated_at > now() - $2::interval OR no = ANY ($1)`, known, c.opt.Linger)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var no uint32
			var version int64
			var live bool
			if err := rows.Scan(&no, &version, &live); err != nil {
				return err
			}
			active[no] = live
			if s, ok := snap.byNo[no]; !ok || s.Version < version {
				stale = append(stale, int64(no))
			}
		}
		if err := rows.Err(); err != nil || len(stale) == 0 {
			return err
		}
		fresh, err = readSales(ctx, conn, "s.no = ANY ($1)", stale)
		return err
	})
	if err != nil {
		return err
	}
	c.merge(fresh, active)
	return nil
}

// merge puts snapshots in, unless a newer one is there. active, if given, says
// which sales are; else an armed and unclosed one is.
func (c *Sales) merge(fresh []*engine.Sale, active map[uint32]bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	was := c.snap.Load()
	now := &snapshot{byID: was.byID, byNo: was.byNo}
	if len(fresh) > 0 {
		now.byID, now.byNo = maps.Clone(was.byID), maps.Clone(was.byNo)
	}
	for _, s := range fresh {
		if old, ok := now.byNo[s.No]; ok && old.Version >= s.Version {
			continue
		}
		now.byID[s.ID], now.byNo[s.No] = s, s
		delete(c.missing, lookID(s.ID))
		delete(c.missing, lookNo(s.No))
	}
	wasActive := make(map[uint32]bool, len(was.active))
	for _, s := range was.active {
		wasActive[s.No] = true
	}
	for no, s := range now.byNo {
		live, said := active[no]
		if !said {
			live = wasActive[no] || s.Epoch > 0 && s.State != engine.SaleClosed
		}
		if live {
			now.active = append(now.active, s)
		}
	}
	slices.SortFunc(now.active, func(a, b *engine.Sale) int { return int(int64(a.No) - int64(b.No)) })
	c.snap.Store(now)
}
