package loadtest

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"
)

// asWorker in the environment makes this test's binary a worker: one that works, or one
// that dies when it is told to go.
const asWorker = "LOADTEST_WORKER"

func workAs(how string) int {
	in := io.Reader(os.Stdin)
	if how == "dies" {
		// The second of them is gone once it has said that it is ready.
		in = io.TeeReader(os.Stdin, mortal{})
	}
	if err := Work(context.Background(), in, os.Stdout, nil); err != nil {
		return 1
	}
	return 0
}

type mortal struct{}

var told bytes.Buffer

func (mortal) Write(b []byte) (int, error) {
	told.Write(b)
	if s := told.String(); strings.Contains(s, `"Part":1,`) && strings.Contains(s, `"go":true`) {
		os.Exit(9)
	}
	return len(b), nil
}

// share runs a crowd by three processes at a shop behind real sockets.
func share(t *testing.T, how string, s *shop, c Config) Report {
	t.Helper()
	t.Setenv(asWorker, how)
	c.API, c.Processes, c.Worker = open(t, s), 3, []string{os.Args[0]}
	out, err := Run(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestSeveralProcessesMakeTheRunThatOneWouldHaveMade(t *testing.T) {
	c := crowd()
	c.Buyers, c.Rate, c.Duration, c.Run, c.Mix, c.Limit = 0, 400, time.Second, "shared", Mix{{KindBuyer, 3}, {KindAbandoner, 1}}, 1
	c.SKUs = []string{"tee", "cap"}
	s := newShop(t, 150)
	out := share(t, "works", s, c)
	passes(t, out)
	if out.Arrivals != 400 || out.Holds != 150 || out.SoldOut != 250 || out.Confirmed+out.Abandoned != 150 || out.ReadBack.Confirmed != int(out.Confirmed) || out.Of(StepReserve).Count != 400 {
		t.Errorf("%s", out)
	}
	// Each arrival came once, under the key and for the goods that one process would have drawn.
	r := &run{cfg: c.WithDefaults()}
	seen := s.seen("/reservations")
	if len(seen) != 400 {
		t.Fatalf("%d reservations", len(seen))
	}
	came := map[string]*request{}
	for _, q := range seen {
		came[q.key] = q
	}
	for n, at := range schedule(r.cfg) {
		want := r.visit(n, r.start.Add(at))
		q := came[r.cfg.key(n, StepReserve)]
		if q == nil || q.sku != want.sku || q.buyer != r.cfg.buyer(n) {
			t.Fatalf("arrival %d: %+v, want %s of %s", n, q, want.sku, r.cfg.buyer(n))
		}
	}
	var due, reserved int64
	for _, second := range out.Series {
		due += second.Due
		for _, l := range second.Latency {
			if l.Step == StepReserve {
				reserved += l.Count
			}
		}
	}
	if due != 400 || reserved != 400 {
		t.Errorf("second by second %d were due and %d answered", due, reserved)
	}
}

func TestAProcessThatDiesFailsTheRunAndItsArrivalsAreDropped(t *testing.T) {
	c := crowd()
	c.Buyers, c.Rate, c.Duration = 0, 400, time.Second
	out := share(t, "dies", newShop(t, 1000), c)
	failsFor(t, out, "process 1 of the load generator")
	failsFor(t, out, "133 of 400 arrivals dropped")
	if out.Arrivals != 400 || out.Confirmed != 267 {
		t.Errorf("%s", out)
	}
}

func TestProcessesThatAreGivenTheSameIDAreNoticed(t *testing.T) {
	c := crowd()
	c.Buyers, c.Abandon = 3, 1 // one each
	s := newShop(t, 10)
	s.script = func(w http.ResponseWriter, r *request) bool {
		answerWith(w, 201, map[string]any{"id": "rsv_same", "state": "held", "lines": []line{{r.sku, 1}}})
		return true
	}
	failsFor(t, share(t, "works", s, c), "reservation id rsv_same was given to arrival")
}

func TestARunThatIsCutShortHasTheBooksOfItsProcesses(t *testing.T) {
	t.Setenv(asWorker, "works")
	c := crowd()
	c.Buyers, c.Hesitate = 9, time.Hour
	s := newShop(t, 10)
	c.API, c.Processes, c.Worker = open(t, s), 3, []string{os.Args[0]}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	holds := make(chan struct{}, 20)
	s.script = func(http.ResponseWriter, *request) bool { holds <- struct{}{}; return false }
	go func() {
		for range 9 {
			<-holds
		}
		cancel()
	}()
	out, err := Run(ctx, c)
	if err == nil || out.Unfinished != 9 {
		t.Errorf("%v\n%s", err, out)
	}
	failsFor(t, out, "cut short")
}

func TestAWorkerWithoutAnOrderSaysSo(t *testing.T) {
	var out bytes.Buffer
	if err := Work(t.Context(), strings.NewReader("nonsense"), &out, nil); err == nil {
		t.Error("no error")
	}
	text, _ := json.Marshal(order{Config: crowd(), Of: 2}) // which has no defaults, so it is none
	var got word
	if err := Work(t.Context(), bytes.NewReader(text), &out, nil); err == nil || json.Unmarshal(out.Bytes(), &got) != nil || got.Error == "" {
		t.Errorf("%v, said %s", err, &out)
	}
	c := crowd()
	c.Processes = 2
	if _, err := Run(t.Context(), c); err == nil || !strings.Contains(err.Error(), "Worker") {
		t.Errorf("%v", err)
	}
}
