package live

import (
	"context"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/flashsale-engine/flashsale/engine"
)

// state is what has been read, each part as old as its last answer.
type state struct {
	src Sources

	reading sync.Mutex // one round at a time

	mu      sync.Mutex
	number  uint64
	meter   *meter
	sales   []*engine.Sale // from the record
	gates   map[string]*gate
	proof   Proof
	fullOut []engine.Finding // of the last full proof
	fastOut []engine.Finding
	acts    []Event
	silent  map[string]*Silence
	began   time.Time // of the present work
	faults  faults
	past    []Point
}

// gate is a sale's gate as it was read last.
type gate struct {
	read     time.Time // of counters
	counters []engine.Counters
	err      error
	room     *engine.RoomView
	track    []tracked // the last seconds, oldest first
}

// tracked is what is needed of older readings.
type tracked struct {
	at   time.Time
	gone []int64 // units of each SKU that are not available
	sold int64
}

func newState(s Sources) state {
	return state{src: s, meter: &meter{from: s.Metrics}, gates: map[string]*gate{}, silent: map[string]*Silence{}}
}

// begin forgets what would be a gap of minutes in rates and plots.
func (s *state) begin() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.meter.past, s.past, s.began = nil, nil, time.Now()
	for _, g := range s.gates {
		g.track = nil
	}
}

func (s *state) points() []Point {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Point(nil), s.past...)
}

// silence is how long somebody may say nothing before it is shown. An answer that
// comes late now and then is no fault.
const silence = 2 * time.Second

// quiet says whether one has not answered for too long. It needs mu.
func (s *state) quiet(at *Silence, now time.Time) bool {
	last := s.began
	if at.Since != nil && at.Since.After(last) {
		last = *at.Since
	}
	return at.Error != "" && now.Sub(last) > silence
}

// heard notes who has answered, or why not.
func (s *state) heard(who string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := s.silent[who]
	if at == nil {
		at = &Silence{}
		s.silent[who] = at
	}
	at.Who = who
	if err == nil {
		now := time.Now().UTC()
		at.Error, at.Since = "", &now
		return
	}
	if at.Error = string(engine.CodeOf(err)); at.Error == "" || at.Error == string(engine.CodeInternal) {
		at.Error = "does not answer in time"
	}
}

func (s *state) readSales(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, listEvery)
	defer cancel()
	list, err := s.src.All(ctx)
	s.heard("the record's sales", err)
	if err == nil {
		s.mu.Lock()
		s.sales = list
		s.mu.Unlock()
	}
}

func (s *state) readActs(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, actsEvery)
	defer cancel()
	list, err := s.src.Acts(ctx, mostEvents)
	s.heard("the audit log", err)
	if err == nil {
		s.mu.Lock()
		s.acts = list
		s.mu.Unlock()
	}
}

// readNow reads gates, rooms and metrics, side by side.
func (s *state) readNow(ctx context.Context) {
	s.reading.Lock()
	defer s.reading.Unlock()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var all errgroup.Group
	all.SetLimit(16)
	for _, sale := range s.src.Active() {
		if sale.State == engine.SaleClosed {
			continue
		}
		all.Go(func() error {
			counters, err := s.src.Counters(ctx, sale)
			s.took(sale, counters, err)
			return nil
		})
		if sale.Admission != nil && s.src.Room != nil {
			all.Go(func() error {
				room, err := s.src.Room(ctx, sale.ID)
				s.heard("the waiting room of "+sale.ID, err)
				if err == nil {
					s.mu.Lock()
					s.gate(sale.ID).room = room
					s.mu.Unlock()
				}
				return nil
			})
		}
	}
	_ = all.Wait() // each has noted its own
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.meter.read(time.Now()); err != nil {
		s.src.Log.DebugContext(ctx, "some metrics could not be read", "err", err)
	}
}

// gate needs mu.
func (s *state) gate(sale string) *gate {
	g := s.gates[sale]
	if g == nil {
		g = &gate{}
		s.gates[sale] = g
	}
	return g
}

// took keeps what a gate has said.
func (s *state) took(sale *engine.Sale, counters []engine.Counters, err error) {
	who := "the gate of " + sale.ID
	if engine.CodeOf(err) == engine.CodeGateFrozen {
		s.heard(who, nil) // it does answer
	} else {
		s.heard(who, err)
	}
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	g := s.gate(sale.ID)
	if g.err = err; err != nil {
		return
	}
	g.read, g.counters = now, counters
	t := tracked{at: now, gone: make([]int64, len(counters))}
	for i, c := range counters {
		t.gone[i] = c.Held + c.Paying + c.Sold
		t.sold += c.Sold
	}
	old := 0
	for old+1 < len(g.track) && now.Sub(g.track[old+1].at) >= window {
		old++
	}
	g.track = append(g.track[old:], t)
}

// proveFast compares the counters.
func (s *state) proveFast(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	v, err := s.src.Fast(ctx, fastEvery/2)
	s.heard("the proof of the counters", err)
	if err != nil {
		return
	}
	now := time.Now().UTC()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.proof.Fast, s.fastOut = &now, v.Findings
	// The full proof sees these, too; between two of them the fast one is newer.
	s.proof.Oversold, s.proof.Drift = v.Oversold, v.Drift
	s.findings()
}

// proveFull compares everything with everything, at first and then as seldom as keeps
// it to a twentieth of the time.
func (s *state) proveFull(ctx context.Context) {
	for {
		began := time.Now()
		v, err := s.src.Full(ctx, 200*time.Millisecond)
		took := time.Since(began)
		s.heard("the full proof", err)
		if err == nil {
			now := time.Now().UTC()
			s.mu.Lock()
			s.proof.Full, s.proof.TookMS, s.fullOut = &now, took.Milliseconds(), v.Findings
			s.proof.Oversold, s.proof.Lost, s.proof.Drift, s.proof.Unpaid = v.Oversold, v.Lost, v.Drift, v.Unpaid
			s.findings()
			s.mu.Unlock()
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(max(fullLeast, fullShare*took)):
		}
	}
}

// findings needs mu.
func (s *state) findings() {
	const few = 5
	s.proof.Findings = nil
	for _, list := range [][]engine.Finding{s.fullOut, s.fastOut} {
		s.proof.Findings = append(s.proof.Findings, list[:min(few, len(list))]...)
	}
}
