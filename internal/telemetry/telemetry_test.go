package telemetry

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

const (
	callers   = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	unsampled = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"
)

// open gives a telemetry that writes to a file, and what reads that when all is written.
func open(t *testing.T, change func(*Config)) (*Telemetry, func() []Step) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "spans.jsonl")
	c := Config{Sample: 1, File: file, Node: "node-1", Registerer: prometheus.NewRegistry()}
	if change != nil {
		change(&c)
	}
	tel, err := Open(c)
	if err != nil {
		t.Fatal(err)
	}
	return tel, func() []Step {
		t.Helper()
		if err := tel.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		steps, err := Read(file)
		if err != nil {
			t.Fatal(err)
		}
		return steps
	}
}

func TestATraceIsWrittenAndReadBackWithAllThatServedIt(t *testing.T) {
	tel, read := open(t, nil)
	ctx, request := tel.Begin(t.Context(), []byte(callers), "POST /checkout", "reservation", "rsv_1", "lines", 2, "replayed", false)
	_, gate := Start(ctx, "gate claim")
	_, call := tel.Shared(context.Background(), []Span{gate}, "gate call", "db.operation.batch.size", 7)
	call.End(nil)
	gate.End(nil)
	later, _ := tel.Resume(context.Background(), request.Traceparent(), "capture")
	_, out := Call(later, "POST provider")
	out.End(errors.New("no answer from buyer@example.com"))
	Of(later).End(nil)
	request.End(nil)

	steps := read()
	roots := Tree(steps, "4bf92f3577b34da6a3ce929d0e0e4736")
	if len(roots) != 1 || roots[0].Parent != "00f067aa0ba902b7" || roots[0].Attributes["reservation"] != "rsv_1" || roots[0].Attributes["lines"] != "2" || roots[0].Attributes["replayed"] != "false" || roots[0].Node != "node-1" {
		t.Fatalf("%+v", roots)
	}
	var said []string
	var walk func(b *Branch, depth int)
	walk = func(b *Branch, depth int) {
		said = append(said, fmt.Sprint(depth, " ", b.Name, " ", b.Error))
		for _, s := range b.Shared {
			walk(s, 100+depth)
		}
		for _, w := range b.Within {
			walk(w, depth+1)
		}
	}
	walk(roots[0], 0)
	if want := "0 POST /checkout |1 gate claim |101 gate call |1 capture |2 POST provider no answer from (hidden)"; strings.Join(said, "|") != want {
		t.Errorf("%q\nwant %q", strings.Join(said, "|"), want)
	}
	if got := Traces(steps, "reservation", "rsv_1"); len(got) != 1 || got[0] != roots[0].Trace {
		t.Errorf("%v", got)
	}
}

func TestWhoIsTraced(t *testing.T) {
	for _, c := range []struct {
		what        string
		sample      float64
		traceparent string
		want        bool
	}{
		{"its caller traces", 0, callers, true},
		{"its caller does not, whatever the chance", 1, unsampled, false},
		{"by chance", 1, "", true},
		{"nobody wants it", 0, "", false},
		{"nonsense is no wish", 1, "00-xyz", false},
	} {
		tel, read := open(t, func(o *Config) { o.Sample = c.sample })
		if got := tel.Chosen([]byte(c.traceparent)); got != c.want {
			t.Errorf("%s: %v", c.what, got)
		}
		if ctx, span := tel.Resume(t.Context(), c.traceparent, "later"); span.On() != (c.traceparent == callers) || Of(ctx).On() != span.On() {
			t.Errorf("%s: later it is %v", c.what, span.On())
		}
		read()
	}
	var none *Telemetry
	if none.Chosen([]byte(callers)) {
		t.Error("there is nothing to trace with")
	}
	tel, err := Open(Config{Sample: 1})
	if tel != nil || err != nil {
		t.Errorf("spans that have nowhere to go: %v, %v", tel, err)
	}
}

func TestStrangersCannotHaveAllTheyDoTraced(t *testing.T) {
	tel, read := open(t, func(c *Config) { c.Most = 3 })
	defer read()
	now := time.Unix(1000, 0)
	tel.now = func() time.Time { return now }
	count := func() (n int) {
		for range 10 {
			if tel.Chosen([]byte(callers)) {
				n++
			}
		}
		return n
	}
	if n := count(); n != 3 {
		t.Errorf("%d in the first second", n)
	}
	if n := testutil.ToFloat64(tel.capped); n != 7 {
		t.Errorf("%v are counted as passed over", n)
	}
	now = now.Add(time.Second)
	if n := count(); n != 3 {
		t.Errorf("%d in the next", n)
	}
}

func TestChanceIsAsOftenAsItIsSet(t *testing.T) {
	tel, read := open(t, func(c *Config) { c.Sample, c.Most = 0.1, 1_000_000 })
	defer read()
	n := 0
	for range 100_000 {
		if tel.Chosen(nil) {
			n++
		}
	}
	if n < 9_000 || n > 11_000 { // ten standard deviations
		t.Errorf("%d of 100,000", n)
	}
}

