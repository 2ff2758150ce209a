package live

import (
	"time"

	"github.com/flashsale-engine/flashsale/engine"
)

// Live is everything on the operators' one screen at a moment. What is not known is
// absent: a null, never a zero.
type Live struct {
	At       time.Time `json:"at"` // when it was put together; all ages count from here
	Number   uint64    `json:"number"`
	Node     string    `json:"node"` // whose it is: funnel, steps and needs are this node's own
	Proof    Proof     `json:"proof"`
	Sales    []Sale    `json:"sales"`
	Funnel   []Stage   `json:"funnel"`
	Steps    []Step    `json:"steps"`
	Needs    Needs     `json:"needs"`
	Pressure Pressure  `json:"pressure"`
	Headroom Headroom  `json:"headroom"`
	Buyers   []Asker   `json:"buyers"` // who ask most, by a sample
	Events   []Event   `json:"events"` // newest first
	Silent   []Silence `json:"silent"` // who could not be asked just now
	Point    Point     `json:"point"`
}

// Proof is the four zeros, and how old they are. The counters are compared each
// second; whether every order and payment is there, as often as it costs little.
type Proof struct {
	Oversold int              `json:"oversold"`
	Lost     int              `json:"lost"`
	Drift    int              `json:"drift"`
	Unpaid   int              `json:"unpaid"`
	Fast     *time.Time       `json:"fast_at"` // when the counters were compared last
	Full     *time.Time       `json:"full_at"` // when everything was
	TookMS   int64            `json:"full_took_ms,omitempty"`
	Findings []engine.Finding `json:"findings"` // the first few
}

// Sale is a sale with its units over all nodes.
type Sale struct {
	Sale      string             `json:"sale"`
	Name      string             `json:"name"`
	State     engine.SaleState   `json:"state"`
	Allowed   []engine.SaleState `json:"allowed_states"`
	Epoch     int64              `json:"epoch"`
	Shards    int                `json:"shards"`
	Gate      string             `json:"gate"`               // live, frozen, lost, away, or absent before it is armed
	Why       string             `json:"gate_why,omitempty"` // of a gate that is not live
	OpensAt   *time.Time         `json:"opens_at,omitempty"`
	ClosesAt  *time.Time         `json:"closes_at,omitempty"`
	HoldTTL   float64            `json:"hold_ttl_seconds"`
	HoldCap   float64            `json:"hold_cap_seconds"`
	Limit     int                `json:"per_buyer_limit"`
	ReadAt    *time.Time         `json:"read_at"` // when the gate was read
	Units     *Units             `json:"units"`
	SellRate  *float64           `json:"sell_rate"`         // units sold per second, lately
	TakeRate  *float64           `json:"take_rate"`         // units that left what is available, net
	SoldOutIn *float64           `json:"sold_out_in"`       // seconds, at that rate
	Binds     string             `json:"binds"`             // what limits the sale now
	Because   string             `json:"because,omitempty"` // in a few words
	Room      *Room              `json:"room,omitempty"`
	SKUs      []SKU              `json:"skus"` // the hottest
	SKUCount  int                `json:"sku_count"`
}

// Units add up: Stock = Available + Held + Paying + Sold (+ InFlight between shards).
type Units struct {
	Stock     int64 `json:"stock"`
	Available int64 `json:"available"`
	Held      int64 `json:"held"`
	Paying    int64 `json:"paying"`
	Sold      int64 `json:"sold"`
	InFlight  int64 `json:"in_flight"`
	Conserved bool  `json:"conserved"`
}

// SKU is one of the hottest.
type SKU struct {
	SKU       string  `json:"sku"`
	Title     string  `json:"title,omitempty"`
	Stock     int64   `json:"stock"`
	Available int64   `json:"available"`
	Held      int64   `json:"held"`
	Paying    int64   `json:"paying"`
	Sold      int64   `json:"sold"`
	Rate      float64 `json:"rate"` // units that left per second
}

// Room is a sale's waiting room.
type Room struct {
	State   string   `json:"state"`
	Rate    float64  `json:"rate"`     // places per second
	RateCap float64  `json:"rate_cap"` // the operator's; 0: none
	Paused  bool     `json:"paused"`
	Limit   string   `json:"limit"` // what holds the front back
	Front   int64    `json:"front"`
	Reach   *int64   `json:"reach"` // the last place that stock can reach
	Joined  int64    `json:"joined"`
	Waiting int64    `json:"waiting"`
	Inside  int64    `json:"inside"`
	Took    int64    `json:"took"`
	Left    int64    `json:"left"`
	Wait50  *float64 `json:"wait_p50"` // seconds that those in line now will wait at this rate
	Wait95  *float64 `json:"wait_p95"`
}

