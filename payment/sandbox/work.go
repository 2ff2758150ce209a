package sandbox

import (
	"net/http"
	"strings"
	"time"
)

// result is what a request came to. Each face writes it down in its own way.
type result struct {
	intent   *Intent
	problem  *Problem // set: the request failed, and intent is what it failed on, if any
	refund   string   // set: the answer is this refund of intent
	replayed bool     // the key was answered before
	fault    Kind     // what the payment method does to the answer
}

func refuse(p *Problem) result { return result{problem: p} }

func failed(err error) result { return refuse(internal(err.Error())) }

func internal(message string) *Problem {
	return &Problem{Type: "api_error", Code: "internal", Message: message}
}

func unexpected(in *Intent) result {
	return result{intent: in, problem: invalid("", "payment_intent_unexpected_state", "the payment is "+string(in.Status))}
}

func missing() *Problem { return invalid("", "resource_missing", "no such payment") }

// status is the HTTP status that goes with a problem.
func (p *Problem) status() int {
	switch {
	case p.Type == "card_error", p.Code == "payment_intent_authentication_failure":
		return http.StatusPaymentRequired
	case p.Code == "outage":
		return http.StatusServiceUnavailable
	case p.Type == "api_error":
		return http.StatusInternalServerError
	case p.Code == "rate_limit":
		return http.StatusTooManyRequests
	case p.Code == "idempotency_key_in_use":
		return http.StatusConflict
	case p.Code == "api_key_invalid":
		return http.StatusUnauthorized
	case p.Code == "url_unknown", p.Code == "resource_missing" && (p.Param == "" || p.Param == "intent" || p.Param == "refund" || p.Param == "charge"):
		return http.StatusNotFound
	}
	return http.StatusBadRequest
}

// outcomeOf is what a create or a confirm says of the intent it came to.
func outcomeOf(in *Intent) result {
	switch {
	case in.Status == Declined && in.LastPaymentError != nil:
		return result{intent: in, problem: in.LastPaymentError}
	case in.Status == Cancelled:
		return unexpected(in)
	}
	return result{intent: in}
}

// plan is how one payment is to go: the method's own way, or what the control
// wants of this one.
type plan struct {
	Method
	base   string // of the page for the buyer
	absent bool   // the buyer is not there to act: what needs action is declined
}

// planFor looks at the payment method and at what the control has in store.
func (s *Server) planFor(c *call, method string) plan {
	p := plan{Method: Methods[method]}
	switch c.outcome.Fault {
	case Decline:
		p.Action, p.Processing, p.DeclineCode = false, false, c.outcome.DeclineCode
	case Action:
		p.Action, p.Processing, p.DeclineCode = true, false, c.outcome.DeclineCode
	case InProcess:
		p.Action, p.Processing, p.DeclineCode = false, true, c.outcome.DeclineCode
	}
	if p.Action {
		p.base = s.baseOf(c.r)
	}
	return p
}

// create makes a payment, and charges it if it is to be confirmed. Stripe's
// face may give one attempt several payments; the plain one may not.
func (s *Server) create(key string, mark fingerprint, o *order, p plan, plain bool) result {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r, known := s.recall(key, mark); known {
		return r
	}
	attempt := o.Metadata["attempt"]
	if plain {
		if attempt == "" {
			attempt = key
			if o.Metadata == nil {
				o.Metadata = map[string]string{}
			}
			o.Metadata["attempt"] = attempt
		}
		if r, barred := s.barred(attempt, key); barred {
			return r
		}
	}
	if p.Fault.early() {
		return result{fault: p.Fault}
	}
	in := s.draft(Processing)
	in.Amount, in.Currency, in.PaymentMethod = *o.Amount, strings.ToLower(o.Currency), o.PaymentMethod
	in.CaptureMethod, in.ReturnURL, in.Metadata = o.CaptureMethod, o.ReturnURL, o.Metadata
	rec := record{Key: key, Print: mark, At: s.config.Now().Unix()}
	if o.Confirm {
		return s.charge(in, rec, p)
	}
	in.Status = Unconfirmed
	if in.PaymentMethod == "" {
		in.Status = Declined
	}
	return s.conclude(in, rec)
}

// barred finds what an attempt or key made before, or that it was cancelled
// before it was ever seen.
func (s *Server) barred(names ...string) (result, bool) {
	for _, name := range names {
		old, err := s.ofAttempt(name)
		switch {
		case err != nil:
			return failed(err), true
		case old == nil:
		case old.Status == Cancelled:
			return unexpected(old), true
		default:
			return refuse(&Problem{Type: "idempotency_error", Message: "the attempt has a payment under another Idempotency-Key"}), true
		}
	}
	return result{}, false
}

