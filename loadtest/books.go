package loadtest

import (
	"fmt"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// books is a tally on its way from one process to another.
type books struct {
	Arrivals, Dropped, Retries, Holds, SoldOuts, Confirmed, Unsuccessful int64

	Ends              map[Kind]map[End]int64
	Answers, Failures []Answer
	Latencies         map[Step]string // histograms, as HdrHistogram exports them
	Reservations      map[string]int
	Purchases         []Told
	Buyers            []int // of the purchases
	Held, Refused     map[string]int64
	Wrongs            []string
	WrongCount        int64
	Cells             map[int]cellBooks
	DispatchedMS      float64 // how long starting the visits took
}

type cellBooks struct {
	Due, Dropped int64
	Answers      []Answer
	Latencies    map[Step]string
}

func listed(counts map[Outcome]int64) (out []Answer) {
	for o, n := range counts {
		out = append(out, Answer{o, n})
	}
	return out
}

func exported(all map[Step]*hdrhistogram.Histogram) (map[Step]string, error) {
	out := map[Step]string{}
	for s, h := range all {
		if h.TotalCount() == 0 {
			continue
		}
		text, err := h.Encode(hdrhistogram.V2CompressedEncodingCookieBase)
		if err != nil {
			return nil, err
		}
		out[s] = string(text)
	}
	return out, nil
}

// export gives what a tally holds, once its run is over.
func (t *tally) export() (b books, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	b = books{Arrivals: t.arrivals.Load(), Dropped: t.dropped.Load(), Retries: t.retries.Load(), Holds: t.holds.Load(), SoldOuts: t.soldOuts.Load(),
		Confirmed: t.confirmed.Load(), Unsuccessful: t.unsuccessful.Load(), Ends: t.ends, Answers: listed(t.answers), Failures: listed(t.failures),
		Reservations: t.reservations, Held: t.heldUnits, Refused: t.refusedFor, Wrongs: t.wrongs, WrongCount: t.wrongCount, Cells: map[int]cellBooks{}}
	for _, p := range t.purchases {
		b.Purchases = append(b.Purchases, Told{Order: p.order, Reservation: p.reservation, SKU: p.sku, Units: p.units})
		b.Buyers = append(b.Buyers, p.buyer)
	}
	if b.Latencies, err = exported(t.latencies); err != nil {
		return b, err
	}
	for i, c := range t.series.cells {
		v := cellBooks{Due: c.due, Dropped: c.dropped, Answers: listed(c.answers)}
		if v.Latencies, err = exported(c.latencies); err != nil {
			return b, err
		}
		b.Cells[i] = v
	}
	return b, nil
}

// add merges the books of a process, and compares them with those that are here: an id
// that two processes were given is as wrong as one that two buyers of one were.
func (t *tally) add(b books) error {
	if len(b.Buyers) != len(b.Purchases) {
		return fmt.Errorf("loadtest: books with %d purchases of %d buyers", len(b.Purchases), len(b.Buyers))
	}
	for i, p := range b.Purchases {
		t.bought(purchase{order: p.Order, reservation: p.Reservation, buyer: b.Buyers[i], sku: p.SKU, units: p.Units})
	}
	t.arrivals.Add(b.Arrivals)
	t.dropped.Add(b.Dropped)
	t.retries.Add(b.Retries)
	t.holds.Add(b.Holds)
	t.soldOuts.Add(b.SoldOuts)
	t.confirmed.Add(b.Confirmed)
	t.unsuccessful.Add(b.Unsuccessful)
	t.mu.Lock()
	defer t.mu.Unlock()
	for k, ends := range b.Ends {
		if t.ends[k] == nil {
			t.ends[k] = map[End]int64{}
		}
		sum(t.ends[k], ends)
	}
	for _, a := range b.Answers {
		t.answers[a.Outcome] += a.Count
	}
	for _, a := range b.Failures {
		t.failures[a.Outcome] += a.Count
	}
	for id, arrival := range b.Reservations {
		if other, ok := t.reservations[id]; ok {
			t.wrongLocked("reservation id %s was given to arrival %d and to arrival %d", id, other, arrival)
		}
		t.reservations[id] = arrival
	}
	sum(t.heldUnits, b.Held)
	sum(t.refusedFor, b.Refused)
	t.wrongCount += b.WrongCount
	t.wrongs = append(t.wrongs, b.Wrongs[:min(len(b.Wrongs), max(maxWrongs-len(t.wrongs), 0))]...)
	if err := merge(t.latencies, b.Latencies, 3); err != nil {
		return err
	}
	for i, v := range b.Cells {
		c := t.series.cell(i)
		c.due, c.dropped = c.due+v.Due, c.dropped+v.Dropped
		for _, a := range v.Answers {
			c.answers[a.Outcome] += a.Count
		}
		if err := merge(c.latencies, v.Latencies, 2); err != nil {
			return err
		}
	}
	return nil
}

func sum[K comparable](into, from map[K]int64) {
	for k, n := range from {
		into[k] += n
	}
}

func merge(into map[Step]*hdrhistogram.Histogram, from map[Step]string, digits int) error {
	for s, text := range from {
		h, err := hdrhistogram.Decode([]byte(text))
		if err != nil {
			return fmt.Errorf("loadtest: the histogram of %s: %w", s, err)
		}
		if into[s] == nil {
			into[s] = hdrhistogram.New(1, maxLatency.Microseconds(), digits)
		}
		if lost := into[s].Merge(h); lost > 0 {
			return fmt.Errorf("loadtest: the histogram of %s has %d values too many", s, lost)
		}
	}
	return nil
}
