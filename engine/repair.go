package engine

import (
	"context"
	"log/slog"
)

// Action is what a repair does, by the engine's own operations. Each may be
// repeated, and none makes stock or money that was not there.
type Action string

// The actions. None: there is no safe one, and What says what people can do.
const (
	None         Action = ""
	Republish    Action = "republish"     // hand the accepted hold's event to the stream again
	RestoreOrder Action = "restore_order" // write the order's row anew from the ledger and its payment
	SyncGate     Action = "sync_gate"     // bring the gate's stock up to the record's
	GiveBack     Action = "give_back"     // void or refund at the provider what an ended attempt holds
	RefundTaken  Action = "refund"        // note that captured money goes back; the payments role refunds it
)

// Mend is what is to be done about a finding, or was.
type Mend struct {
	Finding Finding `json:"finding"`
	Action  Action  `json:"action"`
	What    string  `json:"what"`
	Done    bool    `json:"done"`
	Error   string  `json:"error,omitempty"`
}

// Mending is what a fix did: the verdict with its repairs, and the verdict after.
type Mending struct {
	Before Verdict  `json:"before"`
	After  *Verdict `json:"after,omitempty"` // none: nothing was to be done, or it was only planned
}

// Repairer plans and does repairs.
type Repairer struct {
	Engine    *Engine
	Lifecycle *Lifecycle
	// Restore writes the row of a confirmed order that the stock ledger has sold
	// to and that is gone, from the ledger, its payment and, if the gate still
	// has it, its hold. Audited in the same transaction; an order that is there
	// stays as it is. CodeInvalidRequest if ledger and payment do not agree.
	Restore func(ctx context.Context, id ReservationID, h Hold, act Act) error
	// Audit notes a repair before it is done.
	Audit func(ctx context.Context, act Act, target string, detail map[string]any) error
	Log   *slog.Logger
}

// Plan says what would be done about each finding. It asks gate, record and
// provider, and changes nothing.
func (r *Repairer) Plan(ctx context.Context, findings []Finding) []Mend {
	byOrder := map[string]bool{} // reservations whose order comes back
	out := make([]Mend, len(findings))
	for i, f := range findings {
		out[i] = Mend{Finding: f}
		if f.Kind == "lost" {
			out[i].Action, out[i].What = r.planLost(ctx, f)
			byOrder[f.Reservation] = out[i].Action != None
		}
	}
	for i, f := range findings {
		if f.Kind == "lost" {
			continue
		}
		if byOrder[f.Reservation] || f.Cause == CauseRecordSums && restored(out, f.Sale) || f.Cause == CauseTaken && r.ofLost(ctx, f, byOrder) {
			out[i].What = "goes away when the order comes back"
			continue
		}
		out[i].Action, out[i].What = plans[f.Cause].action, plans[f.Cause].what
	}
	return out
}

// plans are the findings whose repair needs no look.
var plans = map[FindingCause]struct {
	action Action
	what   string
}{
	CauseGateStock:    {SyncGate, "bring the gate's stock to the record's, by units that are available"},
	CauseHeldOn:       {GiveBack, "void the authorisation at the provider: the attempt has ended"},
	CauseTaken:        {GiveBack, "refund the money at the provider: no order has it"},
	CauseCaptured:     {RefundTaken, "note that the money goes back; the payments role refunds it"},
	CauseGateSums:     {None, "freeze the sale's gate and make it anew from the record: flashsale gate rebuild"},
	CauseGateBehind:   {None, "the gate has forgotten claims; make it anew from the record: flashsale gate rebuild"},
	CauseGateUnknown:  {None, "make the gate anew from the record: flashsale gate rebuild"},
	CauseGateAhead:    {None, "a full verify names the reservations: flashsale verify"},
	CauseRecordSums:   {None, "no sum is made to fit; flashsale audit verify says whether the ledger was changed, and the orders' rows say the rest"},
	CauseRunningSums:  {None, "delete the running sums of the sale and add its sealed rows up anew; nothing else depends on them"},
	CauseOversold:     {None, "choose orders and give their money back: flashsale payments refund"},
	CauseOrderMoney:   {None, "the order stands and its money is gone: ask the buyer to pay, or cancel it with them"},
	CauseOrderTotal:   {None, "the order's row was changed; flashsale audit verify and the provider's books say what was agreed"},
	CauseStranger:     {None, "perhaps another installation's on the same account: look at the provider before voiding it there"},
	CauseChargedTwice: {None, "refund one of the charges at the provider's own console"},
	CauseAmount:       {None, "settle the difference at the provider's own console"},
	CauseMoneyLedger:  {None, "the ledger takes no correction; compare with the provider's books, and see flashsale audit verify"},
}

func restored(list []Mend, sale string) bool {
	for _, x := range list {
		if x.Action == RestoreOrder && x.Finding.Sale == sale {
			return true
		}
	}
	return false
}

// ofLost says whether an attempt's reservation is one whose order comes back.
func (r *Repairer) ofLost(ctx context.Context, f Finding, byOrder map[string]bool) bool {
	id, ok := ParseAttemptID(f.Attempt)
	if !ok {
		return false
	}
	a, err := r.Engine.Attempts.Find(ctx, id)
	return err == nil && byOrder[a.Reservation.String()]
}

// planLost looks what can bring an order back.
func (r *Repairer) planLost(ctx context.Context, f Finding) (Action, string) {
	if f.Cause == CauseOrderGone {
		return RestoreOrder, "write the order's row anew from the stock ledger and its payment, without selling again"
	}
	if f.Cause == CauseDeadLetter {
		return None, "somebody has to decide: flashsale dlq retry, or flashsale dlq drop with a reason"
	}
	_, _, _, _, why, err := r.paid(ctx, f)
	switch {
	case err != nil:
		return None, "cannot be planned now: " + err.Error()
	case why != "":
		return None, why
	}
	return Republish, "hand the accepted reservation's event to the stream again; the record makes the order once, or says in a dead letter why not"
}

