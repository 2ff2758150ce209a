package api

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/flashsale-engine/flashsale/engine"
)

// How often somebody may come; docs/limits.md has it for everybody.
//
// Who asks for stock is counted by where they come from, before the token is
// verified, and then by who they are. What this node knows to be sold out is said
// before any of it, because that is cheaper. Who holds stock is counted by who they
// are alone, apart from what they asked for: a crowd behind the same address, or
// their own impatience before, must not keep them from paying.

// errWaits says that the answer has to be waited for.
var errWaits = errors.New("api: somebody else has to be asked")

// count counts a request at a limit: nil, the refusal, or, if wait is not given and
// needed, errWaits. What has to be waited for is not counted before it is.
func (s *Server) count(x *exchange, l engine.Limit, who, where string, wait bool) error {
	q := s.opt.Limits.Count(l, who, where, x.start)
	if q.Verdict == engine.Within {
		return nil
	}
	if q.Verdict == engine.Perhaps {
		if !wait {
			return errWaits
		}
		q = s.opt.Limits.Settle(l, who, where, x.start)
	}
	if x.quota = q; q.Verdict == engine.Within {
		return nil
	}
	return beyond(q)
}

var limited = [engine.LimitCount]string{
	engine.LimitBuyer:   "this buyer asks too often",
	engine.LimitHolder:  "this buyer asks too often about what they hold",
	engine.LimitIP:      "too much comes from this address",
	engine.LimitNet:     "too much comes from this IPv6 network",
	engine.LimitMethod:  "this payment method has been tried too often",
	engine.LimitSuspect: "too many holds of this buyer in this sale were not paid for; until that is some time ago, they may make fewer",
}

func beyond(q engine.Quota) error {
	return engine.E(engine.CodeRateLimited, "%s: %d in %s at most", limited[q.Limit], q.Most, shortly(q.Window)).
		With("limit", q.Limit.String()).After(q.After)
}

// shortly writes a window as its setting was: 10s, 1m, 1h30m.
func shortly(d time.Duration) string {
	text := d.Round(time.Second).String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

// standing sets the headers of draft-ietf-httpapi-ratelimit-headers. They come with a
// refusal, and with the answer to whoever has used more than the free share of a
// limit; for everybody else they would be bytes that nobody needs.
func (x *exchange) standing() {
	q := &x.quota
	reset := q.Reset
	if q.Verdict == engine.Beyond {
		reset = q.After
	}
	seconds := func(d time.Duration) int64 { return int64((d + time.Second - 1) / time.Second) }
	h := &x.http.Response.Header
	h.SetCanonical(headerRatePolicy, fmt.Appendf(nil, `"%s";q=%d;w=%d`, q.Limit, q.Most, seconds(q.Window)))
	h.SetCanonical(headerRate, fmt.Appendf(nil, `"%s";r=%d;t=%d`, q.Limit, q.Left, seconds(reset)))
}

var (
	headerRatePolicy = []byte("RateLimit-Policy") // fasthttp would write Ratelimit
	headerRate       = []byte("RateLimit")
)

// passPlace counts who asks for stock by where they come from.
func (s *Server) passPlace(x *exchange, wait bool) error {
	if s.opt.Limits == nil || s.opt.Unguarded || x.from.n == 0 {
		return nil
	}
	return s.count(x, x.from.limit, x.from.name(), "", wait)
}

// passBuyer counts who asks for stock of a sale by who they are.
func (s *Server) passBuyer(x *exchange, sale string, wait bool) error {
	if s.opt.Unguarded {
		return nil
	}
	if s.opt.Limits != nil && !x.counted {
		if err := s.count(x, engine.LimitBuyer, x.buyer, "", wait); err != nil {
			return err
		}
		x.counted = true
	}
	if s.opt.Challenges != nil {
		return s.challenged(x, sale, s.suspect(x, sale), wait)
	}
	if s.suspectBuyer(x, sale) { // not by where they come from: that would refuse others
		return s.count(x, engine.LimitSuspect, x.buyer, sale, wait)
	}
	return nil
}

// passHolder counts what a buyer does with what they have. A payment that is under
// way is never kept from its end: whoever repeats its request is let in.
func (s *Server) passHolder(x *exchange) error {
	if s.opt.Limits == nil {
		return nil
	}
	err := s.count(x, engine.LimitHolder, x.buyer, "", true)
	if err != nil && x.route == &s.metrics.routes[atCheckout] && string(x.http.Method()) == http.MethodPost && s.paying(x) {
		return nil
	}
	return err
}

// passMethod counts a checkout by its payment method. Whoever tries out stolen cards
// does so as many buyers; whoever repeats a payment that is under way does not.
func (s *Server) passMethod(x *exchange, method string) error {
	if s.opt.Limits == nil || everybodys(method) {
		return nil
	}
	if err := s.count(x, engine.LimitMethod, method, "", true); err != nil && !s.paying(x) {
		return err
	}
	return nil
}

// everybodys says whether a payment method is one that providers have for trying
// things out: it stands for nobody's card.
func everybodys(method string) bool {
	return slices.ContainsFunc([]string{"pm_card_", "pm_sandbox_"}, func(p string) bool { return strings.HasPrefix(method, p) })
}

// paying says whether the reservation that x is about has a payment under way or
// behind it. If nobody can tell, it may have.
func (s *Server) paying(x *exchange) bool {
	id, ok := engine.ParseReservationID(x.param)
	if !ok {
		return false
	}
	ctx, done := s.work(x, 0)
	defer done()
	r, err := s.opt.Engine.Reservation(ctx, x.buyer, id)
	paying := engine.Transient(err) || err == nil && r.State != engine.Held && r.State != engine.Released && r.State != engine.Expired
	if paying {
		x.quota = engine.Quota{}
	}
	return paying
}
