package engine

import (
	"slices"
	"time"
)

// Line is units of one SKU in a cart, by the SKU's number in its sale.
type Line struct {
	No       uint16
	Quantity int
}

// Hold is a reservation as the gate knows it.
type Hold struct {
	ID        ReservationID
	State     ReservationState // held, paying, accepted, released or expired
	Lines     []Line           // sorted by number, each SKU once
	ExpiresAt time.Time        // the deadline of a held one; the cap of a paying one; when a final one ended
	Seq       uint64           // its place in the shard's order of decisions within the epoch
	Attempts  int              // payment attempts begun
	Fence     Fence            // the last attempt begun; zero if none
	Replayed  bool             // the call repeated an earlier one and changed nothing
	OwnEnd    time.Time        // of a paying one that a rebuild puts back: its deadline once it is returned; zero: by its sale's terms
}

// Reservation is what a buyer sees.
type Reservation struct {
	ID        ReservationID
	Sale      *Sale
	Buyer     string
	State     ReservationState
	Lines     []PricedLine
	Total     Money
	ExpiresAt time.Time // zero once final
	Seq       uint64
	Order     string // the order's public id once confirmed
	Reason    string // why a refused one was refused
	Replayed  bool

	NextAction *NextAction // set while its payment waits for the buyer
}

// PricedLine is a line with its name and price, in minor units.
type PricedLine struct {
	No        uint16 `json:"no"`
	SKU       string `json:"sku"`
	Quantity  int    `json:"quantity"`
	UnitPrice int64  `json:"unit_price"`
}

// CartLine is a line as a buyer asks for it.
type CartLine struct {
	SKU      string
	Quantity int
}

// Cart checks a buyer's lines against a sale and gives them summed by SKU and
// sorted by number: one SKU twice in a cart counts once, with both quantities.
func (s *Sale) Cart(lines []CartLine) ([]Line, error) {
	return s.appendCart(make([]Line, 0, min(len(lines), MaxLines)), lines)
}

func (s *Sale) appendCart(out []Line, lines []CartLine) ([]Line, error) {
	if len(lines) == 0 || len(lines) > MaxLines {
		return nil, E(CodeInvalidRequest, "lines: a cart has 1 to %d lines, not %d", MaxLines, len(lines)).With("field", "lines")
	}
next:
	for i, l := range lines {
		it, ok := s.Item(l.SKU)
		if !ok {
			return nil, E(CodeInvalidRequest, "lines[%d].sku: the sale has no SKU %q", i, clip(l.SKU)).With("field", "lines")
		}
		if l.Quantity < 1 || l.Quantity > MaxQuantity {
			return nil, E(CodeInvalidRequest, "lines[%d].quantity: %d is not between 1 and %d", i, l.Quantity, MaxQuantity).With("field", "lines")
		}
		for j := range out {
			if out[j].No == it.No {
				out[j].Quantity += l.Quantity
				continue next
			}
		}
		out = append(out, Line{No: it.No, Quantity: l.Quantity})
	}
	slices.SortFunc(out, func(a, b Line) int { return int(a.No) - int(b.No) })
	total := 0
	for _, l := range out {
		total += l.Quantity
	}
	if total > s.PerBuyerLimit {
		return nil, E(CodeBuyerLimit, "%d units asked for; the sale allows %d per buyer", total, s.PerBuyerLimit).With("limit", s.PerBuyerLimit)
	}
	return out, nil
}

// Price names and prices lines and gives their total.
func (s *Sale) Price(lines []Line) ([]PricedLine, Money) {
	return s.appendPrices(make([]PricedLine, 0, len(lines)), lines)
}

func (s *Sale) appendPrices(out []PricedLine, lines []Line) ([]PricedLine, Money) {
	total := Money{Currency: s.Currency}
	for _, l := range lines {
		p := PricedLine{No: l.No, Quantity: l.Quantity}
		if int(l.No) < len(s.Items) && s.Items[l.No].No == l.No {
			p.SKU, p.UnitPrice = s.Items[l.No].SKU, s.Items[l.No].UnitPrice
		}
		total.Amount += p.UnitPrice * int64(l.Quantity)
		out = append(out, p)
	}
	return out, total
}

func sameLines(a, b []Line) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}
