package sandbox

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"time"
)

// Control is how the sandbox misbehaves. A rate is the share of the requests
// that change something: of these, at most one thing happens to each, so that
// the rates of a group may not exceed 1 together.
type Control struct {
	Outage      bool `json:"outage"`        // accept the connection, answer 503, do nothing
	OutageForMS int  `json:"outage_for_ms"` // the outage ends after this; 0: when it is told to
	LatencyMS   int  `json:"latency_ms"`    // wait this long before the work
	JitterMS    int  `json:"jitter_ms"`     // and up to this much longer
	SearchLagMS int  `json:"search_lag_ms"` // searches, as Stripe's, see the books as they were this long ago

	DeclineRate    float64 `json:"decline_rate"`    // share of approvals that become declines
	ActionRate     float64 `json:"action_rate"`     // … that need action
	ProcessingRate float64 `json:"processing_rate"` // … that are processing

	ErrorRate         float64 `json:"error_rate"` // answered 500, half of them after the work was done
	TimeoutBeforeRate float64 `json:"timeout_before_rate"`
	TimeoutAfterRate  float64 `json:"timeout_after_rate"`
	RateLimitRate     float64 `json:"rate_limit_rate"`
	SlowRate          float64 `json:"slow_rate"`

	SlowMS       int  `json:"slow_ms"`       // how slow those are; 0: a second
	HangMS       int  `json:"hang_ms"`       // how long a time-out leaves a patient caller waiting; 0: Config.HangFor
	ProcessingMS int  `json:"processing_ms"` // 0: Config.ProcessingFor; below: until it is resolved
	RetryAfterS  int  `json:"retry_after_s"` // in 429 and 503; 0: a second
	Ops          []Op `json:"ops,omitempty"` // latency and rates concern these only; empty: all

	WebhookLateRate       float64 `json:"webhook_late_rate"`
	WebhookDuplicateRate  float64 `json:"webhook_duplicate_rate"`
	WebhookOutOfOrderRate float64 `json:"webhook_out_of_order_rate"`
	WebhookForgedRate     float64 `json:"webhook_forged_rate"`
	WebhookStaleRate      float64 `json:"webhook_stale_rate"`
	WebhookDroppedRate    float64 `json:"webhook_dropped_rate"`
	WebhookDelayMS        int     `json:"webhook_delay_ms"` // of late ones; 0: a second

	Seed uint64 `json:"seed"` // of the dice; every change starts them anew
}

const maxDelayMS = 600_000

func (c *Control) outcomeRates() []rate {
	return []rate{{c.DeclineRate, []Kind{Decline}}, {c.ActionRate, []Kind{Action}}, {c.ProcessingRate, []Kind{InProcess}}}
}

func (c *Control) requestRates() []rate {
	return []rate{{c.ErrorRate, []Kind{ErrorBefore, ErrorAfter}}, {c.TimeoutBeforeRate, []Kind{TimeoutBefore}},
		{c.TimeoutAfterRate, []Kind{TimeoutAfter}}, {c.RateLimitRate, []Kind{RateLimit}}, {c.SlowRate, []Kind{Slow}}}
}

func (c *Control) hookRates() []rate {
	return []rate{{c.WebhookLateRate, []Kind{Late}}, {c.WebhookDuplicateRate, []Kind{Duplicate}}, {c.WebhookOutOfOrderRate, []Kind{OutOfOrder}},
		{c.WebhookForgedRate, []Kind{Forged}}, {c.WebhookStaleRate, []Kind{Stale}}, {c.WebhookDroppedRate, []Kind{Dropped}}}
}

func (c *Control) concerns(o Op) bool { return len(c.Ops) == 0 || slices.Contains(c.Ops, o) }

func (c *Control) check() error {
	for name, ms := range map[string]int{"outage_for_ms": c.OutageForMS, "latency_ms": c.LatencyMS, "jitter_ms": c.JitterMS, "search_lag_ms": c.SearchLagMS,
		"slow_ms": c.SlowMS, "hang_ms": c.HangMS, "processing_ms": max(c.ProcessingMS, 0), "webhook_delay_ms": c.WebhookDelayMS} {
		if ms < 0 || ms > maxDelayMS {
			return fmt.Errorf("%s must lie between 0 and %d", name, maxDelayMS)
		}
	}
	if c.RetryAfterS < 0 || c.RetryAfterS > 3600 {
		return errors.New("retry_after_s must lie between 0 and 3600")
	}
	for name, group := range map[string][]rate{
		"decline_rate, action_rate and processing_rate":                                      c.outcomeRates(),
		"error_rate, timeout_before_rate, timeout_after_rate, rate_limit_rate and slow_rate": c.requestRates(),
		"the webhook rates": c.hookRates(),
	} {
		total := 0.0
		for _, r := range group {
			if !(r.share >= 0 && r.share <= 1) {
				return fmt.Errorf("%s must lie between 0 and 1", name)
			}
			total += r.share
		}
		if total > 1+1e-9 {
			return fmt.Errorf("%s exceed 1 together, and at most one of them happens to a request", name)
		}
	}
	for _, o := range c.Ops {
		if !slices.Contains(ops, o) || o == OpAny || o == OpWebhook {
			return fmt.Errorf("ops: %q is not an operation", o)
		}
	}
	return nil
}

// Control gives how the sandbox misbehaves now.
func (s *Server) Control() Control { return s.faults.now() }

// SetControl changes how the sandbox misbehaves and restarts the dice.
func (s *Server) SetControl(c Control) error {
	s.faults.mu.Lock()
	defer s.faults.mu.Unlock()
	return s.faults.set(c)
}

