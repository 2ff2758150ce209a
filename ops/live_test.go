package ops

import (
	"bufio"
	"context"
	"encoding/json"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/flashsale-engine/flashsale/ops/live"
)

// The page may load what is its own and nothing else, and nobody may frame it.
func TestTheConsoleLoadsNothingFromElsewhere(t *testing.T) {
	s, _ := serving(t)
	page := s.ask("GET", "/console/", "", "")
	policy := page.Header().Get("Content-Security-Policy")
	for _, want := range []string{"default-src 'none'", "script-src 'self'", "style-src 'self'", "connect-src 'self'", "frame-ancestors 'none'", "base-uri 'none'"} {
		if !strings.Contains(policy, want) {
			t.Errorf("the policy lacks %s: %s", want, policy)
		}
	}
	if strings.Contains(policy, "unsafe") || page.Code != 200 {
		t.Errorf("%d, policy %s", page.Code, policy)
	}
	for _, file := range []string{"/console/", "/console/main.js", "/console/console.css", "/console/panels.js"} {
		got := s.ask("GET", file, "", "")
		text := got.Body.String()
		if got.Code != 200 || strings.Contains(text, "https://") || strings.Contains(text, " style=\"") || strings.Contains(text, "<script>") || strings.Contains(text, "innerHTML") || strings.Contains(text, "eval(") {
			t.Errorf("%s: %d, or it has what the policy forbids", file, got.Code)
		}
	}
	if got := s.ask("GET", "/console/../ops.go", "", ""); got.Code == 200 {
		t.Errorf("a file beside the page: %d", got.Code)
	}
}

// serve puts a server on loopback.
func serve(t *testing.T, s *Server) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := s.Shutdown(ctx); err != nil {
			t.Errorf("the listener does not stop while somebody watches: %v", err)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return "http://" + l.Addr().String()
}

func TestWhoWatchesGetsSnapshotsUntilTheNodeStops(t *testing.T) {
	s, _ := serving(t)
	at := serve(t, s)
	req, err := http.NewRequest("GET", at+"/admin/v1/live", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+secretOf(Viewer))
	req.Header.Set("Accept", "text/event-stream")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	if got := res.Header.Get("Content-Type"); res.StatusCode != 200 || got != "text/event-stream" {
		t.Fatalf("%d %s", res.StatusCode, got)
	}
	lines, events, last := bufio.NewScanner(res.Body), []string{}, uint64(0)
	for len(events) < 4 && lines.Scan() {
		if name, ok := strings.CutPrefix(lines.Text(), "event: "); ok {
			events = append(events, name)
			continue
		}
		data, ok := strings.CutPrefix(lines.Text(), "data: ")
		if !ok || events[len(events)-1] != "live" {
			continue
		}
		var l live.Live
		if err := json.Unmarshal([]byte(data), &l); err != nil || l.Number <= last {
			t.Fatalf("%v: %.200s", err, data)
		}
		last = l.Number
	}
	if strings.Join(events, " ") != "past live live live" {
		t.Errorf("events %v: %v", events, lines.Err())
	}
	one := s.ask("GET", "/admin/v1/live", secretOf(Viewer), "")
	if one.Code != 200 || !json.Valid(one.Body.Bytes()) {
		t.Errorf("one snapshot: %d %.200s", one.Code, one.Body)
	}
} // and the clean-up stops the listener, with one who still watches
