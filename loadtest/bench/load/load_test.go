//go:build linux

package load

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

const testKey = "0123456789abcdef0123456789abcdef"

func TestAnAnswerIsReadWhenItIsWholeAndNotBefore(t *testing.T) {
	for _, text := range []string{
		"HTTP/1.1 201 Created\r\nContent-Length: 5\r\n\r\nhello",
		"HTTP/1.1 409 Conflict\r\nServer: x\r\ncontent-length:0\r\n\r\n",
		"HTTP/1.1 204 No Content\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
		"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
	} {
		for n := range len(text) {
			if a, ok := readHTTP([]byte(text[:n])); ok {
				t.Fatalf("%q is whole: %+v", text[:n], a)
			}
		}
		a, ok := readHTTP([]byte(text))
		if want := text[9:12]; !ok || string(strings.Fields(text)[1]) != want || a.status == 0 {
			t.Errorf("%q: %+v, %v", text, a, ok)
		}
	}
}

func TestWhatLiesAcrossTwoChunksIsFound(t *testing.T) {
	a, ok := readHTTP([]byte("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nA\r\n\"state\":\"h\r\n4\r\neld\"\r\n0\r\n\r\n"))
	if !ok || string(a.body) != string(lineMark) {
		t.Errorf("%q, %v", a.body, ok)
	}
}

func TestScriptRepliesAreCounted(t *testing.T) {
	const hold, no = "*3\r\n:1\r\n:41\r\n:1700000000000\r\n", "*3\r\n:-1\r\n:0\r\n:0\r\n"
	a, ok := readScript([]byte(hold+no+hold), 3)
	if !ok || a.good != 2 || a.status != 200 {
		t.Errorf("%+v, %v", a, ok)
	}
	if _, ok := readScript([]byte(hold+no), 3); ok {
		t.Error("two replies of three are whole")
	}
	if _, ok := readScript([]byte(hold+hold[:9]), 2); ok {
		t.Error("half a reply is whole")
	}
	if a, ok := readScript([]byte(hold+"-ERR no\r\n"), 2); !ok || a.status != 500 {
		t.Errorf("%+v, %v", a, ok)
	}
}

func spec(kind Kind) Spec {
	return Spec{Kind: kind, Addr: "127.0.0.1:1", Core: -1, Conns: 4, Depth: 3, Window: 200 * time.Millisecond, Patience: 5 * time.Second,
		Sales: []string{"one", "two"}, SKUs: []string{"A", "B"}, Buyers: 5, Key: testKey, Status: 201}
}

func tokens(t *testing.T, n int) [][]byte {
	t.Helper()
	out, err := Tokens(testKey, n)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestRequestsAreWellFormedAndNoTwoAreAlike(t *testing.T) {
	s := spec(Reserve)
	b := newBuilder(&s, tokens(t, s.Buyers))
	keys, pairs := map[string]bool{}, map[string]bool{}
	for n := range uint64(10) {
		req, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(b.first(nil, n))))
		if err != nil {
			t.Fatal(err)
		}
		var body struct {
			Lines []struct {
				SKU      string
				Quantity int
			}
		}
		if err := json.NewDecoder(req.Body).Decode(&body); err != nil || len(body.Lines) != 1 || body.Lines[0].Quantity != 1 {
			t.Fatalf("%+v, %v", body, err)
		}
		keys[req.Header.Get("Idempotency-Key")] = true
		pairs[req.URL.Path+req.Header.Get("Authorization")] = true
	}
	if len(keys) != 10 || len(pairs) != 10 {
		t.Errorf("10 requests have %d keys; %d pairs of sale and buyer", len(keys), len(pairs))
	}
	for _, kind := range []Kind{ReserveRelease, Purchase} {
		s.Kind = kind
		req, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(b.second(nil, 3, []byte("rsv_x")))))
		if err != nil || !strings.HasPrefix(req.URL.Path, "/v1/reservations/rsv_x") || req.Header.Get("Authorization") == "" {
			t.Errorf("%v: %+v, %v", kind, req, err)
		}
	}
	s.Kind = Batch
	req, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(newBuilder(&s, b.tokens).first(nil, 0))))
	if err != nil {
		t.Fatal(err)
	}
	raw, err := io.ReadAll(req.Body)
	if err != nil || strings.Count(string(raw), "\n") != 3 || !strings.HasSuffix(req.URL.Path, ":batch") {
		t.Errorf("%s %q, %v", req.URL, raw, err)
	}
}

