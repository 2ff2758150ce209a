// Package otlpcheck has a demo's spans taken in by the OpenTelemetry Collector's own OTLP
// receiver: what it decodes is what we meant. A module of its own, because of what the
// receiver needs.
package otlpcheck

import (
	"context"
	"net"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/receiver/otlpreceiver"
	"go.opentelemetry.io/collector/receiver/receivertest"
)

// span is one as the receiver has decoded it, with what it came under.
type span struct {
	ptrace.Span
	resource map[string]any
	scope    string
}

// collector keeps what the receiver gives it.
type collector struct {
	url  string
	mu   sync.Mutex
	all  []span
	came chan struct{} // something has
}

// collect runs the Collector's receiver on loopback.
func collect(t *testing.T) *collector {
	t.Helper()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	addr := free.Addr().String()
	must(t, free.Close())
	c := &collector{url: "http://" + addr, came: make(chan struct{}, 1)}
	next, err := consumer.NewTraces(c.take)
	must(t, err)
	factory := otlpreceiver.NewFactory()
	cfg := factory.CreateDefaultConfig().(*otlpreceiver.Config)
	cfg.Protocols.HTTP.GetOrInsertDefault().ServerConfig.NetAddr.Endpoint = addr
	must(t, cfg.Protocols.Validate())
	r, err := factory.CreateTraces(t.Context(), receivertest.NewNopSettings(factory.Type()), cfg, next)
	must(t, err)
	must(t, r.Start(t.Context(), componenttest.NewNopHost()))
	t.Cleanup(func() { must(t, r.Shutdown(context.Background())) })
	return c
}

func (c *collector) take(_ context.Context, traces ptrace.Traces) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, rs := range traces.ResourceSpans().All() {
		for _, ss := range rs.ScopeSpans().All() {
			for _, s := range ss.Spans().All() {
				kept := ptrace.NewSpan() // what is given may be used again
				s.CopyTo(kept)
				c.all = append(c.all, span{kept, rs.Resource().Attributes().AsRaw(), ss.Scope().Name()})
			}
		}
	}
	select {
	case c.came <- struct{}{}:
	default:
	}
	return nil
}

// until waits until what has come is enough.
func (c *collector) until(t *testing.T, what string, enough func([]span) bool) []span {
	t.Helper()
	for end := time.After(time.Minute); ; {
		c.mu.Lock()
		all := append([]span(nil), c.all...)
		c.mu.Unlock()
		if enough(all) {
			return all
		}
		select {
		case <-c.came:
		case <-end:
			for _, s := range all {
				t.Logf("%s %s", s.TraceID(), s.Name())
			}
			t.Fatalf("%d spans came within a minute, and %s not", len(all), what)
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
