package orders

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/flashsale-engine/flashsale/engine"
)

// RelayConfig says whose outboxes are looked after. Producer, Active and Outbox are needed.
type RelayConfig struct {
	Producer *Producer
	Active   func() []*engine.Sale // the sales to look after: record.Sales.Active
	Outbox   engine.Outbox
	// Every is the time between two looks. Default 200 ms.
	Every time.Duration
	// MinAge leaves younger entries to the node that claimed them. Default 1 s.
	MinAge time.Duration
	// Max bounds the entries of one sale per look. Default 1000.
	Max      int
	Log      *slog.Logger          // nil discards
	Registry prometheus.Registerer // nil: no metrics
	Clock    engine.Clock          // nil: the system's
}

// Relay publishes what a dead node left in the outbox. Several may run: what two
// of them publish twice is one order.
type Relay struct {
	cfg    RelayConfig
	oldest prometheus.Gauge
	late   prometheus.Gauge
	sent   prometheus.Counter
}

// NewRelay makes a relay; Run it.
func NewRelay(cfg RelayConfig) (*Relay, error) {
	if cfg.Producer == nil || cfg.Active == nil || cfg.Outbox == nil {
		return nil, errors.New("orders: a relay needs a producer, sales and an outbox")
	}
	if cfg.Every <= 0 {
		cfg.Every = 200 * time.Millisecond
	}
	if cfg.MinAge <= 0 {
		cfg.MinAge = time.Second
	}
	if cfg.Max <= 0 {
		cfg.Max = 1000
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Clock == nil {
		cfg.Clock = systemClock{}
	}
	return &Relay{
		cfg: cfg,
		oldest: register(cfg.Registry, prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "flashsale_outbox_oldest_seconds", Help: "Age of the oldest event that waits in an outbox for the stream; 0 if none is older than the relay's minimum.",
		})),
		late: register(cfg.Registry, prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "flashsale_outbox_entries", Help: "Events older than the relay's minimum that wait in the outboxes for the stream; of each sale at most what the relay takes at once.",
		})),
		sent: register(cfg.Registry, prometheus.NewCounter(prometheus.CounterOpts{
			Name: "flashsale_relay_events_total", Help: "Events that the relay published because the claiming node had not.",
		})),
	}, nil
}

type systemClock struct{}

func (systemClock) Now() time.Time { return time.Now() }

// Run looks again and again until ctx ends.
func (r *Relay) Run(ctx context.Context) error {
	tick := time.NewTicker(r.cfg.Every)
	defer tick.Stop()
	failing := false
	for {
		err := r.look(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if failing != (err != nil) {
			failing = err != nil
			r.cfg.Log.Warn("relay", "failing", failing, "err", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// look goes over all sales once. A sale that fails does not keep the others.
func (r *Relay) look(ctx context.Context) error {
	var failed error
	var age time.Duration
	late := 0
	for _, s := range r.cfg.Active() {
		pending, err := r.cfg.Outbox.Pending(ctx, s, r.cfg.MinAge, r.cfg.Max)
		if err == nil && len(pending) > 0 {
			late += len(pending)
			age = max(age, r.cfg.Clock.Now().Sub(pending[0].AcceptedAt))
			err = r.publish(ctx, pending)
		}
		failed = errors.Join(failed, err)
	}
	r.oldest.Set(age.Seconds())
	r.late.Set(float64(late))
	return failed
}

// publish starts the entries in their order, which the client keeps within a
// partition, and waits for all of them as long as one Publish may take.
func (r *Relay) publish(ctx context.Context, entries []engine.OutboxEntry) error {
	flights := make([]*flight, len(entries))
	for i, e := range entries {
		flights[i] = r.cfg.Producer.start(e)
	}
	ctx, cancel := context.WithTimeout(ctx, r.cfg.Producer.cfg.PublishTimeout)
	defer cancel()
	var failed error
	for _, f := range flights {
		if err := f.wait(ctx); err != nil {
			failed = err // one stands for all
			continue
		}
		r.sent.Inc()
	}
	return failed
}