func TestAFewOfTheScriptsCallsAreToBeRefused(t *testing.T) {
	s := Spec{Depth: 4, Refuse: 10}
	granted := 0
	for n := range uint64(25) {
		granted += s.granted(n)
	}
	if granted != 90 {
		t.Errorf("%d of 100 are granted", granted)
	}
}

// shop is a server that counts what it accepts.
func shop(t *testing.T, handler http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(handler)
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

func TestTheClosedLoopCountsWhatTheServerCounts(t *testing.T) {
	var reserved, released atomic.Int64
	s := spec(ReserveRelease)
	s.Addr = shop(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodDelete {
			released.Add(1)
			_, _ = io.WriteString(w, `{"state":"released"}`)
			return
		}
		reserved.Add(1)
		w.WriteHeader(201)
		_, _ = io.WriteString(w, `{"id":"rsv_1","state":"held"}`)
	})
	s.Lead = 50 * time.Millisecond
	r, err := Run(s, tokens(t, s.Buyers))
	if err != nil {
		t.Fatal(err)
	}
	if r.Steps[0] != uint64(reserved.Load()) || r.Steps[1] != uint64(released.Load()) || r.Bad != 0 || r.Open != 0 {
		t.Errorf("%+v; the server: %d, %d", r, reserved.Load(), released.Load())
	}
	if r.Good == 0 || r.Good >= r.Steps[1] || r.Latency.N != int64(r.Good) {
		t.Errorf("the lead is counted, or nothing is: %+v", r)
	}
	if r.Second.N != r.Latency.N || r.Second.P50 > r.Latency.P50 {
		t.Errorf("a second request took longer than both together: %+v", r)
	}
}

func TestALoopGoesOnUntilSomethingHasCome(t *testing.T) {
	for name, rate := range map[string]float64{"closed": 0, "open": 50} {
		s := spec(Reserve)
		s.Rate = rate
		began, slow := time.Now(), 3*s.Window/2 // nobody is answered within the window
		s.Addr = shop(t, func(w http.ResponseWriter, r *http.Request) {
			select {
			case <-time.After(slow - time.Since(began)):
			case <-r.Context().Done():
			}
			w.WriteHeader(201)
			_, _ = io.WriteString(w, `{"state":"held"}`)
		})
		r, err := Run(s, tokens(t, s.Buyers))
		if err != nil || r.Good == 0 || r.Seconds <= s.Window.Seconds() || r.Rate != float64(r.Good)/r.Seconds || rate > 0 && r.Latency.N == 0 {
			t.Errorf("%s: %+v, %v", name, r, err)
		}
	}
}

func TestAWrongAnswerIsNotCountedAsSpeed(t *testing.T) {
	var n atomic.Int64
	s := spec(Reserve)
	s.Addr = shop(t, func(w http.ResponseWriter, _ *http.Request) {
		if n.Add(1)%2 == 0 {
			w.WriteHeader(503)
			return
		}
		w.WriteHeader(201)
		_, _ = io.WriteString(w, `{"state":"held"}`)
	})
	r, err := Run(s, tokens(t, s.Buyers))
	if err != nil || r.Bad == 0 || r.Bad != r.Answers["503"] || r.Steps[0] != r.Answers["201"] || len(r.Wrong) == 0 {
		t.Errorf("%+v, %v", r, err)
	}
	s.Allow, s.Text = []int{503}, "sold_out"
	if r, err = Run(s, tokens(t, s.Buyers)); err != nil || r.Good != 0 || r.Bad == 0 || r.Bad != r.Answers["201"] {
		t.Errorf("an answer without the text that it needs is good: %+v, %v", r, err)
	}
}

