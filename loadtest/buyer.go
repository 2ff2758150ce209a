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
	Failed      End = "failed"       // no answer, or one that the contract does not know here
	Unfinished  End = "unfinished"   // the run was cut short
)

// visit is one buyer's way through the sale, as a state machine:
//
//	reserve ─▶ held ─▶ hesitate ─▶ checkout ─▶ confirmed
//	   │        │                     ├─▶ pending ─▶ poll ─▶ confirmed, refused, declined, needs action
//	   └▶ no    └▶ abandoned          └─▶ declined, expired, needs action
type visit struct {
	*run
	n       int       // which arrival
	buyer   int       // whose
	due     time.Time // when the next step is due; latency counts from here
	arrival time.Time // when the visit was due
	sku     string
	rng     *rand.Rand

	reservation string
	bought      purchase
}

// walk goes the whole way.
func (v *visit) walk(ctx context.Context) End {
	if end, held := v.reserve(ctx); !held {
		return end
	}
	if v.rng.Float64() < v.cfg.Abandon {
		return Abandoned
	}
	// The checkout is due when the buyer means to pay, not when the driver
	// finds time for it.
	v.due = time.Now()
	if v.cfg.Hesitate > 0 {
		v.due = v.due.Add(time.Duration(v.rng.ExpFloat64() * float64(v.cfg.Hesitate)))
		if !sleepUntil(ctx, v.due) {
			return Unfinished
		}
	}
	end, location := v.checkout(ctx)
	if end == Pending {
		end = v.poll(ctx, location)
	}
	if end == Confirmed {
		v.tally.latency(StepJourney, v.arrival, time.Since(v.arrival))
		v.tally.bought(v.bought)
	}
	return end
}

// reserve asks for the units, and says how the visit ended if they are not held.
func (v *visit) reserve(ctx context.Context) (end End, held bool) {
	body, _ := json.Marshal(map[string]any{"lines": []line{{v.sku, v.cfg.Quantity}}}) // plain data: cannot fail
	a, ok := v.insist(ctx, call{
		step: StepReserve, method: http.MethodPost, body: body, key: v.cfg.key(v.n, StepReserve),
		path: "/v1/sales/" + url.PathEscape(v.cfg.Sale) + "/reservations",
	})
	if !ok {
		return Unfinished, false
	}
	took := time.Since(v.due)
	v.tally.latency(StepReserve, v.due, took)
	switch {
	case a.status == http.StatusCreated && a.repeats > 0 && a.body.State == string(engine.Expired) && v.asked(a.body):
		// An earlier try was given units, unheard, and their time is over: the same
		// key gives the same reservation, as it is now.
		return Expired, false
	case a.status == http.StatusCreated || a.status == http.StatusOK:
		if a.body.ID == "" || a.body.State != string(engine.Held) || !v.asked(a.body) {
			v.tally.wrong("arrival %d asked for %d × %s and got reservation %q, state %q, lines %v", v.n, v.cfg.Quantity, v.sku, a.body.ID, a.body.State, a.body.Lines)
			return v.failed(StepReserve, a), false
		}
		v.reservation = a.body.ID
		v.tally.latency(StepHold, v.due, took)
		v.tally.held(v.reservation, v.n, v.sku, v.cfg.Quantity)
		return "", true
	case a.code == string(engine.CodeSoldOut):
		v.tally.latency(StepNo, v.due, took)
		v.tally.soldOut(v.sku)
		return SoldOut, false
	case a.code == string(engine.CodeBuyerLimit):
		v.tally.latency(StepNo, v.due, took)
		return BuyerLimit, false
	}
	return v.failed(StepReserve, a), false
}

// checkout pays. Pending comes with the URL to poll.
func (v *visit) checkout(ctx context.Context) (end End, location string) {
	body, _ := json.Marshal(map[string]any{ // plain data: cannot fail
		"payment_method": v.cfg.PaymentMethod,
		"contact":        map[string]string{"email": v.cfg.buyer(v.buyer) + "@example.com"},
	})
	a, ok := v.insist(ctx, call{
		step: StepCheckout, method: http.MethodPost, body: body, key: v.cfg.key(v.n, StepCheckout),
		path: "/v1/reservations/" + url.PathEscape(v.reservation) + "/checkout", prefer: prefer(v.cfg.Wait),
	})
	if !ok {
		return Unfinished, ""
	}
	v.tally.latency(StepCheckout, v.due, time.Since(v.due))
	switch {
	case a.status == http.StatusAccepted:
		path, ok := v.local(a.location)
		if !ok {
			v.tally.wrong("arrival %d: a pending checkout has the Location %q", v.n, a.location)
			return v.failed(StepCheckout, a), ""
		}
		v.due = time.Now().Add(max(a.retryAfter, firstPoll))
		return Pending, path
	case a.code == codeNextAction:
		return NeedsAction, ""
	case a.status == http.StatusCreated || a.status == http.StatusOK:
		return v.order(StepCheckout, a), ""
	case a.code == string(engine.CodePaymentDeclined):
		return Declined, ""
	case a.code == string(engine.CodeReservationExpired), a.code == string(engine.CodeReservationLost):
		return Expired, ""
	case a.code == string(engine.CodeOrderRefused):
		return Refused, ""
	}
	return v.failed(StepCheckout, a), ""
}

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
