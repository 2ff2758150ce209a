package sandbox

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Webhook is an endpoint that wants to be told.
type Webhook struct {
	URL    string   `json:"url"`
	Secret string   `json:"secret,omitempty"` // of the signatures, such as whsec_…
	Events []string `json:"events,omitempty"` // types; empty: all
}

func (h Webhook) check() error {
	u, err := url.Parse(h.URL)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return errors.New("a webhook's url must have the form http://host:port/path")
	}
	if h.Secret == "" {
		return errors.New("a webhook needs a secret, or nobody can tell its events from forged ones")
	}
	return nil
}

// Delivery is what became of one event at one endpoint.
type Delivery struct {
	N       int    `json:"n"`
	Event   string `json:"event"`
	Type    string `json:"type"`
	Intent  string `json:"intent"`
	Attempt string `json:"attempt,omitempty"`
	URL     string `json:"url"`
	Fault   Kind   `json:"fault,omitempty"` // what the sandbox did to it on purpose
	Status  string `json:"status"`          // pending, delivered, refused (a forged or stale one was), failed (given up), dropped
	Tries   int    `json:"tries"`
	Code    int    `json:"code,omitempty"`  // the endpoint's last answer
	Error   string `json:"error,omitempty"` // or why there was none
	At      int64  `json:"at,omitempty"`    // of the last try, Unix ms

	event *event
	due   time.Time
	place int         // in the queue; -1: under way, or waiting for another
	then  []*Delivery // not before this one is over
}

// Limits of the webhooks.
const (
	maxOpen      = 100_000 // deliveries that are not over; what comes beyond is dropped, and counted
	maxListed    = 10_000  // finished ones that can still be listed
	hookWorkers  = 8       // deliveries under way
	hookTries    = 15      // per delivery, over some minutes
	hookTimeout  = 10 * time.Second
	maxHookPause = time.Minute
)

// hooks delivers events: at least once each while the sandbox runs, in no
// certain order, as Stripe does.
type hooks struct {
	some    atomic.Bool // there is an endpoint
	faults  *faults
	now     func() time.Time
	base    time.Duration // the first pause after a failure
	version string
	run     string // part of event ids: none returns after a restart, when it would pass for a replay
	client  *http.Client
	wake    chan struct{}
	stop    <-chan struct{}
	ctx     context.Context // ends with the sandbox, and with it deliveries under way
	cancel  context.CancelFunc
	done    sync.WaitGroup

	mu       sync.Mutex
	ends     []Webhook
	events   int
	count    int               // deliveries ever
	open     map[int]*Delivery // that are not over, by number
	queue    byDue             // those that wait for their time
	held     []*Delivery       // of these, the ones that want to be out of order
	finished []*Delivery
	overflow int // deliveries that found too many open
	working  int
	started  bool
	closed   bool
}

func newHooks(c Config, f *faults, closing chan struct{}) *hooks {
	ctx, cancel := context.WithCancel(context.Background())
	return &hooks{
		faults: f, now: c.Now, base: c.WebhookRetry, version: APIVersion, run: random(4),
		wake: make(chan struct{}, 1), stop: closing, ctx: ctx, cancel: cancel, open: map[int]*Delivery{},
		client: &http.Client{
			Timeout:       hookTimeout,
			Transport:     &http.Transport{MaxIdleConnsPerHost: hookWorkers, IdleConnTimeout: 30 * time.Second},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
}

// add registers an endpoint, or changes the one of that URL.
func (h *hooks) add(w Webhook) error {
	if err := w.check(); err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return errors.New("the sandbox is closed")
	}
	h.ends = slices.DeleteFunc(h.ends, func(o Webhook) bool { return o.URL == w.URL })
	h.ends = append(h.ends, w)
	h.some.Store(true)
	if !h.started {
		h.started = true
		h.done.Add(1)
		go h.deliverAll()
	}
	return nil
}

func (h *hooks) post(d *Delivery, secret string) (int, error) {
	body, at := d.event.body(h.version), h.now()
	switch d.Fault {
	case Forged:
		secret = d.Event // anything but the secret
	case Stale:
		at = at.Add(-time.Hour)
	}
	req, err := http.NewRequestWithContext(h.ctx, http.MethodPost, d.URL, bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	req.Header.Set("Content-Type", "application/json; charset=utf-8")
	req.Header.Set("User-Agent", "flashsale-sandbox")
	req.Header.Set("Stripe-Signature", sign(secret, at, body))
	res, err := h.client.Do(req)
	if err != nil {
		return 0, err
	}
	_, _ = io.Copy(io.Discard, io.LimitReader(res.Body, 64<<10))
	return res.StatusCode, res.Body.Close()
}

// close cuts deliveries short and waits for their end; what is open is lost.
func (h *hooks) close() {
	h.mu.Lock()
	h.closed = true
	h.mu.Unlock()
	h.cancel()
	h.done.Wait()
	h.client.CloseIdleConnections()
}
