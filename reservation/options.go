package reservation

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/flashsale-engine/flashsale/internal/telemetry"
)

// Options are the gate's settings; zero values take the defaults.
type Options struct {
	// URL of Redis: redis://user:password@host:port/db, rediss:// for TLS; with
	// one or more addr=host:port in the query, a Redis Cluster.
	URL string
	// Keep is how long a released or expired hold is remembered, so that a
	// repeated request finds it. Default 24 h.
	Keep time.Duration
	// MaxAttempts bounds payment attempts per hold, 1 to 255. Default 5.
	MaxAttempts int
	// Lease is how long a payment may go unanswered before Reap lists its hold
	// as overdue. It must cover what a node does between BeginPayment and Claim.
	// Default 12 s.
	Lease time.Duration
	// SoldOutFor bounds how long a refusal for want of stock may answer others
	// without asking Redis; see soldout.go. Default 100 ms; negative: never.
	SoldOutFor time.Duration
	// MaxQueue bounds the operations that wait per sale and shard; beyond it
	// callers hear engine.CodeOverloaded at once. Default 8192.
	MaxQueue int
	// CallTimeout bounds one call to Redis. Default 2 s.
	CallTimeout time.Duration
	// PoolSize bounds connections to Redis (per cluster node). Batching needs
	// one per active sale and shard; the rest serve reads. Default 32.
	PoolSize int
	// Lost hears that a call was refused because a shard is not what its lease
	// says: "server" if another process answered, else "keys". It is called by
	// whoever made the call, for each one, and must not block. nil: nobody hears.
	Lost func(saleNo uint32, shard int, what string)
	// Trace notes the calls that decide for requests that are traced; nil: none.
	Trace *telemetry.Telemetry
	// Registerer takes the flashsale_gate_ metrics; nil: none.
	Registerer prometheus.Registerer
	// Log hears of what nobody else would. Default slog.Default().
	Log *slog.Logger
}

func (o Options) withDefaults() Options {
	def := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	def(&o.Keep, 24*time.Hour)
	def(&o.Lease, 12*time.Second)
	def(&o.CallTimeout, 2*time.Second)
	def(&o.SoldOutFor, 100*time.Millisecond)
	for _, f := range []struct {
		field *int
		value int
	}{{&o.MaxAttempts, 5}, {&o.MaxQueue, 8192}, {&o.PoolSize, 32}} {
		if *f.field == 0 {
			*f.field = f.value
		}
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	return o
}

func (o Options) validate() error {
	switch {
	case o.URL == "":
		return errors.New("reservation: URL must be given, such as redis://127.0.0.1:6379/0")
	case o.Keep < time.Second:
		return fmt.Errorf("reservation: Keep %s is below a second: a repeated request would not find its hold", o.Keep)
	case o.Lease < time.Millisecond:
		return fmt.Errorf("reservation: Lease %s is below a millisecond", o.Lease)
	case o.MaxAttempts < 1 || o.MaxAttempts > 255:
		return fmt.Errorf("reservation: MaxAttempts %d is not between 1 and 255", o.MaxAttempts)
	case o.SoldOutFor > 10*time.Second:
		return fmt.Errorf("reservation: SoldOutFor %s is above 10s: units that come back would not be sold", o.SoldOutFor)
	case o.MaxQueue < maxBatch:
		return fmt.Errorf("reservation: MaxQueue %d is below one batch, %d", o.MaxQueue, maxBatch)
	case o.CallTimeout < 10*time.Millisecond:
		return fmt.Errorf("reservation: CallTimeout %s is below 10ms", o.CallTimeout)
	case o.PoolSize < 2:
		return fmt.Errorf("reservation: PoolSize %d is below 2", o.PoolSize)
	}
	return nil
}
