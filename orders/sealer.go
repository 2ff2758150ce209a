package orders

import (
	"context"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/flashsale-engine/flashsale/engine"
	"github.com/flashsale-engine/flashsale/orders/record"
)

// The sealer's rhythm.
const (
	sealEvery    = time.Second      // rows are sealed at most about two seconds after their commit
	sealPatience = time.Minute      // for one call
	anchorEvery  = 10 * time.Minute // between two lines of the log with the newest hash
	lagWarns     = time.Minute      // rows that wait longer are held back by somebody
)

// Sealer seals the ledgers' rows into the hash chain, a moment after they are
// committed. Any number may run; one works at a time.
type Sealer struct {
	chain *record.Chain
	log   *slog.Logger
	rows  prometheus.Counter
	no    prometheus.Gauge
	lag   prometheus.Gauge
	cuts  prometheus.Counter
	head  *prometheus.GaugeVec

	shown  string    // the hash that the metric has now
	logged time.Time // when a hash went into the log
	state  string    // what was last complained of
}

// NewSealer makes a sealer; Run it. A nil registerer registers nothing.
func NewSealer(chain *record.Chain, log *slog.Logger, reg prometheus.Registerer) *Sealer {
	return &Sealer{chain: chain, log: log,
		rows: register(reg, prometheus.NewCounter(prometheus.CounterOpts{
			Name: "flashsale_ledger_sealed_rows_total", Help: "Rows of the ledgers that this node has sealed into the hash chain.",
		})),
		no: register(reg, prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "flashsale_ledger_seal_number", Help: "Number of the newest seal of the ledgers' hash chain.",
		})),
		lag: register(reg, prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "flashsale_ledger_seal_lag_seconds", Help: "How long the oldest row of the ledgers waits that could not be sealed. A long transaction anywhere in the server holds all back.",
		})),
		cuts: register(reg, prometheus.NewCounter(prometheus.CounterOpts{
			Name: "flashsale_ledger_chain_cuts_total", Help: "How often a seal that this node had seen was gone. Not zero: somebody has cut the chain.",
		})),
		head: register(reg, prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "flashsale_ledger_head_info", Help: "The newest seal's hash, as a label; always 1. Scraped elsewhere, it is an anchor of the chain.",
		}, []string{"hash"})),
	}
}

// Run seals until ctx ends.
func (s *Sealer) Run(ctx context.Context) error {
	tick := time.NewTicker(sealEvery)
	defer tick.Stop()
	for {
		for s.once(ctx) {
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// once makes one round of seals and says whether there is certainly more.
func (s *Sealer) once(ctx context.Context) bool {
	call, cancel := context.WithTimeout(ctx, sealPatience)
	defer cancel()
	did, err := s.chain.Seal(call)
	switch {
	case ctx.Err() != nil || did.Busy:
		return false
	case err != nil:
		s.complain("the ledgers cannot be sealed; it is tried again", "err", err)
		return false
	case did.Cut != nil:
		s.cuts.Inc()
		s.log.Error("a seal of the ledgers is gone: somebody has cut the chain; run audit verify", "seal", did.Cut.No, "hash", did.Cut.Hash)
	case did.Lag > lagWarns:
		s.complain("rows of the ledgers cannot be sealed: a transaction in the server has been open for long", "waits", did.Lag.Round(time.Second))
	default:
		s.state = ""
	}
	s.rows.Add(float64(did.Rows))
	s.lag.Set(did.Lag.Seconds())
	s.show(did.Head)
	return did.More
}

func (s *Sealer) complain(what string, args ...any) {
	if s.state != what {
		s.state = what
		s.log.Warn(what, args...)
	}
}

// show puts the newest hash where it is kept outside of the database: scraped
// metrics, and from time to time the log.
func (s *Sealer) show(head engine.Seal) {
	if head.No == 0 || head.Hash == s.shown {
		return
	}
	s.head.Reset()
	s.head.WithLabelValues(head.Hash).Set(1)
	s.no.Set(float64(head.No))
	s.shown = head.Hash
	if time.Since(s.logged) >= anchorEvery {
		s.logged = time.Now()
		s.log.Info("the ledgers are sealed", "seal", head.No, "hash", head.Hash)
	}
}