// Script has faults happen to the next requests, in order, before any dice.
func (s *Server) Script(list ...Fault) error {
	for i := range list {
		if err := list[i].check(); err != nil {
			return err
		}
	}
	f := &s.faults
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.queue)+len(list) > maxQueue {
		return fmt.Errorf("at most %d faults may wait; DELETE /control/next forgets them", maxQueue)
	}
	f.queue = append(f.queue, list...)
	f.settleCalm()
	return nil
}

func (f *faults) now() Control {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.nowLocked()
}

// nowLocked gives the control with an outage that is over taken back.
func (f *faults) nowLocked() Control {
	if f.control.OutageForMS > 0 {
		left := f.until.Sub(f.clock())
		f.control.OutageForMS = max(int((left+time.Millisecond-1)/time.Millisecond), 0)
		f.control.Outage = left > 0
		f.settleCalm()
	}
	return f.control
}

func (f *faults) set(c Control) error {
	if before := f.nowLocked(); !c.Outage && before.Outage {
		c.OutageForMS = 0 // it is told to end
	}
	if err := c.check(); err != nil {
		return err
	}
	if c.OutageForMS > 0 {
		c.Outage = true
		f.until = f.clock().Add(time.Duration(c.OutageForMS) * time.Millisecond)
	}
	f.control = c
	f.lag.Store(int64(time.Duration(c.SearchLagMS) * time.Millisecond))
	f.dice = rand.New(rand.NewPCG(c.Seed, 0x5a17db0c)) //nolint:gosec // seeded on purpose: faults must repeat
	f.settleCalm()
	return nil
}

// settleCalm notes whether there is anything to do for the requests to come.
func (f *faults) settleCalm() {
	c := &f.control
	calm := len(f.queue) == 0 && !c.Outage && c.LatencyMS == 0 && c.JitterMS == 0
	for _, group := range [][]rate{c.outcomeRates(), c.requestRates(), c.hookRates()} {
		for _, r := range group {
			calm = calm && r.share == 0
		}
	}
	f.calm.Store(calm)
}

func (s *Server) getControl(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, s.Control())
}

// postControl changes what is given and leaves the rest.
func (s *Server) postControl(w http.ResponseWriter, r *http.Request) {
	body, p := readBody(w, r)
	if p == nil {
		p = s.changeControl(body)
	}
	if p != nil {
		writeProblem(w, p)
		return
	}
	s.getControl(w, r)
}

func (s *Server) changeControl(body []byte) *Problem {
	f := &s.faults
	f.mu.Lock()
	defer f.mu.Unlock()
	c := f.nowLocked()
	c.Ops = slices.Clone(c.Ops) // what is decoded goes into the same array
	if p := decode(body, &c); p != nil {
		return p
	}
	if err := f.set(c); err != nil {
		return invalid("", "parameter_invalid", err.Error())
	}
	return nil
}

// script is POST /control/next: one fault, or a list of them.
func (s *Server) script(w http.ResponseWriter, r *http.Request) {
	body, p := readBody(w, r)
	list := make([]Fault, 1)
	switch {
	case p != nil:
	case len(body) > 0 && body[0] == '[':
		p = decode(body, &list)
	default:
		p = decode(body, &list[0])
	}
	if p == nil {
		if err := s.Script(list...); err != nil {
			p = invalid("", "parameter_invalid", err.Error())
		}
	}
	if p != nil {
		writeProblem(w, p)
		return
	}
	s.getScript(w, r)
}

func (s *Server) getScript(w http.ResponseWriter, _ *http.Request) {
	s.faults.mu.Lock()
	list := append([]Fault{}, s.faults.queue...)
	s.faults.mu.Unlock()
	writeJSON(w, http.StatusOK, map[string]any{"object": "list", "data": list})
}

func (s *Server) dropScript(w http.ResponseWriter, r *http.Request) {
	s.faults.mu.Lock()
	s.faults.queue = nil
	s.faults.settleCalm()
	s.faults.mu.Unlock()
	s.getScript(w, r)
}

// resolve is POST /control/intents/{id}/resolve: it ends what is processing, or
// does the buyer's part of an action. The id may be an attempt's.
func (s *Server) resolve(w http.ResponseWriter, r *http.Request) {
	var q struct {
		Outcome     string `json:"outcome"` // approved or declined; empty: as the payment method would have it
		DeclineCode string `json:"decline_code"`
	}
	body, p := readBody(w, r)
	if p == nil && len(body) > 0 {
		p = decode(body, &q)
	}
	if p != nil {
		writeProblem(w, p)
		return
	}
	if q.Outcome != "" && q.Outcome != "approved" && q.Outcome != "declined" {
		writeProblem(w, invalid("outcome", "parameter_invalid", "outcome must be approved or declined"))
		return
	}
	s.mu.Lock()
	res := s.resolveAs(r.PathValue("id"), q.Outcome, q.DeclineCode)
	s.mu.Unlock()
	writePlain(w, res)
}

// resolveAs settles a payment that waits. s.mu is held.
func (s *Server) resolveAs(name, outcome, code string) result {
	in, err := s.find(name)
	switch {
	case err != nil:
		return failed(err)
	case in == nil:
		return refuse(missing())
	case in.Status != Processing && in.Status != NeedsAction:
		return unexpected(in)
	}
	switch {
	case outcome == "":
		code = in.ThenDeclines
	case outcome == "approved":
		code = ""
	case code == "" && in.Status == NeedsAction:
		code = authenticationFailed
	case code == "":
		code = "generic_decline"
	}
	next := *in
	s.settle(&next, code)
	if err := s.save(record{Intent: &next}); err != nil {
		return failed(err)
	}
	return result{intent: &next}
}
