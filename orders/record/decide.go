package record

import (
	"fmt"
	"math"
	"time"

	"github.com/flashsale-engine/flashsale/engine"
)

type skuKey struct {
	sale uint32
	no   uint16
}

// skuRow is a locked SKU row; sold moves as the batch is decided.
type skuRow struct {
	name        string
	price       int64
	stock, sold int64
	added       int64 // units this batch sells
}

type saleRow struct{ id, currency string }

// decision is what the record knows when a batch begins, and what the batch does.
// Everything it knows is locked, so nobody can make it wrong before the COMMIT.
type decision struct {
	now      time.Time // Postgres' clock
	sales    map[uint32]saleRow
	skus     map[skuKey]*skuRow
	ended    map[engine.AttemptID]bool               // payments that are over, without an order
	existing map[engine.ReservationID]engine.Outcome // orders from before, and from earlier in the batch

	orders  []order
	decided []Decided
	dead    []dead
}

// order is a row to write.
type order struct {
	*Event
	state    engine.ReservationState
	reason   string
	publicID string // set when the row is written
}

// dead is an entry that becomes no order, and why.
type dead struct {
	*Entry
	reason, detail string
}

func newDecision(entries int) *decision {
	return &decision{
		sales: map[uint32]saleRow{}, skus: map[skuKey]*skuRow{}, ended: map[engine.AttemptID]bool{}, existing: make(map[engine.ReservationID]engine.Outcome, entries),
		orders: make([]order, 0, entries), decided: make([]Decided, 0, entries),
	}
}

// decide takes one entry, in the order of the stream.
func (d *decision) decide(e *Entry) {
	if e.Reason == Marked {
		return
	}
	if e.Reason != "" {
		d.dead = append(d.dead, dead{e, e.Reason, e.Detail})
		return
	}
	ev := &e.Event
	if o, ok := d.existing[ev.ID]; ok {
		d.decided = append(d.decided, Decided{Outcome: o, ReplyTo: ev.ReplyTo, Repeated: true})
		return
	}
	if reason, detail := d.check(ev); reason != "" {
		d.dead = append(d.dead, dead{e, reason, detail})
		return
	}
	if d.ended[ev.Attempt] {
		// It makes no order, refused or not: another payment of the reservation may.
		// So nobody is told, for whoever waits may wait for that one.
		outcome := engine.Outcome{ID: ev.ID, State: engine.Refused, Provider: ev.Provider, Payment: engine.PaymentVoided, Reason: PaymentEnded, PlacedAt: d.now}
		d.decided = append(d.decided, Decided{Outcome: outcome})
		return
	}
	o := order{Event: ev, state: engine.Confirmed}
	if !d.sell(ev) {
		o.state, o.reason = engine.Refused, StockExhausted
	}
	outcome := engine.Outcome{
		ID: ev.ID, State: o.state, Provider: ev.Provider,
		Payment: engine.PaymentAuthorised, Reason: o.reason, PlacedAt: d.now,
	}
	d.orders = append(d.orders, o)
	d.existing[ev.ID] = outcome
	d.decided = append(d.decided, Decided{Outcome: outcome, ReplyTo: ev.ReplyTo})
}

// check compares an event with the sale's terms. They are fixed once a sale is
// armed, so an event that disagrees was not made from this sale.
func (d *decision) check(ev *Event) (reason, detail string) {
	sale, ok := d.sales[ev.ID.Sale]
	if !ok || sale.id != ev.SaleID {
		return DeadUnknownSale, fmt.Sprintf("no sale number %d called %q", ev.ID.Sale, ev.SaleID)
	}
	if ev.Total.Currency != sale.currency {
		return DeadPriceMismatch, fmt.Sprintf("currency %q, the sale's is %q", ev.Total.Currency, sale.currency)
	}
	var total int64
	for _, l := range ev.Lines {
		row, ok := d.skus[skuKey{ev.ID.Sale, l.No}]
		if !ok || row.name != l.SKU {
			return DeadUnknownSKU, fmt.Sprintf("the sale has no SKU number %d called %q", l.No, l.SKU)
		}
		if l.UnitPrice != row.price {
			return DeadPriceMismatch, fmt.Sprintf("SKU %q: unit_price %d, the sale's is %d", l.SKU, l.UnitPrice, row.price)
		}
		if l.Quantity < 1 || row.price > 0 && int64(l.Quantity) > (math.MaxInt64-total)/row.price {
			return DeadPriceMismatch, fmt.Sprintf("SKU %q: quantity %d", l.SKU, l.Quantity)
		}
		total += row.price * int64(l.Quantity)
	}
	if total != ev.Total.Amount {
		return DeadPriceMismatch, fmt.Sprintf("total %d, its lines come to %d", ev.Total.Amount, total)
	}
	return "", ""
}

// sell takes the units of every line, or of none.
func (d *decision) sell(ev *Event) bool {
	for i, l := range ev.Lines {
		row, units := d.skus[skuKey{ev.ID.Sale, l.No}], int64(l.Quantity)
		if row.stock-row.sold < units {
			for _, back := range ev.Lines[:i] {
				d.skus[skuKey{ev.ID.Sale, back.No}].move(-int64(back.Quantity))
			}
			return false
		}
		row.move(units)
	}
	return true
}

func (r *skuRow) move(units int64) {
	r.sold += units
	r.added += units
}

func (d *decision) result(b Batch) Result {
	r := Result{Decided: d.decided, Next: b.next(), Dead: map[string]int{}}
	for _, x := range d.dead {
		r.Dead[x.reason]++
	}
	return r
}
