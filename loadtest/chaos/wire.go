package chaos

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"sync/atomic"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/Shopify/toxiproxy/v2/stream"
	"github.com/Shopify/toxiproxy/v2/toxics"
	"github.com/rs/zerolog"
)

// wire is a proxy in front of one backend.
type wire struct{ proxy *toxiproxy.Proxy }

// newWire listens on an address; where it leads may be said later.
func newWire(name, listen string) (*wire, error) {
	server := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop())
	p := toxiproxy.NewProxy(server, name, listen, listen)
	if err := p.Start(); err != nil {
		return nil, fmt.Errorf("chaos: the wire to %s: %w", name, err)
	}
	return &wire{p}, nil
}

func (w *wire) addr() string { return w.proxy.Listen }

// lead has new connections go to another address, and cuts the old ones.
func (w *wire) lead(upstream string) error { return w.set(upstream, true) }

// plug pulls the plug or puts it back: nobody listens, connections are cut.
func (w *wire) plug(in bool) error { return w.set(w.proxy.Upstream, in) }

func (w *wire) set(upstream string, enabled bool) error {
	return w.proxy.Update(&toxiproxy.Proxy{Listen: w.proxy.Listen, Upstream: upstream, Enabled: enabled})
}

func (w *wire) close() { w.proxy.Stop() }

// poison adds a toxic, and gives what takes it away again.
func (w *wire) poison(kind string, dir stream.Direction, attributes any) (*toxics.ToxicWrapper, func(context.Context) error, error) {
	text, err := json.Marshal(map[string]any{"name": kind, "type": kind, "stream": dir.String(), "toxicity": 1, "attributes": attributes})
	if err != nil {
		return nil, nil, err
	}
	t, err := w.proxy.Toxics.AddToxicJson(bytes.NewReader(text))
	if err != nil {
		return nil, nil, fmt.Errorf("chaos: the wire to %s: %s: %w", w.proxy.Name, kind, err)
	}
	return t, func(ctx context.Context) error { return w.proxy.Toxics.RemoveToxic(ctx, kind) }, nil
}

// latency delays what the backend answers.
func (w *wire) latency(ms int) (func(context.Context) error, error) {
	_, heal, err := w.poison("latency", stream.Downstream, &toxics.LatencyToxic{Latency: int64(ms), Jitter: int64(ms / 2)})
	return heal, err
}

// cuts cuts connections when requests are sent; see cutToxic.
func (w *wire) cuts(t *cutToxic) (made func() int64, heal func(context.Context) error, err error) {
	wrapped, heal, err := w.poison("cut", stream.Upstream, t)
	if err != nil {
		return nil, nil, err
	}
	at := wrapped.Toxic.(*cutToxic) // the type is that of its name
	return at.made.Load, heal, nil
}

// cutToxic counts the requests that carry Match, and with each one whose turn it
// is cuts the connection: after the request has gone out, so that it is carried
// out and the answer lost, or, every other time, before.
type cutToxic struct {
	Match string `json:"match"` // empty: any
	Every int64  `json:"every"`

	seen, made atomic.Int64
}

// init is how toxiproxy learns of a kind.
func init() { toxics.Register("cut", new(cutToxic)) }

// Pipe carries one connection's requests until it is cut or the toxic is taken away.
func (t *cutToxic) Pipe(stub *toxics.ToxicStub) {
	for {
		select {
		case <-stub.Interrupt:
			return
		case c := <-stub.Input:
			if c == nil {
				stub.Close()
				return
			}
			if !bytes.Contains(c.Data, []byte(t.Match)) || t.seen.Add(1)%t.Every != 0 {
				stub.Output <- c
				continue
			}
			if n := t.made.Add(1); n%2 == 1 {
				stub.Output <- c
			}
			stub.Close()
			go func() { // the sender may be in the middle of a sentence
				for range stub.Input {
				}
			}()
			return
		}
	}
}
