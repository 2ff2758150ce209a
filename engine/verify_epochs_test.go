package engine

import (
	"context"
	"testing"
)

func TestUnitsThatAreClaimedAgainAfterARebuildAreNoDrift(t *testing.T) {
	s := aSale()
	s.Items = s.Items[:1]
	totals := []RecordTotals{{No: 0, Stock: 10, Sold: 3, LedgerStock: 10, LedgerSold: 3, RunningStock: 10, RunningSold: 3, Orders: 3}}
	gate := []Counters{{No: 0, Stock: 10, Available: 6, Paying: 2, Sold: 2}}
	for _, c := range []struct {
		what     string
		counters []Counters
		ordered  map[uint16]int64
		drift    int
	}{
		{"an order whose claim the gate has not seen again", gate, map[uint16]int64{0: 1}, 0},
		{"an order that the gate does not know at all", gate, nil, 1},
		{"a closed sale whose gate is gone", nil, nil, 0},
		{"a gate without the SKU", []Counters{}, nil, 1},
	} {
		var out Verdict
		compare(s, totals, c.counters, c.ordered, &out)
		out.count()
		if out.Drift != c.drift {
			t.Errorf("%s: %+v", c.what, out.Findings)
		}
	}
}

// lostGate is the gate of a sale that is over and whose Redis has been replaced,
// and a record in which all is well.
type lostGate struct {
	GateReader
	RecordAudit
}

func (lostGate) Counters(context.Context, *Sale) ([]Counters, error) {
	return []Counters{}, E(CodeGateFrozen, "another server")
}

func (lostGate) Totals(context.Context, uint32) ([]RecordTotals, error) {
	return []RecordTotals{{Stock: 10, Sold: 3, LedgerStock: 10, LedgerSold: 3, RunningStock: 10, RunningSold: 3, Orders: 3}}, nil
}

func (lostGate) DeadReservations(context.Context, uint32) ([]DeadReservation, error) { return nil, nil }
func (lostGate) Orphans(context.Context, uint32) ([]ReservationID, error)            { return nil, nil }
func (lostGate) Unpaid(context.Context, uint32) ([]UnpaidOrder, error)               { return nil, nil }
func (lostGate) Money(context.Context, uint32) ([]UnpaidOrder, error)                { return nil, nil }

func TestTheRecordOfAClosedSaleStandsAloneWhenItsGateIsGone(t *testing.T) {
	v := &Verifier{Gate: lostGate{}, Record: lostGate{}}
	s := aSale()
	s.State = SaleClosed
	var out Verdict
	if err := v.lookAt(t.Context(), s, &out); err != nil || len(out.Findings) > 0 || out.Checked.Orders != 3 {
		t.Errorf("%+v, %v", out, err)
	}
	s.State = SaleOpen
	if err := v.lookAt(t.Context(), s, &out); CodeOf(err) != CodeGateFrozen {
		t.Errorf("of an open sale: %v", err)
	}
}

// fewOrders is a record that has some orders.
type fewOrders struct {
	RecordAudit
	has map[ReservationID]bool
}

func (f fewOrders) Missing(_ context.Context, ids []ReservationID) (out []ReservationID, _ error) {
	for _, id := range ids {
		if !f.has[id] {
			out = append(out, id)
		}
	}
	return out, nil
}

func TestOnlyPayingHoldsWithAnOrderCountAsOrdered(t *testing.T) {
	done, pays := ReservationID{Sale: 1, Created: TimeZero}, ReservationID{Sale: 1, Created: TimeZero + 1}
	v := &Verifier{Record: fewOrders{has: map[ReservationID]bool{done: true}}}
	got, err := v.ordered(context.Background(), map[ReservationID]Hold{done: {Lines: []Line{{0, 2}, {3, 1}}}, pays: {Lines: []Line{{0, 5}}}})
	if err != nil || got[0] != 2 || got[3] != 1 {
		t.Errorf("%v, %v", got, err)
	}
}
