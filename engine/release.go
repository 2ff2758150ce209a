package engine

import (
	"context"
	"crypto/rand"
)

// ReleaseHold has an operator give a held reservation back to stock: CodeNotFound,
// CodePaymentInProgress, CodeAlreadyPaid. The record's line commits after the gate has
// answered, and falls with a refusal. A node that dies in between has released without a
// line; who repeats the act writes it.
func (l *Lifecycle) ReleaseHold(ctx context.Context, id ReservationID, act Act) (h Hold, err error) {
	sales, err := l.Store.List(ctx)
	if err != nil {
		return h, err
	}
	for _, s := range sales {
		if s.No == id.Sale {
			return l.release(ctx, s, id, act)
		}
	}
	return h, E(CodeNotFound, "no reservation %s", id)
}

func (l *Lifecycle) release(ctx context.Context, s *Sale, id ReservationID, act Act) (h Hold, err error) {
	if act.Key == "" {
		act.Key = rand.Text() // without one, an act that changes no term leaves no trace
	}
	act.Name, act.Reason, act.Key = "release hold", id.String()+": "+act.Reason, id.String()+" "+act.Key
	asked := false
	_, err = l.Store.Change(ctx, s.ID, act, func(s *Sale) (err error) {
		asked = true
		h, err = l.Holds.Release(ctx, s, id)
		return err
	})
	if err == nil && !asked { // repeated under its key: the line is there, and so is the gate's answer
		h, err = l.Holds.Release(ctx, s, id)
	}
	return h, err
}
