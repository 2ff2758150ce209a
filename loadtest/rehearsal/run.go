package rehearsal

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/flashsale-engine/flashsale/loadtest"
	"github.com/flashsale-engine/flashsale/loadtest/rest"
	"github.com/flashsale-engine/flashsale/loadtest/stage"
)

// Config says how to play it.
type Config struct {
	Self  []string // the program: what `serve` and `sandbox` are appended to
	Env   []string // of the processes; nil: ours
	Kafka bool     // a real Kafka instead of the stand-in
	Seed  uint64
	Hurry float64 // divides the time that each phase takes
	Load  float64 // multiplies the arrivals per second
	SLOs  []loadtest.SLO

	Processes int      // that share the arrivals
	Worker    []string // the command of one
	Progress  io.Writer
	Log       *slog.Logger
}

// Validate checks each setting.
func (c Config) Validate() error {
	switch {
	case !(c.Hurry >= 1 && c.Hurry <= 60):
		return fmt.Errorf("rehearsal: a hurry of %v is not between 1 and 60", c.Hurry)
	case !(c.Load > 0 && c.Load <= 100):
		return fmt.Errorf("rehearsal: a load of %v is not between 0 and 100", c.Load)
	}
	return nil
}

// Run plays it and judges. The error is about the run itself.
func Run(ctx context.Context, c Config) (loadtest.Report, error) {
	if err := c.Validate(); err != nil {
		return loadtest.Report{}, err
	}
	s, stop, err := stage.Start(ctx, stage.Options{Self: c.Self, Env: c.Env, Kafka: c.Kafka, Log: c.Log,
		// A bot asks 20 times without a pause, and should meet a limit.
		Serve: []string{"--limit", "buyer=10/10s", "--payment-timeout", "1s"}})
	if err != nil {
		return loadtest.Report{}, err
	}
	defer stop()
	return c.play(ctx, s)
}

type admin struct{ *stage.Stage }

func (a admin) do(ctx context.Context, method, path string, body, into any) error {
	return rest.JSON(ctx, method, a.Admin+"/admin/v1"+path, stage.AdminToken, body, into)
}

// get is one of the admin listener's pages.
func (a admin) get(ctx context.Context, path string) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, a.Admin+path, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+stage.AdminToken)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	if res.StatusCode != http.StatusOK {
		_ = res.Body.Close()
		return nil, fmt.Errorf("rehearsal: %s: status %d", path, res.StatusCode)
	}
	return res.Body, nil
}

// play is Run on a stage that stands.
func (c Config) play(ctx context.Context, s *stage.Stage) (loadtest.Report, error) {
	p, a := c.plan(), admin{s}
	hold := max(time.Duration(30/c.Hurry*float64(time.Second)), 5*time.Second)
	var items []map[string]any
	for sku, n := range p.stock {
		items = append(items, map[string]any{"sku": sku, "title": sku, "unit_price": 4900, "stock": n})
	}
	terms := map[string]any{"name": "Black Friday", "currency": "USD", "hold_ttl": hold.String(), "hold_cap": (hold + 3*time.Minute).String(), "per_buyer_limit": 1, "items": items}
	if err := a.do(ctx, http.MethodPut, "/sales/"+saleID, terms, nil); err != nil {
		return loadtest.Report{}, err
	}
	if err := a.do(ctx, http.MethodPost, "/sales/"+saleID+"/arm", nil, nil); err != nil {
		return loadtest.Report{}, err
	}
	outage := func(on bool) func(context.Context) error {
		return func(ctx context.Context) error {
			return rest.JSON(ctx, http.MethodPost, s.Sandbox+"/control", "", map[string]any{"outage": on}, nil)
		}
	}
	r, err := loadtest.Run(ctx, loadtest.Config{
		API: s.API, Sale: saleID, SKUs: everyday, BuyerKey: []byte(stage.BuyerKey), Seed: c.Seed, Curve: p.curve, Phases: p.phases,
		Decline: 0.04, Hesitate: time.Duration(2 / c.Hurry * float64(time.Second)), Wait: 2 * time.Second, Connections: 512, MaxInFlight: 50_000,
		Processes: c.Processes, Worker: c.Worker, MaxRetries: 100, MaxRetryAfter: time.Minute, PollFor: 90 * time.Second, Stock: p.stock, Limit: 1, SLOs: c.SLOs, Progress: c.Progress,
		Events: []loadtest.Event{
			{At: p.opens, Name: "opens", Do: func(ctx context.Context) error {
				return a.do(ctx, http.MethodPost, "/sales/"+saleID+"/open", nil, nil)
			}},
			{At: p.outage, Name: "provider falls silent", Do: outage(true)},
			{At: p.ended, Name: "and is back", Do: outage(false)},
		},
		Watch: &loadtest.Watch{Sale: saleID, Get: a.get, CPU: func() map[string]time.Duration {
			used := s.CPU()
			delete(used, "server") // says for itself what it used
			return used
		}},
		Verify: func(ctx context.Context) (raw json.RawMessage, err error) {
			return raw, a.do(ctx, http.MethodGet, "/verify?settle=30s", nil, &raw)
		},
	})
	if err != nil {
		return r, err
	}
	return judge(r), nil
}

// judge adds what a rehearsal must have shown to be one.
func judge(r loadtest.Report) loadtest.Report {
	fail := func(format string, args ...any) {
		r.Pass, r.Reasons = false, append(r.Reasons, "no rehearsal: "+fmt.Sprintf(format, args...))
	}
	for _, s := range r.SKUs {
		if s.SoldOut == 0 {
			fail("%s did not sell out", s.SKU)
		}
	}
	open := false
	for _, s := range r.Samples {
		for name, state := range s.Breakers {
			open = open || strings.HasPrefix(name, "payment") && state == "open"
		}
	}
	if !open {
		fail("no breaker of payments was seen open")
	}
	if r.Confirmed == 0 {
		fail("nobody bought anything")
	}
	return r
}
