package loadtest

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Step names something whose latency is measured.
type Step string

// The steps. Hold and no are the two answers of reserve, apart: a crowd that
// waits for a "no" is a failure of its own.
const (
	StepReserve  Step = "reserve"  // from the scheduled arrival to the last answer, retries included
	StepHold     Step = "hold"     // the reserve steps that were given units
	StepNo       Step = "no"       // the reserve steps that were refused: sold out, or buyer limit
	StepCheckout Step = "checkout" // from when the buyer meant to pay to the answer, retries included
	StepBrowse   Step = "browse"   // one look at the sale's page
	StepQueue    Step = "queue"    // from joining the waiting room to the admission
	StepBot      Step = "bot"      // a bot's reservations, whose latency is its own business
	StepRelease  Step = "release"  // a hold given back
	StepPoll     Step = "poll"     // one question after a pending checkout
	StepOrder    Step = "order"    // one read-back after the load
	StepJourney  Step = "journey"  // from the scheduled arrival to the order, hesitation included
	StepDriver   Step = "driver"   // how late the driver itself was in starting a visit
)

var steps = []Step{StepBrowse, StepQueue, StepReserve, StepHold, StepNo, StepBot, StepCheckout, StepRelease, StepPoll, StepJourney, StepOrder, StepDriver}

// Outcome is one kind of answer to one step. Status 0 means that none came.
type Outcome struct {
	Step   Step   `json:"step"`
	Status int    `json:"status"`
	Code   string `json:"code"`
}

func (o Outcome) String() string {
	if o.Status == 0 {
		return fmt.Sprintf("%s %s", o.Step, o.Code)
	}
	return fmt.Sprintf("%s %d %s", o.Step, o.Status, o.Code)
}

// purchase is a confirmed order, as its buyer was told.
type purchase struct {
	order, reservation string
	buyer              int
	sku                string
	units              int
}

// maxLatency is the longest that a histogram holds; longer ones count as it.
const maxLatency = time.Hour

// maxWrongs bounds how many contradictions are told word by word.
const maxWrongs = 20

// tally counts a run. What the progress line reads is atomic, the rest is
// behind one lock, held for well under a microsecond.
type tally struct {
	arrivals, dropped, inFlight, retries     atomic.Int64
	holds, soldOuts, confirmed, unsuccessful atomic.Int64

	mu           sync.Mutex
	ends         map[Kind]map[End]int64
	answers      map[Outcome]int64
	failures     map[Outcome]int64
	latencies    map[Step]*hdrhistogram.Histogram
	reservations map[string]int // reservation id → arrival
	orders       map[string]int // order id → buyer
	purchases    []purchase
	heldUnits    map[string]int64
	refusedFor   map[string]int64 // SKU → sold_out answers
	wrongs       []string         // answers that contradict the contract or each other
	wrongCount   int64
	timeline     []Moment
	series       series
	marks        []Mark
	samples      []Sample
}

// newTally begins a run's books. length is how long arrivals go on.
func newTally(start time.Time, length time.Duration) *tally {
	t := &tally{
		series: newSeries(start, length),
		ends:   map[Kind]map[End]int64{}, answers: map[Outcome]int64{}, failures: map[Outcome]int64{},
		latencies: map[Step]*hdrhistogram.Histogram{}, reservations: map[string]int{}, orders: map[string]int{},
		heldUnits: map[string]int64{}, refusedFor: map[string]int64{},
	}
	for _, s := range steps {
		t.latencies[s] = hdrhistogram.New(1, maxLatency.Microseconds(), 3)
	}
	return t
}

// due counts an arrival, dropped or not, in the second in which it was due.
func (t *tally) due(at time.Time, dropped bool) {
	t.arrivals.Add(1)
	t.mu.Lock()
	defer t.mu.Unlock()
	c := t.series.at(at)
	c.due++
	if dropped {
		t.dropped.Add(1)
		c.dropped++
	}
}

// latency notes how long a step took that was due at some time.
func (t *tally) latency(s Step, due time.Time, took time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	record(t.latencies[s], took)
	t.series.at(due).latency(s, took)
}

func (t *tally) answered(o Outcome) {
	if !o.expected() {
		t.unsuccessful.Add(1)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.answers[o]++
	t.series.at(time.Now()).answers[o]++
}

func (t *tally) ended(k Kind, e End) {
	switch e {
	case SoldOut:
		t.soldOuts.Add(1)
	case Confirmed:
		t.confirmed.Add(1)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ends[k] == nil {
		t.ends[k] = map[End]int64{}
	}
	t.ends[k][e]++
}

func (t *tally) failed(o Outcome) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.failures[o]++
}

// wrong notes an answer that cannot be right.
func (t *tally) wrong(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.wrongLocked(format, args...)
}

func (t *tally) wrongLocked(format string, args ...any) {
	t.wrongCount++
	if len(t.wrongs) < maxWrongs {
		t.wrongs = append(t.wrongs, fmt.Sprintf(format, args...))
	}
}

func (t *tally) soldOut(sku string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.refusedFor[sku]++
}

func (t *tally) held(reservation string, arrival int, sku string, units int) {
	t.holds.Add(1)
	t.mu.Lock()
	defer t.mu.Unlock()
	if other, ok := t.reservations[reservation]; ok {
		t.wrongLocked("reservation id %s was given to arrival %d and to arrival %d", reservation, other, arrival)
	}
	t.reservations[reservation] = arrival
	t.heldUnits[sku] += int64(units)
}

func (t *tally) bought(p purchase) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if other, ok := t.orders[p.order]; ok {
		t.wrongLocked("order id %s was given to buyer %d and to buyer %d", p.order, other, p.buyer)
	}
	t.orders[p.order] = p.buyer
	t.purchases = append(t.purchases, p)
}

// expected says whether an answer belongs to a sale that goes well. A "no" is
// an answer; being told to wait, or nothing, is not.
func (o Outcome) expected() bool {
	switch o.Step {
	case StepReserve:
		return o.Status == 200 || o.Status == 201 || o.Status == 409 && (o.Code == string(SoldOut) || o.Code == string(BuyerLimit))
	case StepBot: // is told to wait, and should be
		return o.Status == 200 || o.Status == 201 || o.Status == 409 || o.Status == 429 || o.Status == 503 || o.Status == 403
	case StepQueue:
		return o.Status == 200 || o.Status == 201
	case StepCheckout:
		return o.Status >= 200 && o.Status <= 202 || o.Status == 402 ||
			o.Status == 409 && o.Code == "reservation_expired"
	case StepPoll:
		return o.Status == 200 || o.Status == 404
	}
	return o.Status == 200
}
