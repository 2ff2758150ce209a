package loadtest

import (
	"cmp"
	"encoding/json"
	"maps"
	"slices"
	"time"
)

// Report is what a run saw. Every arrival is in exactly one of Dropped,
// SoldOut, BuyerLimit, Abandoned, Confirmed, Declined, NeedsAction, Expired,
// Refused, Pending, Failed, Unfinished, Browsed, TurnedAway and Waiting.
type Report struct {
	Run       string    `json:"run"`
	API       string    `json:"api"`
	Sale      string    `json:"sale"`
	StartedAt time.Time `json:"started_at"`
	ElapsedMS float64   `json:"elapsed_ms"`   // until the last visit ended
	Rate      float64   `json:"rate"`         // arrivals per second asked for; 0: a spike
	Offered   float64   `json:"offered_rate"` // arrivals per second that the driver made; 0 in a spike
	Buyers    int       `json:"buyers"`
	Seed      uint64    `json:"seed"`

	Arrivals    int64 `json:"arrivals"`
	Dropped     int64 `json:"dropped"` // due, but beyond MaxInFlight: never sent
	Holds       int64 `json:"holds"`
	SoldOut     int64 `json:"sold_out"`
	BuyerLimit  int64 `json:"buyer_limit"`
	Abandoned   int64 `json:"abandoned"`
	Confirmed   int64 `json:"confirmed"`
	Declined    int64 `json:"declined"`
	NeedsAction int64 `json:"needs_action"`
	Expired     int64 `json:"expired"`
	Refused     int64 `json:"refused"`
	Pending     int64 `json:"pending"`
	Failed      int64 `json:"failed"`
	Unfinished  int64 `json:"unfinished"`
	Browsed     int64 `json:"browsed"`     // looked, and wanted nothing
	TurnedAway  int64 `json:"turned_away"` // bots that were told to wait until they gave up
	Waiting     int64 `json:"waiting"`     // in the waiting room until their patience, or their turn, was over
	Retries     int64 `json:"retries"`

	Kinds    []KindEnds       `json:"kinds"`
	SKUs     []SKU            `json:"skus"`
	Errors   map[string]int64 `json:"errors"` // answers that a sale which goes well does not give, by "step status code"
	Answers  []Answer         `json:"answers"`
	Latency  []Latency        `json:"latency"`
	Timeline []Moment         `json:"timeline"`
	Series   []Second         `json:"series"`
	Every    int              `json:"series_every_s"`  // how many seconds each of the series is
	Curve    Curve            `json:"curve,omitempty"` // that arrivals were drawn from; none: all at once
	Phases   []Phase          `json:"phases,omitempty"`
	Marks    []Mark           `json:"marks,omitempty"`   // what happened meanwhile
	Samples  []Sample         `json:"samples,omitempty"` // the engine, looked at each second
	SLOs     []Kept           `json:"slos,omitempty"`
	ReadBack ReadBack         `json:"read_back"`
	Verify   json.RawMessage  `json:"verify,omitempty"`   // the engine's own verdict
	Notes    []string         `json:"notes"`              // worth knowing, no failure
	Failures map[string]int64 `json:"failures,omitempty"` // of the buyers who failed, the last answer
	// Contradictions are answers that contradict the contract or each other, the
	// first of them word by word.
	Contradictions []string `json:"contradictions,omitempty"`
	// Orders are the confirmed orders as their buyers were told: what must never be lost.
	Orders  []Told `json:"-"`
	Verdict `json:"verdict"`
}

// SKU is what a run got of one SKU, in units.
type SKU struct {
	SKU       string `json:"sku"`
	Offered   *int64 `json:"offered,omitempty"` // nil: not told to the driver
	Held      int64  `json:"held"`              // ever held in this run
	Confirmed int64  `json:"confirmed"`
	SoldOut   int64  `json:"sold_out"` // answers, not units
}

// KindEnds is how the visits of one kind of buyer ended.
type KindEnds struct {
	Kind   Kind          `json:"kind"`
	Visits int64         `json:"visits"`
	Ends   map[End]int64 `json:"ends"`
}

// Told is an order that a buyer was told is confirmed.
type Told struct {
	Order, Reservation, Buyer, SKU string
	Units                          int
}

// Answer counts one kind of answer.
type Answer struct {
	Outcome
	Count int64 `json:"count"`
}

// Latency is one step's, in milliseconds from the scheduled time.
type Latency struct {
	Step  Step    `json:"step"`
	Count int64   `json:"count"`
	P50   float64 `json:"p50_ms"`
	P95   float64 `json:"p95_ms"`
	P99   float64 `json:"p99_ms"`
	P999  float64 `json:"p999_ms"`
	Max   float64 `json:"max_ms"`
}

