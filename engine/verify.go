package engine

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"
)

// Verifier compares gate, stream, record and provider, while they run.
type Verifier struct {
	Sales  func(ctx context.Context) ([]*Sale, error)
	Gate   GateReader
	Outbox Outbox
	Stream StreamAudit
	Record RecordAudit
	Books  Books // nil: the provider cannot list its books
	Clock  Clock
	// Settle is how long what looks wrong may take to prove to be in flight.
	Settle time.Duration
	// Pause lies between two looks.
	Pause time.Duration
}

// Verdict is the four zeros, with what was looked at and what was found.
type Verdict struct {
	Oversold int       `json:"oversold"` // units sold beyond stock
	Lost     int       `json:"lost"`     // acknowledged reservations without an order
	Drift    int       `json:"drift"`    // places where two views of the same units differ
	Unpaid   int       `json:"unpaid"`   // orders and money that do not agree
	Checked  Checked   `json:"checked"`
	Findings []Finding `json:"findings"`
	Fast     bool      `json:"fast,omitempty"`    // the counters only: see Fast
	Repairs  []Mend    `json:"repairs,omitempty"` // one per finding; Verify leaves them to a Repairer
}

// Clean says whether all four are zero.
func (v Verdict) Clean() bool { return v.Oversold == 0 && v.Lost == 0 && v.Drift == 0 && v.Unpaid == 0 }

// Checked counts what Verify looked at.
type Checked struct {
	Sales       int   `json:"sales"`
	SKUs        int   `json:"skus"`
	Holds       int   `json:"holds"`
	Orders      int64 `json:"order_units"`
	Payments    int   `json:"payments"`
	Unresolved  int   `json:"unresolved"` // payments on their way to an end: to be captured, voided, refunded or found out
	InFlight    int   `json:"in_flight"`  // accepted, still on the way to the record
	DeadLetters int   `json:"dead_letters"`
	TookMS      int64 `json:"took_ms"`
}

// Finding is one thing that is wrong.
type Finding struct {
	Kind        string       `json:"kind"` // oversold, lost, drift or unpaid
	Cause       FindingCause `json:"cause"`
	Count       int          `json:"count"`
	Sale        string       `json:"sale,omitempty"`
	SKU         string       `json:"sku,omitempty"`
	Reservation string       `json:"reservation,omitempty"`
	Order       string       `json:"order,omitempty"`
	Attempt     string       `json:"attempt,omitempty"`
	Detail      string       `json:"detail"`
}

func (f Finding) key() string {
	return f.Kind + "|" + string(f.Cause) + "|" + f.Sale + "|" + f.SKU + "|" + f.Order + "|" + f.Attempt
}

// Verify looks until nothing is wrong, or until what is wrong has stayed so for
// the settling time: a view is always read a moment before or after another.
func (v *Verifier) Verify(ctx context.Context) (Verdict, error) {
	return v.until(ctx, v.look)
}

func (v *Verifier) until(ctx context.Context, look func(context.Context) (Verdict, error)) (Verdict, error) {
	began := v.Clock.Now()
	deadline := began.Add(v.Settle)
	var before map[string]bool
	for {
		verdict, err := look(ctx)
		if err != nil {
			return verdict, err
		}
		// What one look alone has seen is never told: it may have been in flight.
		done := !v.Clock.Now().Before(deadline) && (before != nil || len(verdict.Findings) == 0)
		if before != nil {
			verdict.keep(before) // what only one look saw was in flight
		}
		if len(verdict.Findings) == 0 && (verdict.Checked.InFlight == 0 || verdict.Fast) || done {
			verdict.count()
			verdict.Checked.TookMS = v.Clock.Now().Sub(began).Milliseconds()
			return verdict, nil
		}
		before = make(map[string]bool, len(verdict.Findings))
		for _, f := range verdict.Findings {
			before[f.key()] = true
		}
		select {
		case <-ctx.Done():
			return verdict, ctx.Err()
		case <-time.After(v.Pause):
		}
	}
}

func (v *Verdict) keep(seen map[string]bool) {
	v.Findings = slices.DeleteFunc(v.Findings, func(f Finding) bool { return !seen[f.key()] })
}

func (v *Verdict) count() {
	if v.Findings == nil {
		v.Findings = []Finding{}
	}
	for _, f := range v.Findings {
		switch f.Kind {
		case "oversold":
			v.Oversold += f.Count
		case "lost":
			v.Lost += f.Count
		case "drift":
			v.Drift += f.Count
		case "unpaid":
			v.Unpaid += f.Count
		}
	}
}

func (v *Verdict) add(kind string, cause FindingCause, n int, f Finding, format string, args ...any) {
	f.Kind, f.Cause, f.Count, f.Detail = kind, cause, n, fmt.Sprintf(format, args...)
	v.Findings = append(v.Findings, f)
}

