package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// stutter makes a Redis answer its clients five times a second only, until it is told to stop.
func stutter(t *testing.T, redis string) (stop func()) {
	t.Helper()
	at, err := url.Parse(redis)
	must(t, err)
	end, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(200 * time.Millisecond)
		defer tick.Stop()
		for {
			redisDo(t, at.Host, "CLIENT PAUSE 190 ALL")
			select {
			case <-tick.C:
			case <-end:
				return
			}
		}
	}()
	return sync.OnceFunc(func() { close(end); <-ended })
}

// times are how long answers took.
type times struct {
	mu  sync.Mutex
	all []time.Duration
}

func (s *times) note(d time.Duration) { s.mu.Lock(); s.all = append(s.all, d); s.mu.Unlock() }

func (s *times) at(q float64) time.Duration {
	if len(s.all) == 0 {
		return 0
	}
	slices.Sort(s.all)
	return s.all[int(q*float64(len(s.all)-1))]
}

// A gate that answers five times a second, and a crowd of 2,000 that asks it: a node has room for
// 12,288 who ask, so whoever is told to come again was told so because the gate is slow; and who
// holds stock is not turned away.
func TestACrowdAtASlowGateIsThinnedAndHoldersAreNot(t *testing.T) {
	const crowd, holding, long = 2000, 8, 5 * time.Second
	r := newRig(t)
	p := r.serve("--roles", "api", "--target-latency", "250ms", "--limit", "ip=off", "--limit", "buyer=off", "--limit", "holder=off", "--limit", "unpaid=off")
	p.sale("drop", 1_000_000, 100, "4m")
	ids := make([]string, holding)
	for i := range ids {
		ids[i] = p.held(t, token(t, fmt.Sprint("holder-", i)), "drop", "k").text("id")
	}
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: crowd}, Timeout: patience}
	defer client.CloseIdleConnections()
	ask := func(method, path, tok, key, body string) (said string, took time.Duration) {
		req, err := http.NewRequest(method, p.ready.API+path, strings.NewReader(body))
		if err != nil {
			t.Error(err)
			return "", 0
		}
		req.Header.Set("Authorization", "Bearer "+tok)
		req.Header.Set("Idempotency-Key", key)
		req.Header.Set("Content-Type", "application/json")
		at := time.Now()
		res, err := client.Do(req)
		if err != nil {
			t.Error(err)
			return "", 0
		}
		var problem struct{ Code string }
		_ = json.NewDecoder(res.Body).Decode(&problem)
		_, _ = io.Copy(io.Discard, res.Body)
		_ = res.Body.Close()
		return strings.TrimSpace(fmt.Sprint(res.StatusCode, " ", problem.Code)), time.Since(at)
	}
	toks := make([]string, crowd)
	for i := range toks {
		toks[i] = token(t, fmt.Sprint("b-", i))
	}
	calm := stutter(t, r.redis)
	defer calm()
	began := time.Now()
	var let, refused, held times
	var odd sync.Map
	strange := func(who, said string) {
		// Where everything waits for the processor, Redis may not answer within the time of a
		// call, nor a request arrive whole within its own: nobody was turned away by that.
		if said != "503 unavailable" && !strings.HasPrefix(said, "408") {
			odd.Store(who+" "+said, true)
		}
	}
	var thinned atomic.Bool
	going := func() bool { // a busy machine takes longer to bring the crowd together
		return time.Since(began) < long || !thinned.Load() && time.Since(began) < patience
	}
	var all sync.WaitGroup
	for i := range crowd {
		all.Go(func() {
			for n := 0; going(); n++ {
				switch said, took := ask("POST", "/v1/sales/drop/reservations", toks[i], fmt.Sprint("k", n), `{"lines":[{"sku":"A","quantity":1}]}`); said {
				case "201":
					let.note(took)
				case "503 overloaded":
					refused.note(took)
					thinned.Store(true)
					<-time.After(time.Second) // as they are told
				default:
					strange("a newcomer", said)
				}
			}
		})
	}
	for i, id := range ids {
		all.Go(func() {
			for going() {
				if said, took := ask("GET", "/v1/reservations/"+id, token(t, fmt.Sprint("holder-", i)), "", ""); said == "200" {
					held.note(took)
				} else {
					strange("a holder", said)
				}
			}
		})
	}
	all.Wait()
	calm()
	t.Logf("%d let in, p50 %s, p99 %s; %d told 503, p50 %s, p99 %s; %d times a holder was answered, p50 %s, p99 %s", len(let.all), let.at(.5), let.at(.99),
		len(refused.all), refused.at(.5), refused.at(.99), len(held.all), held.at(.5), held.at(.99))
	odd.Range(func(answer, _ any) bool {
		t.Errorf("%s: none of those that should be", answer)
		return true
	})
	if len(let.all) == 0 || len(refused.all) == 0 || len(held.all) == 0 {
		t.Errorf("%d were let in, %d turned away, %d times a holder was answered", len(let.all), len(refused.all), len(held.all))
	}
}
