package sandbox

import (
	"net/http"
	"slices"
	"strings"
)

func (s *Server) stripeRefund(c *call) {
	f := c.form
	p := f.check(refundParams)
	id := f.get("payment_intent")
	if id == "" {
		id = intentOfCharge(f.get("charge"))
	}
	var amount *int64
	if p == nil {
		amount, p = f.integer("amount")
	}
	reason := f.get("reason")
	switch {
	case p != nil:
	case id == "":
		p = invalid("payment_intent", "parameter_missing", "one of payment_intent and charge must be given")
	case amount != nil && *amount < 1:
		p = invalid("amount", "parameter_invalid_integer", "amount must be at least 1")
	case reason != "" && reason != "duplicate" && reason != "fraudulent" && reason != "requested_by_customer":
		p = invalid("reason", "parameter_invalid", "reason must be one of duplicate, fraudulent, or requested_by_customer")
	default:
		p = checkMetadata(f.metadata())
	}
	if p != nil {
		s.answer(c, refuse(p))
		return
	}
	give := int64(-1)
	if amount != nil {
		give = *amount
	}
	s.answer(c, s.actOn(id, c.key(), f.fingerprint(c.r), s.refund(give, reason, f.metadata()), func(in *Intent) *Problem {
		switch {
		case in.Refunded:
			return invalid("", "charge_already_refunded", "charge "+in.chargeID()+" has already been refunded")
		case in.Status == Captured:
			return invalid("amount", "parameter_invalid_integer", "the refund is greater than what is left of the charge")
		}
		return unexpected(in).problem
	}))
}

// stripeRefunds lists the refunds of a payment, or of all, newest first.
func (s *Server) stripeRefunds(c *call) {
	p := c.form.check(refundListParams)
	limit := 0
	if p == nil {
		limit, p = c.form.limit()
	}
	id := c.form.get("payment_intent")
	if id == "" {
		id = intentOfCharge(c.form.get("charge"))
	}
	var list []*Intent
	switch {
	case p != nil:
	case id != "":
		r := s.read(id)
		list, p = []*Intent{r.intent}, r.problem
	default:
		list, p = s.newestFirst("", "", maxAmount)
	}
	if p != nil {
		s.answer(c, refuse(p))
		return
	}
	var all []*stripeRe
	for _, in := range list {
		for _, r := range slices.Backward(in.Refunds) {
			all = append(all, stripeRefundView(in, r))
		}
	}
	if after := c.form.get("starting_after"); after != "" {
		all = all[slices.IndexFunc(all, func(r *stripeRe) bool { return r.ID == after })+1:]
	}
	out := stripePage{Object: "list", URL: "/v1/refunds", HasMore: len(all) > limit, Data: []any{}}
	for _, r := range all[:min(len(all), limit)] {
		out.Data = append(out.Data, r)
	}
	s.answerJSON(c, out)
}

func (s *Server) stripeRetrieveRefund(c *call) {
	id := c.r.PathValue("id")
	inner := strings.TrimPrefix(id, "re_")
	if at := strings.LastIndexByte(inner, '_'); at > 0 {
		inner = inner[:at]
	}
	r := s.read("pi_" + inner)
	if r.problem == nil && stripeRefundOf(r.intent, id) != nil {
		r.refund = id
	} else {
		r = refuse(invalid("refund", "resource_missing", "no such refund: "+id))
	}
	s.answer(c, r)
}

func (s *Server) stripeRetrieveCharge(c *call) {
	r := s.read(intentOfCharge(c.r.PathValue("id")))
	if r.problem != nil || !r.intent.charged() {
		s.answer(c, refuse(invalid("charge", "resource_missing", "no such charge")))
		return
	}
	if c.fault != "" {
		s.play(c, c.fault)
		return
	}
	writeJSON(c.w, http.StatusOK, stripeCharge(r.intent))
}

// intentOfCharge gives the payment's id: a charge is called after it.
func intentOfCharge(id string) string {
	rest, ok := strings.CutPrefix(id, "ch_")
	if !ok {
		return ""
	}
	return "pi_" + rest
}
