package engine

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestAnIDSurvivesItsTextAndItsBytes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		id := ReservationID{
			Sale:    rapid.Uint32().Draw(t, "sale"),
			Created: TimeZero + rapid.Int64Range(0, 1<<40-1).Draw(t, "created"),
		}
		copy(id.Buyer[:], rapid.SliceOfN(rapid.Byte(), 8, 8).Draw(t, "buyer"))
		copy(id.Nonce[:], rapid.SliceOfN(rapid.Byte(), 8, 8).Draw(t, "nonce"))
		if back, ok := ParseReservationID(id.String()); !ok || back != id {
			t.Fatalf("%v reads back as %v", id, back)
		}
		if back, ok := ParseOrderID(id.Order()); !ok || back != id {
			t.Fatalf("order %s reads back as %v", id.Order(), back)
		}
		if _, ok := ParseOrderID(id.String()); ok {
			t.Fatal("a reservation's id passes for an order's")
		}
	})
}

func TestIDsSortBySaleThenTime(t *testing.T) {
	a := ReservationID{Sale: 1, Created: TimeZero + 5}.String()
	b := ReservationID{Sale: 1, Created: TimeZero + 6}.String()
	c := ReservationID{Sale: 2, Created: TimeZero}.String()
	if a >= b || b >= c {
		t.Errorf("%s, %s, %s are out of order", a, b, c)
	}
}

func FuzzParseReservationIDNeverPanicsAndAcceptsOnlyItsOwnText(f *testing.F) {
	f.Add(ReservationID{Sale: 1, Created: TimeZero}.String())
	f.Add("rsv_")
	f.Fuzz(func(t *testing.T, s string) {
		if id, ok := ParseReservationID(s); ok && id.String() != s {
			t.Fatalf("%q is accepted and prints as %q", s, id)
		}
	})
}

func aSale() *Sale {
	return &Sale{No: 1, ID: "drop", Name: "Drop", Currency: "USD", State: SaleOpen, Epoch: 1, HoldTTL: 2 * time.Minute, HoldCap: 10 * time.Minute, PerBuyerLimit: 4, Shards: 1,
		Items: []Item{{No: 0, SKU: "A", UnitPrice: 100, Stock: 10}, {No: 1, SKU: "B", UnitPrice: 250, Stock: 10}}}
}

func TestACartSumsOneSKUNamedTwice(t *testing.T) {
	lines, err := aSale().Cart([]CartLine{{"B", 1}, {"A", 1}, {"B", 2}})
	if err != nil {
		t.Fatal(err)
	}
	if want := []Line{{0, 1}, {1, 3}}; !sameLines(lines, want) {
		t.Errorf("got %v, want %v", lines, want)
	}
	priced, total := aSale().Price(lines)
	if total != (Money{850, "USD"}) || priced[1].SKU != "B" {
		t.Errorf("priced %v, total %v", priced, total)
	}
}

func TestACartIsRefusedWithTheReason(t *testing.T) {
	for name, c := range map[string]struct {
		lines []CartLine
		code  Code
		says  string
	}{
		"no lines":               {nil, CodeInvalidRequest, "1 to 16 lines"},
		"too many lines":         {make([]CartLine, 17), CodeInvalidRequest, "not 17"},
		"unknown SKU":            {[]CartLine{{"C", 1}}, CodeInvalidRequest, `no SKU "C"`},
		"zero units":             {[]CartLine{{"A", 0}}, CodeInvalidRequest, "lines[0].quantity"},
		"negative units":         {[]CartLine{{"A", 1}, {"B", -1}}, CodeInvalidRequest, "lines[1].quantity"},
		"a huge quantity":        {[]CartLine{{"A", 1 << 40}}, CodeInvalidRequest, "not between"},
		"more than the limit":    {[]CartLine{{"A", 3}, {"B", 2}}, CodeBuyerLimit, "allows 4"},
		"the limit in two lines": {[]CartLine{{"A", 3}, {"A", 2}}, CodeBuyerLimit, "5 units"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := aSale().Cart(c.lines)
			if CodeOf(err) != c.code || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v, want %s … %s", err, c.code, c.says)
			}
		})
	}
}