// charge carries out a confirmation of in, a draft. s.mu is held, and let go
// while a slow method takes its time: the payment is then processing.
func (s *Server) charge(in *Intent, rec record, p plan) result {
	in.Status, in.LastPaymentError = Processing, nil
	if p.Slow {
		rec.Intent = in
		if err := s.save(rec); err != nil {
			return failed(err)
		}
		s.mu.Unlock()
		over := s.wait(s.config.SlowFor, s.closing)
		s.mu.Lock()
		if !over {
			return refuse(internal("the sandbox is closing"))
		}
		now := *s.intents[in.ID].Intent // it may have been cancelled meanwhile
		in = &now
	}
	if in.Status == Processing {
		s.decide(in, p)
	}
	r := s.conclude(in, rec)
	r.fault = p.Fault
	return r
}

// conclude saves in as what a request came to, with its answer, before anyone
// is answered.
func (s *Server) conclude(in *Intent, rec record) result {
	r := outcomeOf(in)
	rec.Intent, rec.Problem, rec.Done = in, r.problem, true
	if err := s.save(rec); err != nil {
		return failed(err)
	}
	return r
}

// decide approves, declines, or makes the payment wait for the buyer or for time.
func (s *Server) decide(in *Intent, p plan) {
	switch {
	case p.Action && p.absent:
		s.settle(in, "authentication_required")
	case p.Action:
		in.Status, in.ThenDeclines = NeedsAction, p.DeclineCode
		in.NextAction = &NextAction{Type: "redirect_to_url", Redirect: Redirect{URL: p.base + "/3ds/" + in.ID, ReturnURL: in.ReturnURL}}
	case p.Processing:
		in.ThenDeclines = p.DeclineCode
		if d := s.processingFor(); d >= 0 {
			in.SettlesAt = s.config.Now().Add(d).UnixMilli()
		}
	default:
		s.settle(in, p.DeclineCode)
	}
}

func (s *Server) processingFor() time.Duration {
	switch ms := s.faults.now().ProcessingMS; {
	case ms < 0:
		return -1
	case ms > 0:
		return time.Duration(ms) * time.Millisecond
	}
	return s.config.ProcessingFor
}

// confirm charges a payment that exists; so does trying a declined one again.
// An empty method means the one that the payment has.
func (s *Server) confirm(c *call, mark fingerprint, method string, absent bool) result {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := c.key()
	if r, known := s.recall(key, mark); known {
		return r
	}
	in, err := s.intent(c.r.PathValue("id"))
	rec := record{Key: key, Print: mark, At: s.config.Now().Unix()}
	switch {
	case err != nil:
		return failed(err)
	case in == nil:
		return refuse(missing())
	case in.Status != Declined && in.Status != Unconfirmed:
		return s.refusal(in, unexpected(in).problem, rec)
	case method == "" && in.Status == Unconfirmed:
		method = in.PaymentMethod
	}
	if method == "" {
		return refuse(invalid("payment_method", "payment_intent_unexpected_state", "the payment needs a payment_method to be confirmed"))
	}
	p := s.planFor(c, method)
	p.absent = absent
	if p.Fault.early() {
		return result{fault: p.Fault}
	}
	next := *in
	next.PaymentMethod = method
	if back := c.form.get("return_url"); back != "" {
		next.ReturnURL = back
	}
	return s.charge(&next, rec, p)
}

// actOn does m to a payment. Under a key the answer is kept. The plain API lets
// a move be made twice; who is strict brings what to say instead.
func (s *Server) actOn(id, key string, mark fingerprint, m move, complain func(*Intent) *Problem) result {
	s.mu.Lock()
	defer s.mu.Unlock()
	if key != "" {
		if r, known := s.recall(key, mark); known {
			return r
		}
	}
	in, err := s.intent(id)
	if err != nil {
		return failed(err)
	}
	if in == nil {
		return refuse(missing())
	}
	rec := record{}
	if key != "" {
		rec = record{Key: key, Print: mark, At: s.config.Now().Unix(), Done: true}
	}
	next, v, err := s.move(in, m, rec)
	switch {
	case err != nil:
		return failed(err)
	case complain != nil && v != done:
		return s.refusal(in, complain(in), rec)
	case v == impossible:
		return unexpected(in)
	}
	r := result{intent: next}
	if n := len(next.Refunds); n > len(in.Refunds) {
		r.refund = next.Refunds[n-1].ID
	}
	return r
}

// refusal is the answer to what in is not in the state for. It is kept under
// the key too: Stripe repeats such an answer for as long as the key lives, even
// when the payment has moved on to where the request would succeed.
func (s *Server) refusal(in *Intent, p *Problem, rec record) result {
	r := result{intent: in, problem: p}
	if rec.Key == "" {
		return r
	}
	rec.Intent, rec.Problem, rec.Done = in, p, true
	if err := s.save(rec); err != nil {
		return failed(err)
	}
	return r
}