// Of gives a step's latency; Count is 0 if the step never happened.
func (r Report) Of(s Step) Latency {
	for _, l := range r.Latency {
		if l.Step == s {
			return l
		}
	}
	return Latency{Step: s}
}

// report sums a run up and judges it.
func (r *run) report(elapsed, dispatched time.Duration, read ReadBack, verify json.RawMessage, verifyErr, cut error) Report {
	t := r.tally
	t.mu.Lock()
	defer t.mu.Unlock()
	kinds, ends := t.endsBy()
	out := Report{
		Kinds: kinds, Browsed: ends[Browsed], TurnedAway: ends[TurnedAway], Waiting: ends[Waiting],
		Run: r.cfg.Run, API: r.cfg.API, Sale: r.cfg.Sale, StartedAt: r.start.UTC(), ElapsedMS: ms(elapsed.Microseconds()),
		Rate: r.cfg.Rate, Buyers: r.cfg.Buyers, Seed: r.cfg.Seed,
		Arrivals: t.arrivals.Load(), Dropped: t.dropped.Load(), Holds: t.holds.Load(), Retries: t.retries.Load(),
		SoldOut: ends[SoldOut], BuyerLimit: ends[BuyerLimit], Abandoned: ends[Abandoned], Confirmed: ends[Confirmed],
		Declined: ends[Declined], NeedsAction: ends[NeedsAction], Expired: ends[Expired], Refused: ends[Refused],
		Pending: ends[Pending], Failed: ends[Failed], Unfinished: ends[Unfinished],
		SKUs: r.skus(), Errors: map[string]int64{}, Failures: map[string]int64{}, Answers: []Answer{}, Latency: []Latency{},
		Timeline: append([]Moment{}, t.timeline...), Series: t.series.seconds(), ReadBack: read, Verify: verify,
	}
	if r.cfg.Rate > 0 && dispatched > 0 {
		// Over the whole window, or over what it took if the driver was late.
		out.Offered = float64(out.Arrivals) / max(dispatched, r.cfg.Duration).Seconds()
	}
	for o, n := range t.answers {
		out.Answers = append(out.Answers, Answer{o, n})
		if !o.expected() {
			out.Errors[o.String()] = n
		}
	}
	slices.SortFunc(out.Answers, func(a, b Answer) int {
		return cmp.Or(slices.Index(steps, a.Step)-slices.Index(steps, b.Step), a.Status-b.Status, cmp.Compare(a.Code, b.Code))
	})
	for _, s := range steps {
		if h := t.latencies[s]; h.TotalCount() > 0 {
			out.Latency = append(out.Latency, summary(s, h))
		}
	}
	for _, p := range t.purchases {
		out.Orders = append(out.Orders, Told{Order: p.order, Reservation: p.reservation, Buyer: r.cfg.buyer(p.buyer), SKU: p.sku, Units: p.units})
	}
	for o, n := range t.failures {
		out.Failures[o.String()] = n
	}
	out.Contradictions = slices.Clone(t.wrongs)
	out.Every = int(t.series.width / time.Second)
	out.Curve, out.Phases, out.Marks, out.Samples = r.cfg.curve(), r.cfg.Phases, slices.Clone(t.marks), slices.Clone(t.samples)
	out.SLOs = kept(r.cfg.SLOs, out)
	out.Notes = r.notes(out)
	out.Verdict = r.judge(out, verifyErr, cut)
	return out
}

// endsBy gives the ends by kind, and in all. The caller holds the tally's lock.
func (t *tally) endsBy() (kinds []KindEnds, all map[End]int64) {
	kinds, all = []KindEnds{}, map[End]int64{}
	for _, k := range Kinds() {
		of := t.ends[k]
		if of == nil {
			continue
		}
		v := KindEnds{Kind: k, Ends: maps.Clone(of)}
		for end, n := range of {
			v.Visits += n
			all[end] += n
		}
		kinds = append(kinds, v)
	}
	return kinds, all
}

func ms(microseconds int64) float64 { return float64(microseconds) / 1000 }

// skus gives the units per SKU, in the order of the settings. The caller holds
// the tally's lock.
func (r *run) skus() []SKU {
	confirmed := map[string]int64{}
	for _, p := range r.tally.purchases {
		confirmed[p.sku] += int64(p.units)
	}
	names := slices.Clone(r.cfg.SKUs)
	for _, p := range r.cfg.Phases {
		names = append(names, p.SKUs...)
	}
	out := make([]SKU, 0, len(names))
	for _, name := range names {
		if slices.ContainsFunc(out, func(s SKU) bool { return s.SKU == name }) {
			continue // named twice, to be wanted twice as often
		}
		s := SKU{SKU: name, Held: r.tally.heldUnits[name], Confirmed: confirmed[name], SoldOut: r.tally.refusedFor[name]}
		if n, ok := r.cfg.Stock[name]; ok {
			s.Offered = &n
		}
		out = append(out, s)
	}
	return out
}
