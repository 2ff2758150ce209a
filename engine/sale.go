package engine

import (
	"encoding/binary"
	"fmt"
	"regexp"
	"time"
)

// Limits of a sale, enforced by ValidateSale. Units are units of stock.
const (
	MaxItems       = 10_000        // SKUs of one sale
	MaxStock       = 1_000_000_000 // units of one SKU
	MaxUnitPrice   = 1_000_000_000 // minor units
	MaxLines       = 16            // distinct SKUs of one cart
	MaxQuantity    = 100           // units of one cart line, and the highest per-buyer limit
	MaxShards      = 64            // slices of one sale's stock
	MinHoldTTL     = time.Second
	MaxHoldCap     = 24 * time.Hour
	PaymentMargin  = 5 * time.Second // between a payment call's time-out and the hold's cap
	DefaultHoldTTL = 2 * time.Minute
	DefaultHoldCap = 10 * time.Minute
)

// Sale is one time-boxed event. A *Sale is an immutable snapshot: share it, do
// not change it.
type Sale struct {
	No            uint32 // the sale's number: short, unique, part of every id and key
	ID            string // the name that the storefront chose
	Name          string
	Currency      string // ISO 4217
	State         SaleState
	Epoch         int64     // the gate's generation; 0 before the sale is armed; of its newest shard, see Lease
	OpensAt       time.Time // zero: opened by hand
	ClosesAt      time.Time // zero: ended by hand
	HoldTTL       time.Duration
	HoldCap       time.Duration // absolute life of a hold, payment included
	PerBuyerLimit int           // units per buyer, held, paying and sold together
	Shards        int           // slices of the stock, each in a hash slot of its own
	Items         []Item
	Admission     *Admission  // the waiting room; nil: there is none
	Secret        [16]byte    // keys the buyer hash; never leaves the engine
	Version       int64       // rises with each change of the record's copy
	Leases        []GateLease // by shard; none: every shard is of Epoch, on whatever server
	Repairs       []Repair    // by shard; none: no gate of the sale was ever lost

	bySKU map[string]uint16 // of a sale with many SKUs; see Index
}

// Item is one SKU of a sale.
type Item struct {
	No        uint16 // its number in the sale, from 0, never reused
	SKU       string
	Title     string
	UnitPrice int64 // minor units of the sale's currency
	Stock     int64 // units put up
}

// Index makes Item fast for a sale with many SKUs. Whoever reads a sale from
// the record calls it before anybody shares the sale.
func (s *Sale) Index() {
	const few = 16 // a walk over these is as fast
	if len(s.Items) <= few {
		return
	}
	s.bySKU = make(map[string]uint16, len(s.Items))
	for i, it := range s.Items {
		s.bySKU[it.SKU] = uint16(i)
	}
}

// GateLease is what the record has granted the gate for one shard of a sale: the
// generation of its keys, and the server that holds them. Every call to the gate
// carries it, and another generation or another server decides nothing.
type GateLease struct {
	Epoch  int64
	Server string // what GateRepair.Server gave; "": any
}

// Lease gives the lease of one shard.
func (s *Sale) Lease(shard int) GateLease {
	if shard < len(s.Leases) {
		return s.Leases[shard]
	}
	return GateLease{Epoch: s.Epoch}
}

// Repair is what the record knows of a shard's gate beside its lease.
type Repair struct {
	Frozen  time.Time     // since when it has been frozen; zero: it is open
	Reason  string        // why it is frozen
	Granted time.Time     // when its present epoch began; zero: it is the first
	Opened  time.Time     // when it was open again under it; zero: it is frozen, or it was never lost
	Took    time.Duration // how long it was frozen the last time
}

// Repair gives what is known of one shard.
func (s *Sale) Repair(shard int) (r Repair) {
	if shard < len(s.Repairs) {
		r = s.Repairs[shard]
	}
	return r
}

// Home gives a buyer's home shard, which decides everything about that buyer.
func (s *Sale) Home(b BuyerKey) int {
	if s.Shards <= 1 {
		return 0
	}
	return int(binary.BigEndian.Uint64(b[:]) % uint64(s.Shards))
}

// Item finds a SKU by name.
func (s *Sale) Item(sku string) (Item, bool) {
	// Looked up and then checked: a copy of a sale may have other items.
	if at, ok := s.bySKU[sku]; ok && int(at) < len(s.Items) && s.Items[at].SKU == sku {
		return s.Items[at], true
	}
	for _, it := range s.Items {
		if it.SKU == sku {
			return it, true
		}
	}
	return Item{}, false
}

// ItemByNo finds a SKU by number: Items are ordered by number.
func (s *Sale) ItemByNo(no uint16) (Item, bool) {
	if int(no) < len(s.Items) && s.Items[no].No == no {
		return s.Items[no], true
	}
	return Item{}, false
}

// Accepting says whether buyers may reserve at time now.
func (s *Sale) Accepting(now time.Time) bool {
	if !s.ClosesAt.IsZero() && !now.Before(s.ClosesAt) {
		return false
	}
	return s.State == SaleOpen || s.State == SaleArmed && !s.OpensAt.IsZero() && !now.Before(s.OpensAt)
}

// Money is an amount in minor units (cents of USD, yen of JPY).
type Money struct {
	Amount   int64  `json:"amount"`
	Currency string `json:"currency"`
}

