package trail

import (
	"cmp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Asker is a buyer who asks a lot.
type Asker struct {
	Buyer string
	Rate  float64 // requests per second, estimated
}

// askers finds who asks most, by a sample of requests and only while somebody wants to
// know: otherwise a request costs one look at a flag. Names are kept for seconds.
type askers struct {
	on atomic.Bool
	n  atomic.Uint64

	mu     sync.Mutex
	wanted time.Time // when somebody asked last
	began  time.Time // of the present span
	spans  [2]map[string]float64
	long   [2]time.Duration // how long each was, the older one first
}

const (
	sampled   = 16               // one request of so many
	askerSpan = 5 * time.Second  // counts are of one to two of these
	askerName = 64               // bytes of a name that are kept
	mostNames = 512              // per span; those who ask least are forgotten
	unwanted  = 10 * time.Second // after it nobody wants to know any more
)

// note counts a request, if it is one that is sampled.
func (a *askers) note(buyer string) {
	if !a.on.Load() || a.n.Add(1)%sampled != 0 {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	now := time.Now()
	if now.Sub(a.wanted) > unwanted {
		a.on.Store(false)
		a.spans = [2]map[string]float64{}
		return
	}
	a.turn(now)
	names := a.spans[1]
	if _, known := names[buyer]; !known {
		buyer = strings.Clone(buyer[:min(len(buyer), askerName)]) // the caller's may be a buffer
		if len(names) >= mostNames {
			for name, n := range names {
				if names[name] = n / 2; n < 2 {
					delete(names, name)
				}
			}
		}
	}
	names[buyer]++
}

// turn needs mu.
func (a *askers) turn(now time.Time) {
	switch past := now.Sub(a.began); {
	case a.spans[1] == nil || past >= 2*askerSpan:
		a.began, a.long, a.spans = now, [2]time.Duration{}, [2]map[string]float64{{}, {}}
	case past >= askerSpan:
		a.began, a.long[0] = now, past
		a.spans = [2]map[string]float64{a.spans[1], {}}
	}
}

// Askers gives who asks most now, at most so many, each at least once a second. The
// first call only begins to look.
func (t *Trail) Askers(most int) (out []Asker) {
	if t == nil {
		return nil
	}
	a := &t.askers
	a.mu.Lock()
	defer a.mu.Unlock()
	now := time.Now()
	a.wanted = now
	if !a.on.Swap(true) {
		a.spans = [2]map[string]float64{}
	}
	a.turn(now)
	seconds := (now.Sub(a.began) + a.long[0]).Seconds()
	if seconds < 1 {
		return nil
	}
	sum := map[string]float64{}
	for _, span := range a.spans {
		for name, n := range span {
			sum[name] += n
		}
	}
	for name, n := range sum {
		if rate := n * sampled / seconds; n >= 4 && rate >= 1 { // seen a few times says nothing
			out = append(out, Asker{name, rate})
		}
	}
	slices.SortFunc(out, func(x, y Asker) int { return cmp.Or(cmp.Compare(y.Rate, x.Rate), cmp.Compare(x.Buyer, y.Buyer)) })
	return out[:min(len(out), most)]
}