// Stage is a step of the funnel, of this node: how many come, and why some go no further.
type Stage struct {
	Name  string   `json:"name"`
	Total float64  `json:"total"`
	Rate  *float64 `json:"rate"` // per second
	Out   []Reason `json:"out"`  // who came no further, by reason, the most first
}

// Reason is why people drop out.
type Reason struct {
	Why   string   `json:"why"`
	Total float64  `json:"total"`
	Rate  *float64 `json:"rate"`
}

// Step is how long something takes on this node, in seconds, over the last ten.
type Step struct {
	Name string   `json:"name"`
	Rate *float64 `json:"rate"`
	P50  *float64 `json:"p50"`
	P99  *float64 `json:"p99"`
	P999 *float64 `json:"p999"`
}

// Pressure is how full this node's door is.
type Pressure struct {
	Asking     *float64 `json:"asking"`       // requests for stock under way
	Most       *float64 `json:"asking_limit"` // that may be
	Overloaded *float64 `json:"overloaded"`   // told so, per second
	Limited    *float64 `json:"rate_limited"` // told so, per second
}

// Need is one figure about something that the engine depends on.
type Need struct {
	Name  string   `json:"name"`
	Unit  string   `json:"unit"` // share, seconds, count or per_second
	Value *float64 `json:"value"`
	Warn  float64  `json:"warn,omitempty"` // from here on it is worth a look
	Bad   float64  `json:"bad,omitempty"`
}

// Breaker is the circuit breaker around something outside, as this node meets it.
type Breaker struct {
	Name     string   `json:"name"`
	State    string   `json:"state"` // closed, half-open or open
	Forced   string   `json:"forced,omitempty"`
	InFlight float64  `json:"in_flight"`
	Limit    float64  `json:"limit"`
	Rate     *float64 `json:"rate"`
	Failing  *float64 `json:"failing"` // calls per second without an answer or with a failure
}

// Needs are what the engine depends on.
type Needs struct {
	Redis    []Need    `json:"redis"`
	Kafka    []Need    `json:"kafka"`
	Postgres []Need    `json:"postgres"`
	Payment  []Need    `json:"payment"`
	Breakers []Breaker `json:"breakers"`
}

// Headroom is how far it is to what this can do: as it is measured now, and as the
// capacity model has it.
type Headroom struct {
	Used   *float64 `json:"used"` // of what is used most; above 1 is beyond it
	By     string   `json:"by"`   // what that is
	Shares []Share  `json:"shares"`
	Knee   *Knee    `json:"knee,omitempty"` // absent without a capacity model, or before there are rates
}

// Knee is what a capacity model says of what comes to this node now.
type Knee struct {
	Used     Interval `json:"used"`     // share of what fits before the knee, of the same mix
	Binds    string   `json:"binds"`    // what gets there first
	Rate     float64  `json:"rate"`     // requests for stock now, per second
	Most     Interval `json:"most"`     // at the knee; zero while there are checkouts only
	Measured string   `json:"measured"` // when the model was
	On       string   `json:"on"`       // the processor it was measured on
}

// Interval is a figure and how sure it is.
type Interval struct {
	Value float64 `json:"value"`
	Low   float64 `json:"low"`
	High  float64 `json:"high"`
}

// Mix is what comes to this node per second.
type Mix struct {
	Decided float64 // requests for stock that the gate decided
	Refused float64 // those that the node answered by itself
	Bought  float64 // checkouts that were accepted
}

// Share is how much of one thing is used.
type Share struct {
	Name string   `json:"name"`
	Used *float64 `json:"used"`
}

// Asker is a buyer who asks a lot, by a sample of requests.
type Asker struct {
	Buyer string  `json:"buyer"`
	Rate  float64 `json:"rate"` // requests per second, estimated
}

// Event is a fault, or what an operator or the clock did.
type Event struct {
	At     time.Time `json:"at"`
	Kind   string    `json:"kind"` // fault, over (a fault's end), act, clock or repair
	What   string    `json:"what"`
	Target string    `json:"target,omitempty"`
	Who    string    `json:"who,omitempty"`
	Why    string    `json:"why,omitempty"`
}

// Silence is somebody who was asked and did not answer.
type Silence struct {
	Who   string     `json:"who"`
	Error string     `json:"error"`
	Since *time.Time `json:"since"` // the last answer; null: there was none
}

// Point is what is drawn over time. The collector keeps some minutes of them.
type Point struct {
	At      time.Time          `json:"at"`
	Asked   *float64           `json:"asked"` // per second, this node
	Refused *float64           `json:"refused"`
	Held    *float64           `json:"held"`
	Sold    *float64           `json:"sold"`
	P99     map[string]float64 `json:"p99"` // by step
	Rooms   map[string]float64 `json:"rooms,omitempty"`
	Waiting map[string]float64 `json:"waiting,omitempty"`
	Left    map[string]float64 `json:"left,omitempty"` // available units, by sale
}
