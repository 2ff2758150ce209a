package staff

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"

	"github.com/flashsale-engine/flashsale/outside"
)

const (
	timeout  = 5 * time.Second // of one request
	most     = 256 << 10       // bytes of an answer
	asksOnce = time.Second     // of one URL: a token with an invented key asks for the keys, too
)

// ask is the way to the provider: behind a breaker, and bounded.
type ask struct {
	call *outside.Call[*http.Request, *http.Response]

	mu   sync.Mutex
	last map[string]*asked // by URL, of which there are two: the configuration's and the keys'
}

// asked is one request and what came of it.
type asked struct {
	at  time.Time
	err error
}

// errAsked says that what is known was read a moment ago.
var errAsked = errors.New("it has just been read")

func newAsk(c Config) (*ask, error) {
	if err := outside.CheckURL(c.Issuer); err != nil {
		return nil, fmt.Errorf("staff: the issuer: %w", err)
	}
	next := c.Transport
	if next == nil {
		next = http.DefaultTransport
	}
	d, err := outside.New(c.Board, outside.Config{Name: "identity", Timeout: timeout, Budget: timeout, Tries: 1, Concurrency: 4,
		Interval: time.Minute, MinCalls: 3, Probes: 1, OpenFor: 5 * time.Second})
	if err != nil {
		return nil, err
	}
	return &ask{last: map[string]*asked{}, call: outside.NewCall(d, outside.Spec[*http.Request, *http.Response]{Op: "fetch", //nolint:bodyclose // the body that goes out is in memory
		Do: func(ctx context.Context, r *http.Request) (*http.Response, error) {
			res, err := next.RoundTrip(r.WithContext(ctx))
			if err != nil {
				return nil, err
			}
			defer func() { _ = res.Body.Close() }()
			// Read here: ctx ends with the call.
			text, err := io.ReadAll(io.LimitReader(res.Body, most+1))
			switch {
			case err != nil:
				return nil, err
			case len(text) > most:
				return nil, fmt.Errorf("its answer has more than %d KiB", most>>10)
			case res.StatusCode != http.StatusOK:
				return nil, fmt.Errorf("its answer is %d, not 200", res.StatusCode)
			}
			res.Body = io.NopCloser(bytes.NewReader(text))
			return res, nil
		}})}, nil
}

// RoundTrip is an http.RoundTripper's.
func (a *ask) RoundTrip(r *http.Request) (*http.Response, error) {
	now := time.Now()
	a.mu.Lock()
	if l := a.last[r.URL.String()]; l != nil && now.Sub(l.at) < asksOnce {
		defer a.mu.Unlock()
		return nil, l.err
	}
	l := &asked{now, errAsked}
	a.last[r.URL.String()] = l
	a.mu.Unlock()
	res, err := a.call.Do(r.Context(), r)
	if err != nil {
		a.mu.Lock()
		defer a.mu.Unlock()
		l.err = err
	}
	return res, err
}

// failure is why a token could not be verified, when that is nobody's fault who sent it.
type failure struct{ err error }

type failureKey struct{}

// keySet notes that keys could not be read: the verifier makes the same text of that and
// of a wrong signature.
type keySet struct{ *oidc.RemoteKeySet }

// VerifySignature is an oidc.KeySet's.
func (k keySet) VerifySignature(ctx context.Context, token string) ([]byte, error) {
	payload, err := k.RemoteKeySet.VerifySignature(ctx, token)
	if f, ok := ctx.Value(failureKey{}).(*failure); ok && err != nil && !errors.Is(err, errAsked) && (errors.Unwrap(err) != nil || ctx.Err() != nil) {
		f.err = err // of its errors, only that of keys which could not be fetched wraps another
	}
	return payload, err
}
