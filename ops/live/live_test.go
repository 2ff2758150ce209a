package live

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"math"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/flashsale-engine/flashsale/engine"
)

func TestWhatGrowsBecomesARate(t *testing.T) {
	reg := prometheus.NewRegistry()
	n := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "asked_total"}, []string{"code"})
	reg.MustRegister(n)
	m := &meter{from: reg}
	began := time.Unix(1000, 0)
	for i := range 40 { // one a second, and refused from the 30th second on
		n.WithLabelValues("ok").Add(5)
		if i >= 30 {
			n.WithLabelValues("sold_out").Add(2)
		}
		if err := m.read(began.Add(time.Duration(i) * time.Second)); err != nil {
			t.Fatal(err)
		}
	}
	for what, got := range map[string]struct {
		is   *float64
		want float64
	}{
		"all":             {m.rate("asked_total", nil), 7},
		"one code":        {m.rate("asked_total", labels{"code": "ok"}), 5},
		"a series of now": {m.rate("asked_total", labels{"code": "sold_out"}), 2},
		"in all":          {m.value("asked_total", nil), 40*5 + 10*2},
	} {
		if got.is == nil || math.Abs(*got.is-got.want) > 1e-9 {
			t.Errorf("%s: %v, want %v", what, got.is, got.want)
		}
	}
	if len(m.past) > 12 {
		t.Errorf("%d readings are kept of a window of %s", len(m.past), window)
	}
	if m.rate("nobody_has_registered_this", nil) != nil || m.value("nor_this", nil) != nil || m.quantiles("nor_this", nil, .5) != nil {
		t.Error("what nobody measures is known")
	}
}

func TestLatencyIsThatOfTheWindowAlone(t *testing.T) {
	reg := prometheus.NewRegistry()
	h := prometheus.NewHistogram(prometheus.HistogramOpts{Name: "took_seconds", Buckets: []float64{.1, .2, .4, .8}})
	reg.MustRegister(h)
	m := &meter{from: reg}
	at := time.Unix(1000, 0)
	read := func() {
		at = at.Add(time.Second)
		if err := m.read(at); err != nil {
			t.Fatal(err)
		}
	}
	for range 1000 {
		h.Observe(.05) // long ago, and quick
	}
	for range 15 {
		read()
	}
	if q := m.quantiles("took_seconds", nil, .5); q != nil {
		t.Fatalf("nothing was seen within the window, and the median is %v", q)
	}
	for range 90 {
		h.Observe(.15)
	}
	for range 10 {
		h.Observe(9) // beyond the last bound
	}
	read()
	q := m.quantiles("took_seconds", nil, .45, .9, .999)
	if len(q) != 3 || math.Abs(q[0]-.15) > 1e-9 || math.Abs(q[1]-.2) > 1e-9 || q[2] != .8 {
		t.Errorf("quantiles %v, want 0.15, 0.2 and what is known of the last: 0.8", q)
	}
}

// aSale is open, with two SKUs.
func aSale() *engine.Sale {
	return &engine.Sale{No: 1, ID: "drop", Name: "Drop", State: engine.SaleOpen, Epoch: 3, Shards: 1, HoldTTL: time.Minute, HoldCap: 10 * time.Minute, PerBuyerLimit: 2,
		Items: []engine.Item{{No: 0, SKU: "A", Stock: 100}, {No: 1, SKU: "B", Stock: 100}}}
}

// world is behind a collector; it sells two of A and one of B a second.
type world struct {
	began        time.Time
	reads, fulls atomic.Int64
	away         atomic.Bool
	oversold     atomic.Int64
	c            *Collector
}

func newWorld() *world {
	w := &world{began: time.Now()}
	sale := aSale()
	w.c = New(Sources{Node: "n1", Active: func() []*engine.Sale { return []*engine.Sale{sale} }, Metrics: prometheus.NewRegistry(), Log: slog.New(slog.DiscardHandler),
		Counters: func(context.Context, *engine.Sale) ([]engine.Counters, error) {
			w.reads.Add(1)
			if w.away.Load() {
				return nil, engine.E(engine.CodeUnavailable, "Redis is away")
			}
			n := int64(time.Since(w.began) / time.Second)
			return []engine.Counters{{No: 0, SKU: "A", Stock: 100, Available: 100 - 2*n, Sold: 2 * n}, {No: 1, SKU: "B", Stock: 100, Available: 100 - n, Sold: n}}, nil
		},
		Fast: func(context.Context, time.Duration) (engine.Verdict, error) {
			return engine.Verdict{Oversold: int(w.oversold.Load())}, nil
		},
		Full: func(context.Context, time.Duration) (engine.Verdict, error) {
			w.fulls.Add(1)
			return engine.Verdict{Lost: 0}, nil
		},
		Acts: func(context.Context, int) ([]Event, error) {
			return []Event{{At: w.began, Kind: "act", What: "open", Target: "drop", Who: "olga"}}, nil
		}})
	return w
}

