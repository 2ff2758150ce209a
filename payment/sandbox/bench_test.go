package sandbox

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
)

// sink is a ResponseWriter that costs nothing, so that the server is measured.
type sink struct {
	header http.Header
	status int
	body   []byte
}

func (s *sink) Header() http.Header { return s.header }
func (s *sink) WriteHeader(n int)   { s.status = n }
func (s *sink) Write(b []byte) (int, error) {
	s.body = append(s.body, b...)
	return len(b), nil
}

// BenchmarkAuthoriseAndCapture is the way of a paid order through the plain API,
// without the network.
func BenchmarkAuthoriseAndCapture(b *testing.B) {
	s := newServer(b, Config{})
	h := s.Handler()
	w := &sink{header: http.Header{}}
	do := func(path, key, payload string) {
		clear(w.header)
		w.body = w.body[:0]
		r := &http.Request{Method: "POST", URL: &url.URL{Path: path}, Host: "sandbox.test", Header: http.Header{"Idempotency-Key": {key}},
			Body: io.NopCloser(strings.NewReader(payload)), RequestURI: path}
		h.ServeHTTP(w, r)
		if w.status != 200 {
			b.Fatalf("%d %s", w.status, w.body)
		}
	}
	b.ReportAllocs()
	for i := range b.N {
		key := fmt.Sprint("attempt-", i)
		do("/v1/payment_intents", key, body("pm_card_visa", key))
		id, _, _ := strings.Cut(strings.TrimPrefix(string(w.body), `{"id":"`), `"`)
		do("/v1/payment_intents/"+id+"/capture", key+":capture", "")
	}
}

// BenchmarkSixtyFourCallersOverHTTP is the same with 64 callers and sockets
// between; their half of the work is in the figure too.
func BenchmarkSixtyFourCallersOverHTTP(b *testing.B) {
	s := newServer(b, Config{})
	if err := s.Start("127.0.0.1:0"); err != nil {
		b.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}
	defer client.CloseIdleConnections()
	do := func(path, key, payload string) (string, error) {
		r, err := http.NewRequest("POST", s.URL()+path, strings.NewReader(payload))
		if err != nil {
			return "", err
		}
		r.Header.Set("Idempotency-Key", key)
		res, err := client.Do(r)
		if err != nil {
			return "", err
		}
		defer res.Body.Close()
		text, err := io.ReadAll(res.Body)
		if err == nil && res.StatusCode != 200 {
			err = fmt.Errorf("%d %s", res.StatusCode, text)
		}
		return string(text), err
	}
	var next atomic.Int64
	b.SetParallelism(32) // times two cores
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			key := fmt.Sprint("attempt-", next.Add(1))
			text, err := do("/v1/payment_intents", key, body("pm_card_visa", key))
			id, _, _ := strings.Cut(strings.TrimPrefix(text, `{"id":"`), `"`)
			if err == nil {
				_, err = do("/v1/payment_intents/"+id+"/capture", key+":capture", "")
			}
			if err != nil {
				b.Error(err)
				return
			}
		}
	})
}
