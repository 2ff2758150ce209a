// Package fraud asks a scoring service about a payment before it is authorised.
//
//	POST URL   {"attempt","reservation","buyer","email","payment_method","amount":{"amount","currency"}}
//	200        {"decision":"allow"|"deny","score"?,"reason"?}
//
// Its stated degraded answer is allow, marked unscored: a score that is late or
// away never costs a sale, and who bought unscored can be told from the metrics
// and the log. The check has no effect at the other side, so it may be repeated.
package fraud

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/flashsale-engine/flashsale/engine"
	"github.com/flashsale-engine/flashsale/internal/telemetry"
	"github.com/flashsale-engine/flashsale/outside"
)

// Config are the settings of the screening.
type Config struct {
	URL    string
	Token  string // sent as a bearer token, if set
	Client *http.Client
	// Timeout is what a checkout waits for a score at most. Default 150 ms.
	Timeout     time.Duration
	Concurrency int // default 256
	Board       *outside.Board
}

// Screen scores attempts.
type Screen struct {
	c     Config
	score *outside.Call[engine.Attempt, engine.Score]
}

const maxAnswer = 64 << 10 // bytes

// New declares the dependency "fraud".
func New(c Config) (*Screen, error) {
	if u, err := url.Parse(c.URL); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("fraud: URL %q: want https://host/path", c.URL)
	}
	if c.Timeout == 0 {
		c.Timeout = 150 * time.Millisecond
	}
	if c.Concurrency == 0 {
		c.Concurrency = 256
	}
	if c.Client == nil {
		c.Client = &http.Client{
			Transport:     telemetry.Transport(&http.Transport{MaxIdleConnsPerHost: c.Concurrency, IdleConnTimeout: 90 * time.Second}),
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}
	}
	// One try: a second one would cost the buyer as much again.
	d, err := outside.New(c.Board, outside.Config{Name: "fraud", Timeout: c.Timeout, Budget: c.Timeout, Tries: 1, Concurrency: c.Concurrency})
	if err != nil {
		return nil, err
	}
	s := &Screen{c: c}
	s.score = outside.NewCall(d, outside.Spec[engine.Attempt, engine.Score]{
		Op: "score", Do: s.ask,
		Result: func(v engine.Score, err error) string {
			switch {
			case err != nil:
				return "error"
			case v.Deny:
				return "deny"
			}
			return "allow"
		},
		Degraded: func(engine.Attempt, error) (engine.Score, error) { return engine.Score{Unscored: true}, nil },
	})
	return s, nil
}

// Score is engine.Ports' Score.
func (s *Screen) Score(ctx context.Context, a engine.Attempt) (engine.Score, error) {
	return s.score.Do(ctx, a)
}

// Close closes the idle connections.
func (s *Screen) Close() { s.c.Client.CloseIdleConnections() }

func (s *Screen) ask(ctx context.Context, a engine.Attempt) (none engine.Score, err error) {
	body, err := json.Marshal(map[string]any{
		"attempt": a.ID.String(), "reservation": a.Reservation.String(), "buyer": a.Buyer, "email": a.Contact.Email,
		"payment_method": a.Method, "amount": a.Amount,
	})
	if err != nil {
		return none, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.c.URL, bytes.NewReader(body))
	if err != nil {
		return none, err
	}
	req.Header.Set("Content-Type", "application/json")
	if s.c.Token != "" {
		req.Header.Set("Authorization", "Bearer "+s.c.Token)
	}
	res, err := s.c.Client.Do(req)
	if err != nil {
		return none, err
	}
	defer func() { _ = res.Body.Close() }()
	raw, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return none, err
	}
	if res.StatusCode != http.StatusOK {
		return none, fmt.Errorf("the score's status is %d", res.StatusCode)
	}
	var out struct {
		Decision string `json:"decision"`
	}
	if err := json.Unmarshal(raw, &out); err != nil {
		return none, err
	}
	switch out.Decision {
	case "allow":
		return none, nil
	case "deny":
		return engine.Score{Deny: true}, nil
	}
	return none, errors.New("the score's decision is neither allow nor deny")
}
