package sandbox

import (
	"errors"
	"fmt"
	"strconv"
	"time"
)

// The functions here expect s.mu to be held.

// save makes a record true: in the journal first, in memory after. Then those
// who subscribed to events are told.
func (s *Server) save(r record) error {
	if s.closed {
		return errors.New("the sandbox is closed")
	}
	if err := s.journal.add(r); err != nil {
		return err
	}
	before := s.take(r)
	in := r.Intent
	if in.Status == Processing && in.SettlesAt > 0 {
		s.settleLater(in)
	}
	if lag := s.faults.searchLag(); lag > 0 {
		s.remember(in.ID, before, lag)
	}
	s.hooks.changed(before, in)
	return nil
}

// take puts a record into memory and gives what was there before.
func (s *Server) take(r record) (before *Intent) {
	in := r.Intent
	e := s.intents[in.ID]
	before = e.Intent
	if before == nil {
		e.place = len(s.order)
		s.order = append(s.order, in.ID)
		attempt := in.Attempt()
		if _, known := s.byAttempt[attempt]; !known {
			s.byAttempt[attempt] = in.ID
		} else { // only Stripe's face lets one name have two payments
			s.moreOf[attempt] = append(s.moreOf[attempt], in.ID)
		}
	}
	e.Intent = in
	s.intents[in.ID] = e
	if r.Key != "" {
		s.keys.put(r, s.config.MaxKeys)
	}
	return before
}

// newID makes the id of the next intent. Its middle part is drawn when the
// sandbox starts: one that has forgotten its books must not give a new payment
// the name of an old one, or a late capture would take the wrong buyer's money.
func (s *Server) newID() string {
	n := strconv.Itoa(len(s.order) + 1)
	const zeros = "00000000"
	return "pi_sandbox_" + s.run + "_" + zeros[min(len(n), len(zeros)):] + n
}

// draft makes a new intent, not saved yet.
func (s *Server) draft(status Status) *Intent {
	return &Intent{ID: s.newID(), Object: "payment_intent", Status: status, CaptureMethod: "manual", Created: s.config.Now().Unix()}
}

// intent gives an intent as it is by now: one that was processing long enough
// has settled.
func (s *Server) intent(id string) (*Intent, error) {
	in := s.intents[id].Intent
	if in == nil || in.Status != Processing || in.SettlesAt == 0 || s.config.Now().UnixMilli() < in.SettlesAt {
		return in, nil
	}
	next := *in
	s.settle(&next, in.ThenDeclines)
	return &next, s.save(record{Intent: &next})
}

// ofAttempt finds the intent of an attempt; the first, if there are several.
func (s *Server) ofAttempt(attempt string) (*Intent, error) {
	id := s.byAttempt[attempt]
	if id == "" {
		return nil, nil
	}
	return s.intent(id)
}

// find gives the intent of that id, or else of the attempt of that name.
func (s *Server) find(name string) (*Intent, error) {
	if in, err := s.intent(name); in != nil || err != nil {
		return in, err
	}
	return s.ofAttempt(name)
}

// settleLater ends processing when its time has come, asked or not, so that the
// webhook goes out. A reader who comes first does the same.
func (s *Server) settleLater(in *Intent) {
	id := in.ID
	time.AfterFunc(time.UnixMilli(in.SettlesAt).Sub(s.config.Now()), func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if !s.closed {
			_, _ = s.intent(id) // a journal that fails leaves it processing
		}
	})
}

// settle approves in, or declines it with code.
func (s *Server) settle(in *Intent, code string) {
	in.NextAction, in.SettlesAt, in.ThenDeclines, in.LastPaymentError = nil, 0, "", nil
	if code != "" {
		in.Status, in.LastPaymentError = Declined, declined(code)
		return
	}
	in.Status, in.AmountAuthorised = Authorised, in.Amount
	if in.CaptureMethod != "manual" {
		in.Status, in.AmountReceived = Captured, in.Amount
	}
}

// verdict says what a move came to.
type verdict int

const (
	impossible verdict = iota
	already            // it was done before
	done
)

// move is what capture, cancel and refund do to an intent, of which they get a
// copy.
type move func(in *Intent) verdict

// capture takes amount, or all of it if that is 0, and gives the rest back.
func capture(amount int64) move {
	return func(in *Intent) verdict {
		switch in.Status {
		case Captured:
			return already
		case Authorised:
			if amount > in.Amount {
				return impossible
			}
			in.Status, in.AmountReceived = Captured, in.Amount
			if amount > 0 {
				in.AmountReceived = amount
			}
			return done
		}
		return impossible
	}
}

// cancel gives up what was not captured. A decline stays a decline, unless the
// face lets a declined one be tried again.
func (s *Server) cancel(reason string, declinedToo bool) move {
	return func(in *Intent) verdict {
		switch {
		case in.Status == Captured:
			return impossible
		case in.Status == Cancelled, in.Status == Declined && in.LastPaymentError != nil && !declinedToo:
			return already
		}
		in.Status, in.CancellationReason, in.CanceledAt = Cancelled, reason, s.config.Now().Unix()
		in.NextAction, in.SettlesAt, in.ThenDeclines = nil, 0, ""
		return done
	}
}

// refund gives amount back, or all that is left if that is below 0.
func (s *Server) refund(amount int64, reason string, metadata map[string]string) move {
	return func(in *Intent) verdict {
		left := in.AmountReceived - in.AmountRefunded
		switch {
		case in.Refunded:
			return already
		case in.Status != Captured || amount > left:
			return impossible
		case amount < 0:
			amount = left
		}
		r := Refund{ID: fmt.Sprintf("re_%s_%d", in.ID[len("pi_"):], len(in.Refunds)+1), Amount: amount, Created: s.config.Now().Unix(), Reason: reason, Metadata: metadata}
		in.Refunds = append(in.Refunds[:len(in.Refunds):len(in.Refunds)], r)
		in.AmountRefunded += amount
		in.Refunded = in.AmountRefunded == in.AmountReceived
		return done
	}
}

// move saves what m makes of in, under a key if rec has one.
func (s *Server) move(in *Intent, m move, rec record) (*Intent, verdict, error) {
	next := *in
	v := m(&next)
	if v != done {
		return in, v, nil
	}
	rec.Intent = &next
	if n := len(next.Refunds); rec.Key != "" && n > len(in.Refunds) {
		rec.Refund = next.Refunds[n-1].ID
	}
	if err := s.save(rec); err != nil {
		return in, v, err
	}
	return &next, v, nil
}

// A search may lag: it then sees the books as they were. What changed lately
// is kept with what was there before it.
type changed struct {
	at     time.Time
	id     string
	before *Intent // nil: it did not exist
}

func (s *Server) remember(id string, before *Intent, lag time.Duration) {
	now := s.config.Now()
	old := 0
	for old < len(s.recent) && now.Sub(s.recent[old].at) >= lag {
		old++
	}
	s.recent = append(s.recent[old:], changed{now, id, before})
}

// asSearched gives in as a search sees it, or nil if it does not see it yet.
func (s *Server) asSearched(in *Intent) *Intent {
	lag := s.faults.searchLag()
	now := s.config.Now()
	for _, c := range s.recent {
		if c.id == in.ID && now.Sub(c.at) < lag {
			return c.before // the oldest change within the lag
		}
	}
	return in
}
