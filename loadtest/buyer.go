package loadtest

import (
	"context"
	"encoding/json"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/flashsale-engine/flashsale/engine"
)

// End is how a buyer's visit ended. Each arrival has exactly one.
type End string

// The ends of a visit.
const (
	SoldOut     End = "sold_out"
	BuyerLimit  End = "buyer_limit"
	Abandoned   End = "abandoned"    // held, and walked away as told
	Confirmed   End = "confirmed"    // an order
	Declined    End = "declined"     // the payment was declined
	NeedsAction End = "needs_action" // the buyer's bank wants a word; the driver is no bank
	Expired     End = "expired"      // the hold's time was over at checkout, or its gate was lost
	Refused     End = "refused"      // the record's last guard said no
	Pending     End = "pending"      // still pending when the driver stopped polling
	Browsed     End = "browsed"      // looked, and wanted nothing
	TurnedAway  End = "turned_away"  // a bot that was told to wait until it gave up
	Waiting     End = "waiting"      // still in the waiting room when its patience, or its turn, was over
	Failed      End = "failed"       // no answer, or one that the contract does not know here
	Unfinished  End = "unfinished"   // the run was cut short
)

// visit is one buyer's way through the sale, as a state machine. A buyer's own is
//
//	reserve ─▶ held ─▶ hesitate ─▶ checkout ─▶ confirmed
//	   │        │                     ├─▶ pending ─▶ poll ─▶ confirmed, refused, declined, needs action
//	   └▶ no    └▶ abandoned          └─▶ declined, expired, needs action
//
// and kinds.go has those of all kinds.
type visit struct {
	*run
	n       int       // which arrival
	buyer   int       // whose
	due     time.Time // when the next step is due; latency counts from here
	arrival time.Time // when the visit was due
	kind    Kind
	sku     string
	method  string // of payment
	rng     *rand.Rand

	tries       int    // how often the buyer came again
	tab         string // which of two
	unbooked    bool   // a second click: one arrival is one reservation in the books
	admission   string // the waiting room's token
	reservation string
	location    string // of what is pending
	bought      purchase
	end         End // of the last deed
}

// key is the Idempotency-Key of an act: the same in every repetition of it, another in
// another tab, and another when the buyer comes again.
func (v *visit) key(act Step) string {
	key := v.cfg.key(v.n, act) + v.tab
	if v.tries > 0 {
		key += "-" + strconv.Itoa(v.tries)
	}
	return key
}

func (v *visit) reserveCall(step Step, key string) call {
	body, _ := json.Marshal(map[string]any{"lines": []line{{v.sku, v.cfg.Quantity}}}) // plain data: cannot fail
	return call{step: step, method: http.MethodPost, body: body, key: key, admission: v.admission,
		path: "/v1/sales/" + url.PathEscape(v.cfg.Sale) + "/reservations"}
}

// reserve asks for the units, until there is an answer.
func (v *visit) reserve(ctx context.Context) End {
	a, ok := v.insist(ctx, v.reserveCall(StepReserve, v.key(StepReserve)))
	if !ok {
		return Unfinished
	}
	end := v.reserved(StepReserve, a)
	if end == Failed {
		return v.failed(StepReserve, a)
	}
	return end
}

// reserved reads an answer to a reservation: isHeld, or how it was refused. Of one that
// the contract does not know here it says Failed, and leaves it to the caller to book it.
func (v *visit) reserved(step Step, a answer) End {
	took := time.Since(v.due)
	note := func(s Step) {
		if step == StepReserve && !v.unbooked { // a bot's waits are its own
			v.tally.latency(s, v.due, took)
		}
	}
	note(StepReserve)
	switch {
	case a.status == http.StatusCreated && a.repeats > 0 && a.body.State == string(engine.Expired) && v.asked(a.body):
		// An earlier try was given units, unheard, and their time is over: the same
		// key gives the same reservation, as it is now.
		return Expired
	case a.status == http.StatusCreated || a.status == http.StatusOK:
		if a.body.ID == "" || a.body.State != string(engine.Held) || !v.asked(a.body) {
			v.tally.wrong("arrival %d asked for %d × %s and got reservation %q, state %q, lines %v", v.n, v.cfg.Quantity, v.sku, a.body.ID, a.body.State, a.body.Lines)
			return Failed
		}
		v.reservation = a.body.ID
		note(StepHold)
		if !v.unbooked {
			v.tally.held(v.reservation, v.n, v.sku, v.cfg.Quantity)
		}
		return isHeld
	case a.code == string(engine.CodeSoldOut):
		note(StepNo)
		if !v.unbooked {
			v.tally.soldOut(v.sku)
		}
		return SoldOut
	case a.code == string(engine.CodeBuyerLimit):
		note(StepNo)
		return BuyerLimit
	}
	return Failed
}

