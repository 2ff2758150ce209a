package sandbox

import (
	"errors"
	"fmt"
	"time"
)

// The functions here expect s.mu to be held.

// save makes a record true: in the journal first, in memory after.
func (s *Server) save(r record) error {
	if s.closed {
		return errors.New("the sandbox is closed")
	}
	if err := s.journal.add(r); err != nil {
		return err
	}
	s.take(r)
	return nil
}

// take puts a record into memory.
func (s *Server) take(r record) {
	in := r.Intent
	if _, known := s.place[in.ID]; !known {
		s.place[in.ID] = len(s.order)
		s.order = append(s.order, in.ID)
		s.byAttempt[in.Attempt()] = in.ID
	}
	s.intents[in.ID] = in
	if r.Key != "" {
		s.keys[r.Key] = &keyed{print: r.Print, id: in.ID, answer: r.Answer}
	}
}

// draft makes a new intent, not saved yet.
func (s *Server) draft(attempt string, status Status) *Intent {
	return &Intent{
		ID: fmt.Sprintf("pi_sandbox_%08d", len(s.order)+1), Object: "payment_intent", Status: status,
		CaptureMethod: "manual", Metadata: map[string]string{"attempt": attempt}, Created: s.config.Now().Unix(),
	}
}

// intent gives an intent as it is by now: one that was processing long enough
// is authorised.
func (s *Server) intent(id string) (*Intent, error) {
	in := s.intents[id]
	if in == nil || in.Status != Processing || !Methods[in.PaymentMethod].Processing || s.config.ProcessingFor < 0 {
		return in, nil
	}
	if s.config.Now().Before(time.Unix(in.Created, 0).Add(s.config.ProcessingFor)) {
		return in, nil
	}
	next := *in
	next.Status = Authorised
	return &next, s.save(record{Intent: &next})
}

// ofAttempt finds the intent of an attempt.
func (s *Server) ofAttempt(attempt string) (*Intent, error) { return s.intent(s.byAttempt[attempt]) }

// move is what capture, cancel and refund do to an intent: it gives the intent
// after it, the same one if it was done before, or false if it cannot be done.
type move func(in Intent) (Intent, bool)

func capture(in Intent) (Intent, bool) {
	switch in.Status {
	case Captured:
		return in, true
	case Authorised:
		in.Status, in.AmountReceived = Captured, in.Amount
		return in, true
	}
	return in, false
}

func cancelFor(reason string) move {
	return func(in Intent) (Intent, bool) {
		switch in.Status {
		case Cancelled, Declined:
			return in, true // nothing is reserved; a decline stays a decline
		case Authorised, Processing:
			in.Status, in.CancellationReason = Cancelled, reason
			return in, true
		}
		return in, false
	}
}

func refund(in Intent) (Intent, bool) {
	if in.Status != Captured {
		return in, false
	}
	in.AmountRefunded, in.Refunded = in.Amount, true
	return in, true
}
