package payment

import (
	"context"
	"errors"
	"time"

	"github.com/flashsale-engine/flashsale/engine"
)

// What the worker does to one attempt. Each may be repeated, and is, until the
// record has noted its end.

// capture takes the money of a confirmed order. A time-out leaves the attempt
// uncaptured in the ledger, so it comes back and is captured under the same key;
// and so does one whose note was lost.
func (w *Worker) capture(ctx context.Context, a engine.Attempt) (then, error) {
	p, err := w.c.Payments.Capture(ctx, a)
	if err != nil {
		return nil, err
	}
	noted := func(p engine.Payment, reason string) then {
		return func(ctx context.Context) error { return w.note(ctx, a, p, reason) }
	}
	switch p.State {
	case engine.PaymentCaptured:
		return noted(p, "order_confirmed"), nil
	case engine.PaymentRefunded: // it was captured, and given back by somebody's hand
		if err := w.note(ctx, a, engine.Payment{State: engine.PaymentCaptured}, "order_confirmed"); err != nil {
			return nil, err
		}
		return noted(p, "refunded_at_provider"), nil
	case engine.PaymentVoided, engine.PaymentDeclined:
		// The order is confirmed and the money is gone. Verify says UNPAID.
		w.c.Log.ErrorContext(ctx, "payments: a confirmed order cannot be captured", "order", a.Reservation.Order(), "attempt", a.ID.String(), "state", p.State)
		return noted(p, "capture_impossible"), nil
	}
	return nil, errors.New("not captured yet: the payment is " + string(p.State))
}

// void gives back the money of a refused order.
func (w *Worker) void(ctx context.Context, a engine.Attempt) error {
	p, err := w.c.Payments.Void(ctx, a)
	if err != nil {
		return err
	}
	switch p.State {
	case engine.PaymentVoided, engine.PaymentDeclined, engine.PaymentRefunded:
		return w.note(ctx, a, p, "order_refused")
	case engine.PaymentCaptured:
		// Owed first, captured after: a crash between the two lists it again here.
		w.c.Log.ErrorContext(ctx, "payments: a refused order's money was captured; it is refunded", "order", a.Reservation.Order(), "attempt", a.ID.String())
		if err := w.c.Ledger.Owe(ctx, a.ID, "captured_though_refused"); err != nil {
			return err
		}
		return w.note(ctx, a, p, "captured_though_refused")
	}
	return errors.New("not voided yet: the payment is " + string(p.State))
}

// refund gives captured money back that is owed.
func (w *Worker) refund(ctx context.Context, a engine.Attempt) error {
	p, err := w.c.Payments.Refund(ctx, a)
	if err != nil {
		return err
	}
	if p.State != engine.PaymentRefunded {
		return errors.New("not refunded yet: the payment is " + string(p.State))
	}
	return w.note(ctx, a, p, a.Refund)
}

func (w *Worker) note(ctx context.Context, a engine.Attempt, p engine.Payment, reason string) error {
	ctx, cancel := context.WithTimeout(ctx, w.c.CallTimeout)
	defer cancel()
	return w.c.Ledger.Note(ctx, a, p, reason)
}

// heed has providers' events acted on, and says whether there is certainly more.
func (w *Worker) heed(ctx context.Context, c *crew) bool {
	return w.list(ctx, c, "event", func(ctx context.Context, limit int) ([]job, error) {
		events, err := w.c.Inbox.Unheeded(ctx, limit)
		jobs := make([]job, len(events))
		for i, ev := range events {
			jobs[i] = job{task: "event", id: ev.Provider + "/" + ev.ID, do: func(ctx context.Context) (then, error) {
				if err := w.c.Heed(ctx, ev); err != nil {
					return nil, err
				}
				return nil, w.c.Inbox.Heeded(ctx, ev)
			}}
		}
		return jobs, err
	})
}

// The rhythm of what nobody waits for.
const (
	countEvery   = 5 * time.Second
	forgetEvery  = 10 * time.Minute
	forgetAtMost = 10_000
)

// keepHouse counts what is unresolved, for the metrics, and forgets old events.
func (w *Worker) keepHouse(ctx context.Context) {
	count, forget := time.NewTicker(countEvery), time.NewTicker(forgetEvery)
	defer count.Stop()
	defer forget.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-count.C:
			w.count(ctx)
		case <-forget.C:
			w.forget(ctx)
		}
	}
}

func (w *Worker) count(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, w.c.CallTimeout)
	defer cancel()
	if all, err := w.c.Ledger.Unresolved(ctx); err == nil { // else the gauges stay: staleness shows elsewhere
		w.metrics.backlog(all)
	}
}

func (w *Worker) forget(ctx context.Context) {
	if w.c.Inbox == nil {
		return
	}
	for {
		call, cancel := context.WithTimeout(ctx, w.c.CallTimeout)
		n, err := w.c.Inbox.Forget(call, w.c.Remember, forgetAtMost)
		cancel()
		if err != nil || n < forgetAtMost {
			return // an error is met again, in ten minutes
		}
	}
}
