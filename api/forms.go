package api

import (
	"strings"
	"time"

	"github.com/flashsale-engine/flashsale/engine"
)

// The forms below are what buyers read; openapi.yaml describes each. Prices are
// integers in minor units of the sale's currency.

type reservationForm struct {
	ID        string       `json:"id"`
	Sale      string       `json:"sale"`
	Buyer     string       `json:"buyer"`
	State     string       `json:"state"`
	Lines     []lineForm   `json:"lines"`
	Total     engine.Money `json:"total"`
	ExpiresAt *string      `json:"expires_at"` // null once nothing can expire any more
	Seq       uint64       `json:"seq"`
	Order     string       `json:"order,omitempty"`
	Reason    string       `json:"reason,omitempty"`

	NextAction *actionForm `json:"next_action,omitempty"` // while the payment waits for the buyer
}

type actionForm struct {
	Type string `json:"type"`
	URL  string `json:"url"`
}

// actionNeededForm is a checkout that the buyer has to go on with elsewhere.
type actionNeededForm struct {
	State       string          `json:"state"` // action_required
	NextAction  actionForm      `json:"next_action"`
	ExpiresAt   string          `json:"expires_at"`
	Reservation reservationForm `json:"reservation"`
}

type lineForm struct {
	SKU       string `json:"sku"`
	Quantity  int    `json:"quantity"`
	UnitPrice int64  `json:"unit_price"`
}

type pendingForm struct {
	State       string          `json:"state"` // pending
	Reservation reservationForm `json:"reservation"`
}

type orderForm struct {
	ID          string       `json:"id"`
	Reservation string       `json:"reservation"`
	Sale        string       `json:"sale"`
	Buyer       string       `json:"buyer"`
	State       string       `json:"state"`
	Lines       []lineForm   `json:"lines"`
	Total       engine.Money `json:"total"`
	Payment     paymentForm  `json:"payment"`
	PlacedAt    string       `json:"placed_at"`
	Reason      string       `json:"reason,omitempty"`

	Contact *contactForm `json:"contact,omitempty"` // where the buyer asks for the order
}

type paymentForm struct {
	Provider string `json:"provider"`
	State    string `json:"state"`
}

type saleForm struct {
	ID            string     `json:"id"`
	Name          string     `json:"name"`
	State         string     `json:"state"`
	Currency      string     `json:"currency"`
	OpensAt       string     `json:"opens_at,omitempty"`
	ClosesAt      string     `json:"closes_at,omitempty"`
	PerBuyerLimit int        `json:"per_buyer_limit"`
	HoldTTL       string     `json:"hold_ttl"`
	Items         []itemForm `json:"items"`
}

type itemForm struct {
	SKU          string `json:"sku"`
	Title        string `json:"title"`
	UnitPrice    int64  `json:"unit_price"`
	Availability string `json:"availability"`
}

func formReservation(r engine.Reservation) reservationForm {
	f := reservationForm{ID: r.ID.String(), Buyer: r.Buyer, State: string(r.State), Lines: formLines(r.Lines),
		Total: r.Total, Seq: r.Seq, Order: r.Order, Reason: r.Reason}
	if r.Sale != nil {
		f.Sale = r.Sale.ID
	}
	if !r.ExpiresAt.IsZero() {
		at := stamp(r.ExpiresAt)
		f.ExpiresAt = &at
	}
	if a := r.NextAction; a != nil {
		f.NextAction = &actionForm{a.Type, a.URL}
	}
	return f
}

func formOrder(o engine.Order) orderForm {
	return orderForm{ID: o.ID.Order(), Reservation: o.ID.String(), Sale: o.SaleID, Buyer: o.Buyer, State: string(o.State),
		Lines: formLines(o.Lines), Total: o.Total, Payment: paymentForm{o.Provider, string(o.Payment)},
		PlacedAt: stamp(o.PlacedAt), Reason: o.Reason}
}

func formLines(lines []engine.PricedLine) []lineForm {
	out := make([]lineForm, len(lines))
	for i, l := range lines {
		out[i] = lineForm{l.SKU, l.Quantity, l.UnitPrice}
	}
	return out
}

func formSale(s *engine.Sale, counters []engine.Counters) saleForm {
	f := saleForm{ID: s.ID, Name: s.Name, State: string(s.State), Currency: s.Currency, PerBuyerLimit: s.PerBuyerLimit,
		HoldTTL: shortDuration(s.HoldTTL), Items: make([]itemForm, len(s.Items))}
	if !s.OpensAt.IsZero() {
		f.OpensAt = stamp(s.OpensAt)
	}
	if !s.ClosesAt.IsZero() {
		f.ClosesAt = stamp(s.ClosesAt)
	}
	available := make(map[uint16]engine.Counters, len(counters))
	for _, c := range counters {
		available[c.No] = c
	}
	for i, it := range s.Items {
		c, counted := available[it.No]
		if !counted && s.Epoch == 0 { // not at the gate yet: all of it will be there
			c = engine.Counters{Stock: it.Stock, Available: it.Stock}
		}
		f.Items[i] = itemForm{it.SKU, it.Title, it.UnitPrice, availability(c)}
	}
	return f
}

// lowUnits is how many units are few, however small the stock was.
const lowUnits = 5

// availability says coarsely how much is left, so that nobody can read a
// storefront's stock from its page: none; low for at most five units or a tenth
// of the stock; else high. Units held by others count as gone; they may return.
func availability(c engine.Counters) string {
	switch {
	case c.Available <= 0:
		return "none"
	case c.Available <= lowUnits || c.Available*10 <= c.Stock:
		return "low"
	}
	return "high"
}

// stamp gives a time as RFC 3339 in UTC with milliseconds.
func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

// shortDuration gives 2m, not 2m0s.
func shortDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
