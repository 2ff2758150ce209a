package api

import (
	"context"
	"time"

	"github.com/flashsale-engine/flashsale/engine"
)

// Engine is what the door asks of the sale for a buyer. Errors are
// *engine.Error with the codes that openapi.yaml lists per endpoint; any other
// error is a fault, shown to the buyer as code internal without its text.
type Engine interface {
	Reserve(ctx context.Context, r engine.ReserveRequest) (engine.Reservation, error)
	ReserveAll(ctx context.Context, sale string, rs []engine.ReserveRequest, each func(i int, r *engine.Reservation, err error), pause func())
	Reservation(ctx context.Context, buyer string, id engine.ReservationID) (engine.Reservation, error)
	Release(ctx context.Context, buyer string, id engine.ReservationID) (engine.Reservation, error)
	Checkout(ctx context.Context, r engine.CheckoutRequest) (engine.CheckoutResult, error)
	Order(ctx context.Context, buyer string, id engine.ReservationID) (engine.Order, error)
}

var _ Engine = (*engine.Engine)(nil)

// Views is what anyone may read.
type Views interface {
	// SaleView gives a sale and its units at the gate. Counters may be missing:
	// a sale that is not armed yet is not at the gate. CodeNotFound,
	// CodeGateFrozen, CodeUnavailable.
	SaleView(ctx context.Context, sale string) (*engine.Sale, []engine.Counters, error)
	// Ready says whether this node can serve buyers; its error says what is missing.
	Ready(ctx context.Context) error
}

// Limits says how often somebody may come. It is nobody's to fail: one that cannot
// ask around goes by what it knows.
type Limits interface {
	// Count counts one request if that needs nobody else. It must neither wait nor
	// allocate, and keeps neither of the names. Perhaps: Settle it.
	Count(l engine.Limit, who, where string, now time.Time) engine.Quota
	// Settle counts one request, after waiting for tens of milliseconds at most: Within
	// or Beyond.
	Settle(l engine.Limit, who, where string, now time.Time) engine.Quota
	// Note counts what has happened, within the limit or beyond, or takes it back: n
	// is 1 or -1. It does not wait.
	Note(l engine.Limit, who, where string, n int, now time.Time)
	// Used says whether a limit is used up, and counts nothing. It does not wait.
	Used(l engine.Limit, who, where string, now time.Time) engine.Quota
}

// Challenges asks whoever wants stock for a proof.
type Challenges interface {
	// Demand counts a request, and says whether it has to come with a solution. It
	// must not wait.
	Demand(sale string, suspect bool, now time.Time) bool
	// Give makes a challenge. work: one that this engine can check by itself. It does
	// not wait.
	Give(sale, buyer string, suspect, work bool, now time.Time) engine.Challenge
	// Check says what is wrong with a solution, or "". away: who would know does not
	// answer.
	Check(ctx context.Context, sale, buyer, from, solution string, now time.Time) (why string, away bool)
}

// Webhooks takes what payment providers send about payments.
type Webhooks interface {
	// Event verifies a delivery by its body, as it was sent, and its headers, and
	// reads it. CodeNotFound: nothing is taken from a provider of that name.
	// CodeInvalidRequest: forged, too old, or no event.
	Event(provider string, body []byte, header func(name string) string) (engine.ProviderEvent, error)
	// Keep stores an event once; again: it was there. What it says is acted on
	// later, by somebody else.
	Keep(ctx context.Context, ev engine.ProviderEvent) (again bool, err error)
}