// A server that stalls must be seen to stall by all who were due meanwhile, not
// only by those whose requests were under way (coordinated omission).
func TestInTheOpenLoopAStallHurtsEveryoneWhoWasDue(t *testing.T) {
	const stall = 150 * time.Millisecond
	stalling := func() string { // a shop that stalls once, 200 ms from now
		began := time.Now()
		var once sync.Once
		var mu sync.RWMutex
		return shop(t, func(w http.ResponseWriter, _ *http.Request) {
			if time.Since(began) > 200*time.Millisecond {
				once.Do(func() { mu.Lock(); time.Sleep(stall); mu.Unlock() })
			}
			mu.RLock()
			defer mu.RUnlock()
			w.WriteHeader(201)
			_, _ = io.WriteString(w, `{"state":"held"}`)
		})
	}
	s := spec(Reserve)
	s.Rate, s.Window = 2000, 600*time.Millisecond
	s.Addr = stalling()
	r, err := Run(s, tokens(t, s.Buyers))
	if err != nil {
		t.Fatal(err)
	}
	if r.Due < 900 || r.Due > 1500 || uint64(r.Latency.N)+r.Late < r.Due {
		t.Errorf("due and answered: %+v", r)
	}
	// 300 of 1,200 were due during the stall; four connections were under way.
	if r.Latency.P99 < float64(stall.Microseconds())*8/10 {
		t.Errorf("the p99 hides the stall: %+v", r.Latency)
	}
	s.TurnAway, s.Addr = true, stalling()
	if r, err = Run(s, tokens(t, s.Buyers)); err != nil || r.Turned < 100 {
		t.Errorf("nobody was turned away: %+v, %v", r, err)
	}
}

func TestAConnectionThatBreaksFailsTheMeasurement(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = c.Read(make([]byte, 64))
			_ = c.Close()
		}
	}()
	s := spec(Reserve)
	s.Addr = l.Addr().String()
	if r, err := Run(s, tokens(t, s.Buyers)); err == nil {
		t.Errorf("%+v", r)
	}
}

// Of more connections than there is work for, some are ended by the server, with a word
// or without: they are made anew, and nothing is counted.
func TestAnIdleConnectionThatTheServerEndsIsMadeAnew(t *testing.T) {
	for name, goodbye := range map[string]string{"silently": "", "told": "HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		s := spec(Reserve)
		came := make(chan net.Conn, 4*s.Conns)
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				came <- c
			}
		}()
		go func() { // before the one that asked is answered, all others are ended
			all := make([]net.Conn, s.Conns)
			for i := range all {
				all[i] = <-came
			}
			asked := make(chan net.Conn)
			for _, c := range all {
				go func() {
					if _, err := c.Read(make([]byte, 4096)); err == nil {
						asked <- c
					}
				}()
			}
			one := <-asked
			for _, c := range all {
				if c != one {
					_, _ = io.WriteString(c, goodbye)
					_ = c.Close()
				}
			}
			_, _ = io.WriteString(one, "HTTP/1.1 201 Created\r\nContent-Length: 16\r\n\r\n{\"state\":\"held\"}")
		}()
		s.Addr, s.Rate = l.Addr().String(), 1e-6 // one comes at once, and nobody else
		r, err := Run(s, tokens(t, s.Buyers))
		if err != nil || r.Good != 1 || r.Bad != 0 || r.Open != 0 {
			t.Errorf("%s: %+v, %v", name, r, err)
			continue
		}
		for range s.Conns - 1 {
			select {
			case c := <-came:
				_ = c.Close()
			case <-time.After(time.Minute):
				t.Fatalf("%s: an ended connection was not made anew", name)
			}
		}
	}
}