// look takes one look at everything.
func (v *Verifier) look(ctx context.Context) (Verdict, error) {
	var out Verdict
	sales, err := v.Sales(ctx)
	if err != nil {
		return out, err
	}
	for _, s := range sales {
		if s.Epoch == 0 {
			continue // a draft has nothing at the gate
		}
		out.Checked.Sales++
		if err := v.lookAt(ctx, s, &out); err != nil {
			return out, fmt.Errorf("sale %s: %w", s.ID, err)
		}
	}
	dead, err := v.Record.DeadLetters(ctx)
	if err != nil {
		return out, err
	}
	// One that was an accepted reservation is lost, see dead; one that was not
	// harmed nobody. Here they are only counted.
	for _, n := range dead {
		out.Checked.DeadLetters += n
	}
	return out, v.books(ctx, &out)
}

func (v *Verifier) lookAt(ctx context.Context, s *Sale, out *Verdict) error {
	// The gate leads and the record follows, so the record is read first: what
	// it has sold, the gate has sold too.
	totals, err := v.Record.Totals(ctx, s.No)
	if err != nil {
		return err
	}
	counters, err := v.Gate.Counters(ctx, s)
	gone := CodeOf(err) == CodeGateFrozen && s.State == SaleClosed // nobody brings that back; the record stands alone
	if err != nil && !gone {
		return err
	}
	var missing []ReservationID
	var ordered map[uint16]int64
	if gone {
		counters = nil
	} else if missing, ordered, err = v.missing(ctx, s, out); err != nil {
		return err
	}
	compare(s, totals, counters, ordered, out)
	if missing, err = v.dead(ctx, s, missing, out); err != nil {
		return err
	}
	orphans, err := v.Record.Orphans(ctx, s.No)
	if err != nil {
		return err
	}
	for _, id := range missing {
		if !slices.Contains(orphans, id) {
			out.add("lost", CauseNoOrder, 1, Finding{Sale: s.ID, Reservation: id.String(), Order: id.Order()}, "the gate accepted reservation %s, and the record has no order %s", id, id.Order())
		}
	}
	for _, id := range orphans {
		out.add("lost", CauseOrderGone, 1, Finding{Sale: s.ID, Reservation: id.String(), Order: id.Order()}, "the ledger sold units to order %s, which is not there", id.Order())
	}
	unpaid, err := v.Record.Unpaid(ctx, s.No)
	if err != nil {
		return err
	}
	money, err := v.Record.Money(ctx, s.No)
	if err != nil {
		return err
	}
	unpaid = append(unpaid, money...)
	for _, u := range unpaid {
		out.add("unpaid", u.Cause, 1, Finding{Sale: s.ID, Reservation: u.ID.String(), Order: u.ID.Order(), Attempt: u.Attempt.String()}, "order %s, attempt %s: %s", u.ID.Order(), u.Attempt, u.Reason)
	}
	return nil
}

// dead takes from the missing what is known to be a dead letter, and adds what
// is one though the gate has forgotten it. Open, it is lost until somebody
// retries it or says why not; dropped, it has been accounted for.
func (v *Verifier) dead(ctx context.Context, s *Sale, missing []ReservationID, out *Verdict) ([]ReservationID, error) {
	dead, err := v.Record.DeadReservations(ctx, s.No)
	if err != nil {
		return nil, err
	}
	known := make(map[ReservationID]bool, len(dead))
	for _, d := range dead {
		known[d.ID] = true
		if !d.Dropped {
			out.add("lost", CauseDeadLetter, 1, Finding{Sale: s.ID, Reservation: d.ID.String(), Order: d.ID.Order()}, "the event of accepted reservation %s is dead letter %d (%s), and nobody has retried or dropped it", d.ID, d.Letter, d.Reason)
		}
	}
	return slices.DeleteFunc(missing, func(id ReservationID) bool { return known[id] }), nil
}