func TestWhatIsNotTracedAllocatesNothing(t *testing.T) {
	tel, read := open(t, func(c *Config) { c.Sample = 1e-9 })
	defer read()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	header := []byte(unsampled)
	if n := testing.AllocsPerRun(1000, func() {
		if tel.Chosen(header) || tel.Chosen(nil) {
			t.Error("chosen")
		}
		inner, span := Start(ctx, "a step")
		span.Set()
		span.End(nil)
		if Of(inner).On() || span.Traceparent() != "" {
			t.Error("traced")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// A collector that is away costs what waits for it, and nothing else: whoever ends
// a span goes on at once.
func TestADeadCollectorDropsSpansAndCountsThem(t *testing.T) {
	hold := make(chan struct{})
	asked := make(chan int, 1) // of how many spans
	dead := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		select {
		case asked <- bytes.Count(b, []byte(`"traceId"`)):
		default:
		}
		<-hold
	}))
	defer dead.Close()
	tel, err := Open(Config{Sample: 1, Endpoint: dead.URL})
	if err != nil {
		t.Fatal(err)
	}
	tel.sender.client.Timeout = time.Minute // however long this process gets no processor
	end := func(n int) {
		for range n {
			_, s := tel.Begin(context.Background(), nil, "request")
			s.End(nil)
		}
	}
	end(batchMost)
	taken := <-asked // are on their way and get no answer: a batch, or, if a second had just passed, a part of one
	end(queueRoom + 100)
	if n, want := testutil.ToFloat64(tel.sender.spans.WithLabelValues("dropped")), float64(batchMost-taken+100); taken == 0 || n != want {
		t.Errorf("%v dropped, not %v", n, want)
	}
	close(hold)
	dead.CloseClientConnections()
	if err := tel.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestACollectorIsSentOTLP(t *testing.T) {
	bodies := make(chan []byte, 10)
	collector := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		if r.URL.Path == "/v1/traces" && r.Header.Get("Content-Type") == "application/json" {
			bodies <- b
		}
	}))
	defer collector.Close()
	tel, err := Open(Config{Sample: 1, Endpoint: collector.URL, Node: "n"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, parent := tel.Begin(t.Context(), nil, "request")
	_, child := Call(ctx, "step", "n", 3)
	child.End(errors.New("bad"))
	parent.End(nil)
	if err := tel.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	// As the specification spells it, read without the types that wrote it.
	var got struct {
		ResourceSpans []struct {
			ScopeSpans []struct {
				Spans []struct {
					TraceID, SpanID, ParentSpanID, Name string
					Kind                                int
					StartTimeUnixNano, EndTimeUnixNano  string
					Attributes                          []struct {
						Key   string
						Value struct{ IntValue string }
					}
					Status struct {
						Code    int
						Message string
					}
				}
			}
		}
	}
	if err := json.Unmarshal(<-bodies, &got); err != nil {
		t.Fatal(err)
	}
	spans := got.ResourceSpans[0].ScopeSpans[0].Spans
	if len(spans) != 2 || spans[0].Name != "step" || spans[0].ParentSpanID != spans[1].SpanID || len(spans[0].TraceID) != 32 || len(spans[0].SpanID) != 16 ||
		spans[0].Kind != 3 || spans[1].Kind != 2 || spans[0].Status.Code != 2 || spans[0].Status.Message != "bad" || spans[0].Attributes[0].Value.IntValue != "3" || len(spans[0].StartTimeUnixNano) != 19 {
		t.Errorf("%+v", spans)
	}
}

func TestAFullFileTurnsAndIsReadWithTheOneBeforeIt(t *testing.T) {
	name := filepath.Join(t.TempDir(), "spans.jsonl")
	f, err := openRotating(name)
	if err != nil {
		t.Fatal(err)
	}
	f.most = 300
	for i := range 5 {
		line := fmt.Sprintf(`{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"t","spanId":"%d","name":"n"}]}]}]}`+"\n", i)
		if _, err := f.Write([]byte(line)); err != nil {
			t.Fatal(err)
		}
	}
	_, _ = f.Write([]byte(`{"resourceSpans":[{"sco`)) // a node is writing it
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	steps, err := Read(name)
	if err != nil || len(steps) != 5 {
		t.Errorf("%d steps, %v", len(steps), err)
	}
}

func TestAnOutgoingRequestHandsTheTraceOn(t *testing.T) {
	tel, read := open(t, nil)
	seen := make(chan string, 2)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen <- r.Header.Get("traceparent")
		w.WriteHeader(http.StatusBadGateway)
	}))
	defer server.Close()
	client := &http.Client{Transport: Transport(http.DefaultTransport)}
	ask := func(ctx context.Context) string {
		req, _ := http.NewRequestWithContext(ctx, http.MethodGet, server.URL+"/path?secret=1", nil)
		res, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		if req.Header.Get("traceparent") != "" {
			t.Error("the caller's own request was changed")
		}
		return <-seen
	}
	if got := ask(t.Context()); got != "" {
		t.Errorf("untraced, %q was sent", got)
	}
	ctx, span := tel.Begin(t.Context(), []byte(callers), "request")
	got := ask(ctx)
	span.End(nil)
	steps := read()
	if len(steps) != 2 || steps[1].Attributes["url.path"] != "/path" || steps[1].Error == "" || got != "00-4bf92f3577b34da6a3ce929d0e0e4736-"+steps[1].ID+"-01" {
		t.Errorf("%q was sent; %+v", got, steps)
	}
}

func TestWhatIsLoggedWithinATraceNamesIt(t *testing.T) {
	tel, read := open(t, nil)
	defer read()
	var out bytes.Buffer
	log := slog.New(LogHandler{slog.NewJSONHandler(&out, nil)}).With("node", "n")
	ctx, span := tel.Begin(t.Context(), []byte(callers), "request")
	log.InfoContext(ctx, "traced")
	log.InfoContext(t.Context(), "not")
	lines := strings.Split(out.String(), "\n")
	if !strings.Contains(lines[0], `"trace_id":"4bf92f3577b34da6a3ce929d0e0e4736","span_id":"`+span.SpanID()+`"`) || strings.Contains(lines[1], "trace_id") {
		t.Error(out.String())
	}
}