// decide walks away, or hesitates and goes on to pay.
func (v *visit) decide(ctx context.Context) End {
	if v.rng.Float64() < v.cfg.Abandon {
		return Abandoned
	}
	// The checkout is due when the buyer means to pay, not when the driver
	// finds time for it.
	v.due = time.Now()
	if v.cfg.Hesitate > 0 && !v.pause(ctx, v.cfg.Hesitate) {
		return Unfinished
	}
	return goesOn
}

// checkout pays. After Pending, v.location is the URL to poll.
func (v *visit) checkout(ctx context.Context) End {
	body, _ := json.Marshal(map[string]any{ // plain data: cannot fail
		"payment_method": v.method,
		"contact":        map[string]string{"email": v.cfg.buyer(v.buyer) + "@example.com"},
	})
	a, ok := v.insist(ctx, call{
		step: StepCheckout, method: http.MethodPost, body: body, key: v.key(StepCheckout),
		path: v.path() + "/checkout", prefer: prefer(v.cfg.Wait),
	})
	if !ok {
		return Unfinished
	}
	v.tally.latency(StepCheckout, v.due, time.Since(v.due))
	switch {
	case a.status == http.StatusAccepted:
		path, ok := v.local(a.location)
		if !ok {
			v.tally.wrong("arrival %d: a pending checkout has the Location %q", v.n, a.location)
			return v.failed(StepCheckout, a)
		}
		v.location, v.due = path, time.Now().Add(max(a.retryAfter, firstPoll))
		return Pending
	case a.code == codeNextAction:
		return NeedsAction
	case a.status == http.StatusCreated || a.status == http.StatusOK:
		return v.order(StepCheckout, a)
	case a.code == string(engine.CodePaymentDeclined):
		return Declined
	case a.code == string(engine.CodeReservationExpired), a.code == string(engine.CodeReservationLost):
		return Expired
	case a.code == string(engine.CodeOrderRefused):
		return Refused
	case a.code == string(engine.CodeAlreadyPaid) && v.kind == KindTabs: // by the other tab
		v.location, v.due = v.path(), time.Now()
		return Pending
	}
	return v.failed(StepCheckout, a)
}

// path is the reservation's.
func (v *visit) path() string { return "/v1/reservations/" + url.PathEscape(v.reservation) }

// order takes a confirmed order's answer: an order, or a reservation that names one.
func (v *visit) order(step Step, a answer) End {
	id, reservation := a.body.ID, string(a.body.Reservation)
	if id == v.reservation {
		id, reservation = a.body.Order, a.body.ID
	}
	if id == "" || a.body.State != string(engine.Confirmed) || reservation != v.reservation || !v.asked(a.body) {
		v.tally.wrong("arrival %d paid for reservation %s and got order %q of reservation %q, state %q, lines %v", v.n, v.reservation, id, reservation, a.body.State, a.body.Lines)
		return v.failed(step, a)
	}
	v.bought = purchase{order: id, reservation: v.reservation, buyer: v.buyer, sku: v.sku, units: v.cfg.Quantity}
	return Confirmed
}

// asked says whether an answer's lines and buyer are this visit's.
func (v *visit) asked(r reply) bool {
	return len(r.Lines) == 1 && r.Lines[0] == (line{v.sku, v.cfg.Quantity}) && (r.Buyer == "" || r.Buyer == v.cfg.buyer(v.buyer))
}

// failed notes why a visit failed.
func (v *visit) failed(step Step, a answer) End {
	v.tally.failed(Outcome{step, a.status, a.code})
	return Failed
}

// local gives the path of a Location, if it stays at the API that was tested:
// a buyer's token goes nowhere else.
func (v *visit) local(location string) (string, bool) {
	base, err := url.Parse(v.cfg.API + "/")
	if err != nil || location == "" {
		return "", false
	}
	u, err := base.Parse(location)
	if err != nil || u.Host != base.Host || u.Scheme != base.Scheme {
		return "", false
	}
	// The sender prepends the whole base, so a prefix of it must go.
	path := u.RequestURI()
	if prefix := base.EscapedPath(); len(path) >= len(prefix) && path[:len(prefix)] == prefix {
		path = path[len(prefix)-1:]
	}
	return path, true
}

func prefer(wait time.Duration) string {
	switch {
	case wait == 0:
		return ""
	case wait < 0:
		return "wait=0"
	}
	return "wait=" + strconv.Itoa(int((wait+time.Second-1)/time.Second))
}