func TestSaleTermsAreCheckedFieldByField(t *testing.T) {
	if err := ValidateSale(aSale(), 5*time.Second); err != nil {
		t.Fatalf("a good sale is refused: %v", err)
	}
	for field, spoil := range map[string]func(*Sale){
		"sale":            func(s *Sale) { s.ID = "Has Spaces" },
		"name":            func(s *Sale) { s.Name = "" },
		"currency":        func(s *Sale) { s.Currency = "usd" },
		"hold_ttl":        func(s *Sale) { s.HoldTTL = 999 * time.Millisecond },
		"hold_cap":        func(s *Sale) { s.HoldCap = s.HoldTTL + 10*time.Second }, // equal to the sum is not enough
		"per_buyer_limit": func(s *Sale) { s.PerBuyerLimit = 0 },
		"shards":          func(s *Sale) { s.Shards = MaxShards + 1 },
		"closes_at":       func(s *Sale) { s.OpensAt = time.Unix(9, 0); s.ClosesAt = time.Unix(9, 0) },
		"items":           func(s *Sale) { s.Items[1].SKU = "A" },
	} {
		t.Run(field, func(t *testing.T) {
			s := aSale()
			spoil(s)
			err := ValidateSale(s, 5*time.Second)
			var x *Error
			if !errors.As(err, &x) || x.Fields["field"] != field {
				t.Errorf("got %v, want a refusal of %s", err, field)
			}
		})
	}
}

func TestAnArmedSaleOpensAndClosesByTheClock(t *testing.T) {
	s := aSale()
	s.State, s.OpensAt, s.ClosesAt = SaleArmed, time.Unix(100, 0), time.Unix(200, 0)
	for at, want := range map[int64]bool{99: false, 100: true, 199: true, 200: false} {
		if got := s.Accepting(time.Unix(at, 0)); got != want {
			t.Errorf("at %d accepting is %v", at, got)
		}
	}
	s.OpensAt = time.Time{}
	if s.Accepting(time.Unix(150, 0)) {
		t.Error("an armed sale without opens_at opened by itself")
	}
}

func TestErrorsKeepTheirCauseAndCompareByCode(t *testing.T) {
	cause := fmt.Errorf("%w: %w", ErrUnknown, context.DeadlineExceeded)
	err := fmt.Errorf("while claiming: %w", Wrap(cause, CodeUnavailable, "redis"))
	if !errors.Is(err, ErrUnknown) || !errors.Is(err, context.DeadlineExceeded) {
		t.Error("the cause is lost")
	}
	if !errors.Is(err, E(CodeUnavailable, "")) || errors.Is(err, E(CodeSoldOut, "")) {
		t.Error("codes do not compare")
	}
	if CodeOf(err) != CodeUnavailable || CodeOf(errors.New("x")) != CodeInternal || CodeOf(nil) != "" || !Transient(err) {
		t.Error("classification is wrong")
	}
}

func TestAnAttemptFollowsFromReservationAndKey(t *testing.T) {
	id := ReservationID{Sale: 1, Created: TimeZero + 1}
	other := id
	other.Created++
	a := NewAttemptID(id, "k")
	if a != NewAttemptID(id, "k") {
		t.Error("the same checkout is two attempts")
	}
	if a == NewAttemptID(id, "l") || a == NewAttemptID(other, "k") {
		t.Error("two checkouts are one attempt")
	}
	if back, ok := ParseAttemptID(a.String()); !ok || back != a {
		t.Error("an attempt's id does not read back")
	}
}

func TestASKUIsFoundAmongMany(t *testing.T) {
	s := aSale()
	s.Items = nil
	for i := range 1000 {
		s.Items = append(s.Items, Item{No: uint16(i), SKU: fmt.Sprint("SKU-", i)})
	}
	s.Index()
	other := *s
	other.Items = []Item{{SKU: "SKU-9"}, {No: 1, SKU: "new"}}
	for sku, want := range map[string]uint16{"SKU-0": 0, "SKU-999": 999, "SKU-500": 500} {
		if it, ok := s.Item(sku); !ok || it.No != want {
			t.Errorf("%s: %v %v", sku, it, ok)
		}
	}
	if it, ok := other.Item("SKU-9"); !ok || it.No != 0 {
		t.Errorf("in a copy with other items: %v %v", it, ok)
	}
	if _, ok := other.Item("SKU-1"); ok {
		t.Error("a copy finds what it does not have")
	}
	if n := testing.AllocsPerRun(100, func() { s.Item("SKU-999") }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}