var (
	saleIDForm   = regexp.MustCompile(`^[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?$`)
	skuForm      = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)
	currencyForm = regexp.MustCompile(`^[A-Z]{3}$`)
)

// ValidateSale checks the terms of a sale and says, field by field, what to change.
func ValidateSale(s *Sale, paymentTimeout time.Duration) error {
	bad := func(field, format string, args ...any) error {
		return E(CodeInvalidRequest, field+": "+format, args...).With("field", field)
	}
	switch {
	case !saleIDForm.MatchString(s.ID):
		return bad("sale", "%q is not a sale id: lower-case letters, digits and inner hyphens, at most 64", clip(s.ID))
	case s.Name == "" || len(s.Name) > 200:
		return bad("name", "must have 1 to 200 bytes")
	case !currencyForm.MatchString(s.Currency):
		return bad("currency", "%q is not an ISO 4217 code such as USD", clip(s.Currency))
	case s.HoldTTL < MinHoldTTL:
		return bad("hold_ttl", "%s is shorter than the shortest hold, %s", s.HoldTTL, MinHoldTTL)
	case s.HoldCap > MaxHoldCap:
		return bad("hold_cap", "%s is longer than the longest, %s", s.HoldCap, MaxHoldCap)
	case s.HoldCap < s.HoldTTL:
		return bad("hold_cap", "%s must not be below hold_ttl %s", s.HoldCap, s.HoldTTL)
	case s.HoldCap <= s.HoldTTL+paymentTimeout+PaymentMargin:
		return bad("hold_cap", "%s must exceed hold_ttl %s + payment time-out %s + margin %s: a payment begun in the hold's last moment needs them",
			s.HoldCap, s.HoldTTL, paymentTimeout, PaymentMargin)
	case s.PerBuyerLimit < 1 || s.PerBuyerLimit > MaxQuantity:
		return bad("per_buyer_limit", "%d is not between 1 and %d", s.PerBuyerLimit, MaxQuantity)
	case s.Shards < 1 || s.Shards > MaxShards:
		return bad("shards", "%d is not between 1 and %d", s.Shards, MaxShards)
	case !s.OpensAt.IsZero() && !s.ClosesAt.IsZero() && !s.OpensAt.Before(s.ClosesAt):
		return bad("closes_at", "must be after opens_at")
	case len(s.Items) == 0 || len(s.Items) > MaxItems:
		return bad("items", "a sale has 1 to %d SKUs, not %d", MaxItems, len(s.Items))
	}
	if err := validateAdmission(s.Admission, bad); err != nil {
		return err
	}
	seen := make(map[string]bool, len(s.Items))
	for i, it := range s.Items {
		if what := it.Fault(); what != "" {
			return bad("items", "item %d: %s", i, what)
		}
		if seen[it.SKU] {
			return bad("items", "SKU %q is listed twice", it.SKU)
		}
		seen[it.SKU] = true
	}
	return nil
}

// Fault says what is wrong with an item by itself; "": nothing.
func (it Item) Fault() string {
	switch {
	case !skuForm.MatchString(it.SKU):
		return fmt.Sprintf("%q is not a SKU: letters, digits, dot, hyphen and underscore, at most 64", clip(it.SKU))
	case len(it.Title) > 200:
		return fmt.Sprintf("SKU %q: title exceeds 200 bytes", it.SKU)
	case it.UnitPrice < 0 || it.UnitPrice > MaxUnitPrice:
		return fmt.Sprintf("SKU %q: unit_price %d is not between 0 and %d minor units", it.SKU, it.UnitPrice, MaxUnitPrice)
	case it.Stock < 0 || it.Stock > MaxStock:
		return fmt.Sprintf("SKU %q: stock %d is not between 0 and %d", it.SKU, it.Stock, MaxStock)
	}
	return ""
}

// clip shortens a stranger's text before it enters a message.
func clip(s string) string {
	if len(s) > 40 {
		return s[:40] + "…"
	}
	return s
}

// Counters are one SKU's units at the gate: in one shard, or over all of them.
// At every instant Stock == Available + Held + Paying + Sold + InFlight.
type Counters struct {
	No        uint16
	SKU       string
	Stock     int64 // over all shards, what they were allotted: transfers do not change it
	Available int64
	Held      int64
	Paying    int64
	Sold      int64
	InFlight  int64 // left one shard and not yet in another; 0 in a shard
}

// Conserved says whether the counters add up and none is negative.
func (c Counters) Conserved() bool {
	return c.Available >= 0 && c.Held >= 0 && c.Paying >= 0 && c.Sold >= 0 && c.InFlight >= 0 &&
		c.Stock == c.Available+c.Held+c.Paying+c.Sold+c.InFlight
}

// ShardCounters are one shard's units, SKU by SKU.
type ShardCounters struct {
	Shard int
	Items []Counters
}

// Transfer is units on their way from one shard of a sale to another.
type Transfer struct {
	From, To int
	Number   int64 // its place among the transfers of this pair, from 1
	No       uint16
	Units    int64
}

// ShardView is a sale's shards, all read so that every unit is seen once: in a
// shard, or in flight.
type ShardView struct {
	Total  []Counters
	Shards []ShardCounters
	Open   []Transfer // journalled and not closed; some may have arrived
}