func (w *world) next(t *testing.T, frames <-chan Frame) (l Live) {
	t.Helper()
	f, open := <-frames
	if !open {
		t.Fatal("no more snapshots")
	}
	if err := json.Unmarshal(f.JSON, &l); err != nil {
		t.Fatal(err)
	}
	return l
}

func TestNobodyLooksAndNothingIsRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		defer w.c.Close()
		time.Sleep(time.Minute)
		if n := w.reads.Load(); n != 0 {
			t.Fatalf("%d reads for nobody", n)
		}
		_, _, leave := w.c.Look()
		time.Sleep(10 * time.Second)
		one := w.reads.Load()
		if least := int64(10*time.Second/Every) - 1; one < least || one > least+3 {
			t.Errorf("%d reads in ten seconds", one)
		}
		leave()
		leave() // twice is once
		time.Sleep(linger + time.Second)
		after := w.reads.Load()
		time.Sleep(time.Minute)
		if n := w.reads.Load(); n != after {
			t.Errorf("%d reads after everybody had gone", n-after)
		}
	})
}

func TestManyLookersCostOneRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		defer w.c.Close()
		var all []<-chan Frame
		for range 50 {
			f, _, leave := w.c.Look()
			defer leave()
			all = append(all, f)
		}
		time.Sleep(10 * time.Second)
		if n := w.reads.Load(); n > int64(10*time.Second/Every)+2 {
			t.Errorf("%d reads for 50 lookers", n)
		}
		// Nobody has read for ten seconds: what is there is the newest, not the first.
		for _, f := range all {
			if l := w.next(t, f); time.Since(l.At) > Every {
				t.Fatalf("a snapshot that is %s old", time.Since(l.At))
			}
		}
	})
}

func TestASnapshotSaysWhatTheGateSaysAndHowFastItChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		defer w.c.Close()
		f, _, leave := w.c.Look()
		defer leave()
		time.Sleep(20*time.Second + Every/2)
		l := w.next(t, f)
		s := l.Sales[0]
		if s.Units == nil || s.Units.Stock != 200 || s.Units.Sold != 60 || !s.Units.Conserved || s.Gate != "live" || s.Epoch != 3 {
			t.Fatalf("%+v %+v", s, s.Units)
		}
		if s.SellRate == nil || math.Abs(*s.SellRate-3) > .4 || s.SoldOutIn == nil || math.Abs(*s.SoldOutIn-140/3.) > 6 {
			t.Errorf("sells %v a second, sold out in %v", *s.SellRate, s.SoldOutIn)
		}
		if s.SKUs[0].SKU != "A" || s.SKUs[0].Rate < 1.7 || s.SKUs[0].Rate > 2.3 {
			t.Errorf("the hottest is %+v", s.SKUs[0])
		}
		if l.Proof.Fast == nil || l.Proof.Full == nil || time.Since(*l.Proof.Fast) > fastEvery+Every {
			t.Errorf("proofs %v and %v", l.Proof.Fast, l.Proof.Full)
		}
		if n := w.fulls.Load(); n != 1 {
			t.Errorf("%d full proofs in twenty seconds", n)
		}
		if l.Needs.Redis[0].Value != nil {
			t.Errorf("nobody measures Redis, and it is %v", *l.Needs.Redis[0].Value)
		}
	})
}

