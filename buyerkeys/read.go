package buyerkeys

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/flashsale-engine/flashsale/api"
	"github.com/flashsale-engine/flashsale/outside"
)

const (
	timeout = 5 * time.Second // of one fetch
	maxSet  = 256 << 10       // bytes of a set
)

// Remote says whether a set is fetched, not read from a file.
func Remote(from string) bool { return strings.Contains(from, "://") }

// Check says what is wrong with a place, and for a file with the set in it. It
// calls nobody.
func Check(from string) error {
	if !Remote(from) {
		text, err := readFile(from)
		if err == nil {
			_, _, err = api.KeySet(text, true)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", from, err)
		}
		return nil
	}
	return outside.CheckURL(from)
}

// Refused says of a Read's error that waiting does not mend it: there is an answer,
// and no set in it that can be used.
func Refused(err error) bool {
	var s *statusError
	if errors.As(err, &s) {
		return s.code >= 300 && s.code < 500 && s.code != http.StatusRequestTimeout && s.code != http.StatusTooManyRequests
	}
	return errors.Is(err, errSet)
}

// errSet marks what was read, and is no set that can be used.
var errSet = errors.New("the key set cannot be used")

type statusError struct{ code int }

func (e *statusError) Error() string {
	return fmt.Sprintf("the key set's status is %d, not 200", e.code)
}

func readFile(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	return bounded(f)
}

func bounded(r io.Reader) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(r, maxSet+1))
	if err == nil && len(text) > maxSet {
		err = fmt.Errorf("%w: it has more than %d KiB", errSet, maxSet>>10)
	}
	return text, err
}

// newFetch declares the dependency "buyer-keys". One try, because there is another
// soon; a breaker, because behind one that is open nobody waits for a set that
// does not come. Its stated degraded answer are the keys that are there.
func newFetch(c Config, client *http.Client) (*outside.Call[string, []byte], error) {
	d, err := outside.New(c.Board, outside.Config{Name: "buyer-keys", Timeout: timeout, Budget: timeout, Tries: 1, Concurrency: 2,
		Interval: 2 * time.Minute, MinCalls: 3, Probes: 1, OpenFor: asksEvery})
	if err != nil {
		return nil, err
	}
	return outside.NewCall(d, outside.Spec[string, []byte]{Op: "fetch", Do: func(ctx context.Context, from string) ([]byte, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, from, nil)
		if err != nil {
			return nil, err
		}
		req.Header.Set("Accept", "application/jwk-set+json, application/json")
		res, err := client.Do(req)
		if err != nil {
			return nil, err
		}
		defer func() { _ = res.Body.Close() }()
		if res.StatusCode != http.StatusOK {
			return nil, &statusError{res.StatusCode}
		}
		return bounded(res.Body)
	}}), nil
}

func newClient() *http.Client {
	return &http.Client{
		Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true, MaxIdleConns: 1, IdleConnTimeout: 30 * time.Second, MaxResponseHeaderBytes: 64 << 10},
		CheckRedirect: func(next *http.Request, before []*http.Request) error {
			switch first := before[0].URL; {
			case next.URL.Host != first.Host || next.URL.Scheme != first.Scheme:
				return fmt.Errorf("%w: it leads to another host or scheme, %s://%s; set that one if it is trusted", errSet, next.URL.Scheme, next.URL.Host)
			case len(before) > 3:
				return fmt.Errorf("%w: it leads on and on", errSet)
			}
			return nil
		},
	}
}