// compare holds the record's places against each other and, if there are
// counters, against the gate. ordered are units that pay at the gate and are
// orders in the record: see missing.
func compare(s *Sale, totals []RecordTotals, counters []Counters, ordered map[uint16]int64, out *Verdict) {
	gate := make(map[uint16]Counters, len(counters))
	for _, c := range counters {
		gate[c.No] = c
	}
	for _, t := range totals {
		out.Checked.SKUs++
		out.Checked.Orders += t.Orders
		at := at(s, t.No)
		if over := max(t.Sold, t.Orders) - t.Stock; over > 0 {
			out.add("oversold", CauseOversold, int(over), at, "%d units of stock, %d sold by the SKU row, %d in orders", t.Stock, t.Sold, t.Orders)
		}
		if t.Sold != t.LedgerSold || t.Sold != t.Orders || t.Stock != t.LedgerStock {
			out.add("drift", CauseRecordSums, 1, at, "the record disagrees with itself: stock %d (ledger %d), sold %d (ledger %d, orders %d)", t.Stock, t.LedgerStock, t.Sold, t.LedgerSold, t.Orders)
		}
		if t.RunningSold != t.LedgerSold || t.RunningStock != t.LedgerStock {
			out.add("drift", CauseRunningSums, 1, at, "the running sums of the ledger say stock %d and sold %d, its rows %d and %d", t.RunningStock, t.RunningSold, t.LedgerStock, t.LedgerSold)
		}
		if counters == nil {
			continue
		}
		c, ok := gate[t.No]
		holdAgainst(at, t.Stock, t.Sold-ordered[t.No], c, ok, out)
	}
}

func at(s *Sale, no uint16) Finding {
	it, _ := s.ItemByNo(no)
	return Finding{Sale: s.ID, SKU: it.SKU}
}

// holdAgainst compares one SKU of the gate with what the record said before.
func holdAgainst(at Finding, stock, sold int64, c Counters, known bool, out *Verdict) {
	switch {
	case !known:
		out.add("drift", CauseGateUnknown, 1, at, "the gate does not know the SKU")
	case !c.Conserved():
		out.add("drift", CauseGateSums, 1, at, "the gate does not conserve: stock %d, available %d, held %d, paying %d, sold %d, in flight between shards %d", c.Stock, c.Available, c.Held, c.Paying, c.Sold, c.InFlight)
	case c.Stock != stock:
		out.add("drift", CauseGateStock, 1, at, "the gate has stock %d, the record %d", c.Stock, stock)
	case c.Sold < sold:
		out.add("drift", CauseGateBehind, 1, at, "the gate has sold %d, the record %d", c.Sold, sold)
	}
}

// missing gives accepted reservations that certainly should be in the record
// and are not. Whatever the gate had accepted when its holds were listed left
// the outbox before the mark was taken, so once the record has read up to the
// mark, it has an order for each.
//
// It also gives the units of paying holds that have an order. There are such
// after a rebuild: the claim was of the epoch before, its event came late, and
// the payment is about to be claimed again.
func (v *Verifier) missing(ctx context.Context, s *Sale, out *Verdict) (_ []ReservationID, ordered map[uint16]int64, _ error) {
	var accepted []ReservationID
	paying := map[ReservationID]Hold{}
	err := v.Gate.Holds(ctx, s, func(h Hold) error {
		out.Checked.Holds++
		switch h.State {
		case Accepted:
			accepted = append(accepted, h.ID)
		case Paying:
			paying[h.ID] = h
		}
		return nil
	})
	if err == nil {
		ordered, err = v.ordered(ctx, paying)
	}
	if err != nil {
		return nil, nil, err
	}
	pending, err := v.Outbox.Pending(ctx, s, 0, 1_000_000)
	if err != nil {
		return nil, nil, err
	}
	mark, err := v.Stream.Mark(ctx)
	if err != nil {
		return nil, nil, err
	}
	for wait := v.Settle; ; wait -= v.Pause {
		left, err := v.Stream.Left(ctx, mark)
		if err != nil {
			return nil, nil, err
		}
		if left == 0 {
			break
		}
		if wait <= 0 { // the writer is behind: nothing can be said of these yet
			absent, err := v.Record.Missing(ctx, accepted)
			out.Checked.InFlight += len(absent)
			return nil, nil, err
		}
		select {
		case <-ctx.Done():
			return nil, nil, ctx.Err()
		case <-time.After(v.Pause):
		}
	}
	absent, err := v.Record.Missing(ctx, accepted)
	if err != nil {
		return nil, nil, err
	}
	waiting := make(map[ReservationID]bool, len(pending))
	for _, e := range pending {
		waiting[e.ID] = true
	}
	return slices.DeleteFunc(absent, func(id ReservationID) bool {
		if waiting[id] {
			out.Checked.InFlight++
		}
		return waiting[id]
	}), ordered, nil
}

// ordered sums the units of paying holds that have an order.
func (v *Verifier) ordered(ctx context.Context, paying map[ReservationID]Hold) (map[uint16]int64, error) {
	if len(paying) == 0 {
		return nil, nil
	}
	without, err := v.Record.Missing(ctx, slices.Collect(maps.Keys(paying)))
	for _, id := range without {
		delete(paying, id)
	}
	units := map[uint16]int64{}
	for _, h := range paying {
		for _, l := range h.Lines {
			units[l.No] += int64(l.Quantity)
		}
	}
	return units, err
}
