package api

import (
	"strings"

	"github.com/valyala/fasthttp"

	"github.com/flashsale-engine/flashsale/engine"
)

// headerSolution is where a client presents the solution of a challenge.
const headerSolution = "Challenge-Solution"

// What is known about whether a request needs a solution.
const (
	unasked = iota
	spared
	demanded
)

// challenged asks whoever wants something of a sale for a proof, if one is demanded of
// them: nil, the refusal with a challenge in it, or, if wait is not given and somebody has
// to be asked, errWaits.
func (s *Server) challenged(x *exchange, sale string, suspect, wait bool) error {
	c := s.opt.Challenges
	if c == nil || x.demand == spared {
		return nil
	}
	if x.demand == unasked {
		if x.demand = spared; !c.Demand(sale, suspect, x.start) {
			return nil
		}
		x.demand = demanded
	}
	if !wait {
		return errWaits
	}
	why, away := "a challenge has to be solved first", false
	if suspect {
		why = "too many holds of this buyer, or from this address, were not paid for in this sale: a challenge has to be solved first"
	}
	if f := x.head.solution; f.times > 0 {
		ctx, done := s.work(x, 0)
		defer done()
		from := ""
		if x.from.n > 0 {
			from = x.from.addr.String()
		}
		if why, away = c.Check(ctx, sale, x.buyer, from, string(f.value), x.start); why == "" {
			x.demand = spared
			return nil
		}
	}
	return engine.E(engine.CodeChallengeRequired, "%s", why).With("challenge", formChallenge(c.Give(sale, x.buyer, suspect, away, x.start)))
}

type challengeForm struct {
	Kind      string `json:"kind"`
	Challenge string `json:"challenge,omitempty"`
	Bits      int    `json:"bits,omitempty"`
	ExpiresAt string `json:"expires_at,omitempty"`
	SiteKey   string `json:"site_key,omitempty"`
	Header    string `json:"header"` // where the solution goes
}

func formChallenge(c engine.Challenge) challengeForm {
	f := challengeForm{Kind: c.Kind, Challenge: c.Text, Bits: c.Bits, SiteKey: c.SiteKey, Header: headerSolution}
	if !c.Expires.IsZero() {
		f.ExpiresAt = stamp(c.Expires)
	}
	return f
}

// getChallenge gives a challenge before it is demanded, so that a page can solve it
// while its buyer still chooses.
func (s *Server) getChallenge(x *exchange) error {
	if !saleID(x.param) {
		return engine.E(engine.CodeNotFound, "no such sale")
	}
	if s.opt.Challenges == nil {
		return engine.E(engine.CodeNotFound, "no challenge is ever demanded here")
	}
	suspect := s.suspect(x, x.param)
	return x.json(fasthttp.StatusOK, formChallenge(s.opt.Challenges.Give(x.param, x.buyer, suspect, false, x.start)))
}

// suspect says whether too many holds of the buyer, or of where they come from, were not
// paid for in this sale.
func (s *Server) suspect(x *exchange, sale string) bool {
	return s.suspectBuyer(x, sale) || s.opt.Limits != nil && x.from.n > 0 &&
		s.opt.Limits.Used(unpaidFrom(&x.from), x.from.name(), sale, x.start).Verdict == engine.Beyond
}

func (s *Server) suspectBuyer(x *exchange, sale string) bool {
	return s.opt.Limits != nil && s.opt.Limits.Used(engine.LimitUnpaid, x.buyer, sale, x.start).Verdict == engine.Beyond
}

func unpaidFrom(c *client) engine.Limit {
	if c.limit == engine.LimitIP {
		return engine.LimitUnpaidIP
	}
	return engine.LimitUnpaidNet
}

// made counts a hold that was made: it is unpaid until it is paid. Neither its expiry
// nor its release has to be heard of: what is not paid stays counted, and fades.
func (s *Server) made(x *exchange, sale string) {
	if s.opt.Limits == nil {
		return
	}
	s.opt.Limits.Note(engine.LimitUnpaid, x.buyer, sale, 1, x.start)
	if x.from.n > 0 {
		s.opt.Limits.Note(unpaidFrom(&x.from), x.from.name(), sale, 1, x.start)
	}
}

// paid takes it back. It goes by where the payment comes from, which is nearly always
// where the hold came from.
func (s *Server) paid(x *exchange, sale string) {
	if s.opt.Limits == nil {
		return
	}
	now := s.opt.Now()
	s.opt.Limits.Note(engine.LimitUnpaid, x.buyer, sale, -1, now)
	if x.from.n > 0 {
		s.opt.Limits.Note(unpaidFrom(&x.from), x.from.name(), sale, -1, now)
	}
}

// keepSolution copies what a request presents, which ends before it is looked at.
func (x *exchange) keepSolution() {
	solution := x.head.solution
	solution.value = []byte(strings.Clone(textOf(solution.value)))
	x.head = head{solution: solution}
}