// paid finds what an accepted reservation's event is made of, or says why it
// must not be sent: without money there is no order.
func (r *Repairer) paid(ctx context.Context, f Finding) (s *Sale, h Hold, a Attempt, p Payment, why string, err error) {
	e := r.Engine
	id, ok := ParseReservationID(f.Reservation)
	if !ok {
		return s, h, a, p, "the finding names no reservation", nil
	}
	if s, err = e.Sales.SaleByNo(ctx, id.Sale); err != nil {
		return s, h, a, p, "", err
	}
	if h, err = e.Reader.Find(ctx, s, id); CodeOf(err) == CodeNotFound || err == nil && h.State != Accepted {
		return s, h, a, p, "the gate does not have it as accepted any more", nil
	} else if err != nil {
		return s, h, a, p, "", err
	}
	if a, err = e.Attempts.ByFence(ctx, id, h.Fence); CodeOf(err) == CodeNotFound {
		return s, h, a, p, "its payment attempt is not on record: who paid what is not known", nil
	} else if err != nil {
		return s, h, a, p, "", err
	}
	if p, err = e.Payments.Lookup(ctx, a); CodeOf(err) == CodeNotFound {
		return s, h, a, p, "the provider never saw its payment: there is no money for an order", nil
	} else if err != nil {
		return s, h, a, p, "", err
	}
	if p.State != PaymentAuthorised && p.State != PaymentCaptured || a.Refund != "" || a.State == PaymentVoided || a.State == PaymentDeclined || a.State == PaymentRefunded {
		return s, h, a, p, "its payment is " + string(p.State) + " at the provider and " + string(a.State) + " on record: there is no money for an order; the units come back with flashsale gate rebuild", nil
	}
	return s, h, a, p, "", nil
}

// Do does the repairs of a plan that are safe, each audited first, and notes
// beside each how it went.
func (r *Repairer) Do(ctx context.Context, list []Mend, actor string) {
	for i := range list {
		x := &list[i]
		if x.Action == None {
			continue
		}
		err := r.do(ctx, *x, Act{Actor: actor, Name: "repair: " + string(x.Action), Reason: x.Finding.Detail})
		if x.Done = err == nil; err != nil {
			x.Error = err.Error()
		}
		r.Log.WarnContext(ctx, "repair", "action", x.Action, "finding", x.Finding.Detail, "actor", actor, "err", err)
	}
}

func (r *Repairer) do(ctx context.Context, x Mend, act Act) error {
	f, e := x.Finding, r.Engine
	if x.Action != RestoreOrder { // that is audited where it is written
		target := f.Sale
		for _, t := range []string{f.Attempt, f.Order} {
			if t != "" {
				target = t
			}
		}
		if err := r.Audit(ctx, act, target, map[string]any{"cause": f.Cause}); err != nil {
			return err
		}
	}
	switch x.Action {
	case Republish:
		s, h, a, p, why, err := r.paid(ctx, f)
		if err != nil || why != "" {
			return orSay(err, why)
		}
		return e.finish(ctx, s, h, a, p)
	case RestoreOrder:
		id, _ := ParseReservationID(f.Reservation)
		s, err := e.Sales.SaleByNo(ctx, id.Sale)
		if err != nil {
			return err
		}
		h, err := e.Reader.Find(ctx, s, id) // it may be long forgotten
		if err != nil && CodeOf(err) != CodeNotFound && CodeOf(err) != CodeGateFrozen {
			return err
		}
		return r.Restore(ctx, id, h, act)
	case SyncGate:
		s, err := e.Sales.Sale(ctx, f.Sale)
		if err != nil {
			return err
		}
		return r.Lifecycle.Sync(ctx, s)
	}
	id, ok := ParseAttemptID(f.Attempt)
	if !ok {
		return E(CodeInvalidRequest, "the finding names no payment attempt")
	}
	if x.Action == GiveBack {
		return e.Heed(ctx, ProviderEvent{Attempt: id}) // asks the provider again, and gives back what has ended
	}
	return r.refundTaken(ctx, id)
}

// refundTaken notes that captured money goes back, unless an order has it after
// all or is about to have it.
func (r *Repairer) refundTaken(ctx context.Context, id AttemptID) error {
	e := r.Engine
	a, err := e.Attempts.Find(ctx, id)
	if err != nil {
		return err
	}
	_, _, done, err := e.around(ctx, a)
	switch o, orderErr := e.Orders.Order(ctx, a.Reservation); {
	case err != nil:
		return err
	case orderErr == nil && o.State == Confirmed && o.Attempt == id:
		return E(CodeInvalidRequest, "order %s has the money", a.Reservation.Order())
	case orderErr != nil && CodeOf(orderErr) != CodeNotFound:
		return orderErr
	case orderErr != nil && done:
		return E(CodeInvalidRequest, "the gate has the reservation as accepted: its order comes first")
	}
	return e.Attempts.Owe(ctx, id, "repair: captured without an order")
}

func orSay(err error, why string) error {
	if err != nil {
		return err
	}
	return E(CodeInvalidRequest, "%s", why)
}

// String tells it in a line.
func (x Mend) String() string {
	switch {
	case x.Done:
		return "done: " + x.What
	case x.Error != "":
		return "not done: " + x.What + " (" + x.Error + ")"
	case x.Action == None:
		return "no safe repair: " + x.What
	}
	return "repair: " + x.What
}
