package record

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
)

// measure makes the pool's metrics.
func (db *DB) measure(reg prometheus.Registerer) error {
	buckets := prometheus.ExponentialBuckets(0.0001, 2.5, 12) // 0.1 ms to 2.4 s
	db.wait = prometheus.NewHistogram(prometheus.HistogramOpts{Name: "flashsale_postgres_pool_wait_seconds",
		Help: "How long calls waited for a connection to Postgres, those that got none included.", Buckets: buckets})
	db.hold = prometheus.NewHistogram(prometheus.HistogramOpts{Name: "flashsale_postgres_connection_hold_seconds",
		Help: "How long calls kept a connection to Postgres.", Buckets: buckets})
	if reg == nil {
		return nil
	}
	for _, c := range []prometheus.Collector{db.wait, db.hold, poolGauges{db.pool}} {
		if err := reg.Register(c); err != nil {
			return err
		}
	}
	return nil
}

// poolGauges reads the pool when it is scraped.
type poolGauges struct{ pool *pgxpool.Pool }

var (
	poolConns = prometheus.NewDesc("flashsale_postgres_pool_connections", "Connections of this node's pool: acquired, idle, or being made.", []string{"state"}, nil)
	poolLimit = prometheus.NewDesc("flashsale_postgres_pool_connections_limit", "Connections that this node's pool may have.", nil, nil)
)

// Describe implements prometheus.Collector.
func (p poolGauges) Describe(c chan<- *prometheus.Desc) { c <- poolConns; c <- poolLimit }

// Collect implements prometheus.Collector.
func (p poolGauges) Collect(c chan<- prometheus.Metric) {
	s := p.pool.Stat()
	for state, n := range map[string]int32{"acquired": s.AcquiredConns(), "idle": s.IdleConns(), "constructing": s.ConstructingConns()} {
		c <- prometheus.MustNewConstMetric(poolConns, prometheus.GaugeValue, float64(n), state)
	}
	c <- prometheus.MustNewConstMetric(poolLimit, prometheus.GaugeValue, float64(s.MaxConns()))
}

// Health shows how Postgres is, by what it says of itself. Register it, and Run
// it: a scrape never waits for Postgres.
type Health struct {
	db                           *DB
	up, waiting, longest, oldest prometheus.Gauge
	deadlocks                    atomic.Int64
}

// NewHealth makes the metrics and registers them.
func NewHealth(db *DB, reg prometheus.Registerer) (*Health, error) {
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Name: "flashsale_postgres_" + name, Help: help})
	}
	h := &Health{db: db, up: gauge("up", "Whether Postgres answered when it was last asked."),
		waiting: gauge("locks_waiting", "Lock requests in the whole server that are not granted."),
		longest: gauge("lock_wait_oldest_seconds", "How long the oldest of them has waited; 0: there is none."),
		oldest:  gauge("transaction_oldest_seconds", "How long the oldest open transaction of the database has been open; 0: there is none."),
	}
	deadlocks := prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "flashsale_postgres_deadlocks_total",
		Help: "Deadlocks that Postgres has resolved in the database since its statistics were reset."}, func() float64 { return float64(h.deadlocks.Load()) })
	for _, c := range []prometheus.Collector{h.up, h.waiting, h.longest, h.oldest, deadlocks} {
		if err := reg.Register(c); err != nil {
			return nil, err
		}
	}
	return h, nil
}

// healthEvery is the time between two looks.
const healthEvery = 2 * time.Second

// Run looks again and again until ctx ends.
func (h *Health) Run(ctx context.Context) error {
	tick := time.NewTicker(healthEvery)
	defer tick.Stop()
	for {
		h.look(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// look asks once. Without an answer nothing is known but that.
func (h *Health) look(ctx context.Context) {
	var waiting, deadlocks int64
	var longest, oldest time.Duration
	err := h.db.with(ctx, reading, func(c *pgxpool.Conn) error {
		return c.QueryRow(ctx, `SELECT
			(SELECT count(*) FROM pg_locks WHERE NOT granted),
			(SELECT coalesce(clock_timestamp() - min(waitstart), interval '0') FROM pg_locks WHERE NOT granted),
			(SELECT coalesce(clock_timestamp() - min(xact_start), interval '0') FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()),
			(SELECT coalesce(sum(deadlocks), 0)::bigint FROM pg_stat_database WHERE datname = current_database())`).Scan(&waiting, &longest, &oldest, &deadlocks)
	})
	if err != nil {
		h.up.Set(0)
		return
	}
	h.up.Set(1)
	h.waiting.Set(float64(waiting))
	h.longest.Set(longest.Seconds())
	h.oldest.Set(oldest.Seconds())
	h.deadlocks.Store(deadlocks)
}
