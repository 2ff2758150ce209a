package telemetry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	sdk "go.opentelemetry.io/otel/sdk/trace"
)

// sender takes spans that have ended and sends them off in batches. Ending one
// never waits: when collector or disk are too slow for what comes, or away, spans
// are dropped and counted.
type sender struct {
	queue    chan sdk.ReadOnlySpan
	done     chan struct{}
	stop     chan struct{}
	stopping sync.Once
	log      *slog.Logger
	failing  bool

	url    string // of the collector; "": none
	client *http.Client
	file   *rotating // nil: none

	spans *prometheus.CounterVec
}

const (
	queueRoom   = 8192 // spans
	batchMost   = 512
	batchEvery  = time.Second
	sendTimeout = 5 * time.Second
)

func newSender(c Config) (*sender, error) {
	s := &sender{queue: make(chan sdk.ReadOnlySpan, queueRoom), done: make(chan struct{}), stop: make(chan struct{}), log: c.Log,
		client: &http.Client{Timeout: sendTimeout, Transport: &http.Transport{MaxIdleConns: 1, IdleConnTimeout: time.Minute, Proxy: http.ProxyFromEnvironment}},
		spans: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "flashsale_trace_spans_total",
			Help: "Spans that have ended, by what became of them: sent, dropped because too many waited, failed at the collector or the file."}, []string{"result"})}
	for _, r := range []string{"sent", "dropped", "failed"} {
		s.spans.WithLabelValues(r)
	}
	var err error
	if c.Endpoint != "" {
		if s.url, err = tracesURL(c.Endpoint); err != nil {
			return nil, fmt.Errorf("telemetry: endpoint: %w", err)
		}
	}
	if c.File != "" {
		if s.file, err = openRotating(c.File); err != nil {
			return nil, fmt.Errorf("telemetry: file: %w", err)
		}
	}
	go s.run()
	return s, nil
}

// tracesURL is where a collector at a base URL takes traces.
func tracesURL(endpoint string) (string, error) {
	u, err := url.Parse(endpoint)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return "", errors.New("not a URL of the form http://host:4318")
	}
	if !strings.HasSuffix(u.Path, "/v1/traces") {
		u = u.JoinPath("v1", "traces")
	}
	return u.String(), nil
}

func (s *sender) metrics() []prometheus.Collector { return []prometheus.Collector{s.spans} }

// OnStart, OnEnd, Shutdown and ForceFlush implement the library's SpanProcessor.
func (s *sender) OnStart(context.Context, sdk.ReadWriteSpan) {}

// OnEnd takes a span, if there is room.
func (s *sender) OnEnd(span sdk.ReadOnlySpan) {
	select {
	case s.queue <- span:
	default:
		s.spans.WithLabelValues("dropped").Inc()
	}
}

// Shutdown is close.
func (s *sender) Shutdown(ctx context.Context) error { return s.close(ctx) }

// ForceFlush does nothing: whoever wants everything closes.
func (s *sender) ForceFlush(context.Context) error { return nil }

func (s *sender) close(ctx context.Context) error {
	s.stopping.Do(func() { close(s.stop) })
	select {
	case <-s.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *sender) run() {
	defer close(s.done)
	tick := time.NewTicker(batchEvery)
	defer tick.Stop()
	batch := make([]sdk.ReadOnlySpan, 0, batchMost)
	flush := func() {
		if len(batch) > 0 {
			s.send(batch)
			clear(batch)
			batch = batch[:0]
		}
	}
	for {
		select {
		case span := <-s.queue:
			if batch = append(batch, span); len(batch) == batchMost {
				flush()
			}
		case <-tick.C:
			flush()
		case <-s.stop:
			for {
				select {
				case span := <-s.queue:
					if batch = append(batch, span); len(batch) == batchMost {
						flush()
					}
					continue
				default:
				}
				flush()
				if s.file != nil {
					_ = s.file.Close() // each batch has been written whole
				}
				return
			}
		}
	}
}

// send makes one try: what a collector does not take is not kept for it.
func (s *sender) send(batch []sdk.ReadOnlySpan) {
	body := encode(batch)
	var err error
	if s.file != nil {
		_, err = s.file.Write(append(body, '\n'))
	}
	if s.url != "" {
		err = errors.Join(err, s.post(body))
	}
	result := "sent"
	if err != nil {
		result = "failed"
	}
	s.spans.WithLabelValues(result).Add(float64(len(batch)))
	if failing := err != nil; failing != s.failing {
		s.failing = failing
		s.log.Warn("spans reach nobody", "failing", failing, "err", err)
	}
}

func (s *sender) post(body []byte) error {
	req, err := http.NewRequest(http.MethodPost, s.url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := s.client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(res.Body, 1<<16)) // so that the connection can be used again
	if res.StatusCode/100 != 2 {
		return fmt.Errorf("the collector answers %s", res.Status)
	}
	return nil
}