func TestAGateThatIsAwayIsShownAsSuchWithItsLastFigures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		defer w.c.Close()
		f, _, leave := w.c.Look()
		defer leave()
		time.Sleep(5 * time.Second)
		w.away.Store(true)
		w.oversold.Store(2)
		time.Sleep(6 * time.Second)
		l := w.next(t, f)
		if s := l.Sales[0]; s.Gate != "away" || s.Units == nil || s.ReadAt == nil || time.Since(*s.ReadAt) < 2*time.Second || s.Binds != "gate" {
			t.Errorf("%+v", s)
		}
		if len(l.Silent) != 1 || l.Silent[0].Who != "the gate of drop" || l.Silent[0].Since == nil {
			t.Errorf("silent: %+v", l.Silent)
		}
		kinds := map[string]string{}
		for _, e := range l.Events {
			kinds[e.Target] = e.Kind
		}
		if kinds["the gate of drop"] != "fault" || kinds["OVERSOLD"] != "fault" || kinds["drop"] != "act" || l.Proof.Oversold != 2 {
			t.Errorf("events %+v, proof %+v", l.Events, l.Proof)
		}
		w.away.Store(false)
		w.oversold.Store(0)
		time.Sleep(6 * time.Second)
		l = w.next(t, f)
		over := 0
		for _, e := range l.Events {
			if e.Kind == "over" {
				over++
			}
		}
		if len(l.Silent) != 0 || l.Sales[0].Gate != "live" || over != 3 { // silent, gate and OVERSOLD
			t.Errorf("afterwards: %+v, %d are over: %+v", l.Silent, over, l.Events)
		}
	})
}

func TestAFrozenGateAnswers(t *testing.T) {
	w := newWorld()
	s := &w.c.state
	sale := aSale()
	s.took(sale, nil, engine.E(engine.CodeGateFrozen, "keys are gone"))
	s.took(sale, nil, errors.Join(engine.ErrUnknown, context.DeadlineExceeded))
	if s.silent["the gate of drop"].Error == "" {
		t.Error("a time-out is no answer")
	}
	s.took(sale, nil, engine.E(engine.CodeGateFrozen, "keys are gone"))
	if s.silent["the gate of drop"].Error != "" {
		t.Error("frozen is an answer")
	}
	if v := s.snapshot(time.Now()).Sales[0]; v.Gate != "lost" {
		t.Errorf("the gate is %s", v.Gate)
	}
}

func TestTheCapacityModelIsAskedForWhatComesNow(t *testing.T) {
	reg := prometheus.NewRegistry()
	requests := prometheus.NewCounterVec(prometheus.CounterOpts{Name: mRequests}, []string{"route", "method", "code"})
	decided := prometheus.NewCounterVec(prometheus.CounterOpts{Name: mDecided}, []string{"op", "result"})
	asking := prometheus.NewGauge(prometheus.GaugeOpts{Name: "flashsale_http_asking_requests"})
	lines := prometheus.NewCounterVec(prometheus.CounterOpts{Name: mLines}, []string{"code"})
	reg.MustRegister(requests, decided, asking, lines)
	var got []Mix
	s := newState(Sources{Metrics: reg, Active: func() []*engine.Sale { return nil }, Knee: func(x Mix) Knee {
		got = append(got, x)
		return Knee{Used: Interval{.5, .4, .7}, Binds: "Redis", Most: Interval{14, 10, 17.5}}
	}})
	at := time.Unix(1000, 0)
	for i := range 11 { // seven asked a second: five decided, of which one is sold out; two pay
		if i > 0 {
			requests.WithLabelValues(routeReserve, "POST", "ok").Add(4)
			requests.WithLabelValues(routeReserve, "POST", "sold_out").Add(3)
			decided.WithLabelValues("hold", "ok").Add(4)
			decided.WithLabelValues("hold", "sold_out").Inc()
			decided.WithLabelValues("claim", "ok").Add(2)
		}
		at = at.Add(time.Second)
		if err := s.meter.read(at); err != nil {
			t.Fatal(err)
		}
		if l := s.snapshot(at); i == 0 && l.Headroom.Knee != nil {
			t.Errorf("there are no rates yet, and the model says %+v", l.Headroom.Knee)
		}
	}
	l := s.snapshot(at)
	k := l.Headroom.Knee
	if k == nil || k.Used.Value != .5 || k.Binds != "Redis" || math.Abs(k.Rate-7) > 1e-9 {
		t.Fatalf("%+v", k)
	}
	x := got[len(got)-1]
	if math.Abs(x.Decided-5) > 1e-9 || math.Abs(x.Refused-2) > 1e-9 || math.Abs(x.Bought-2) > 1e-9 {
		t.Errorf("the model was asked about %+v", x)
	}
	if h := l.Headroom; h.By == k.Binds {
		t.Errorf("what is measured is no longer told beside it: %+v", h)
	}
}
