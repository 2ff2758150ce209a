package sandbox

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
)

// Stripe's surface: point a Stripe client's backend at the sandbox's root, or at
// /stripe if the client can take a path there (Stripe's for Go can't). What differs from the plain API is Stripe's: forms instead of JSON, a key on every
// POST that is answered once and then repeated, moves that are refused the
// second time, and as many payments of one attempt as somebody makes.

var stripeFace = &face{
	space: "stripe\x00", // no header holds a zero byte
	open:  openStripe,
	write: writeStripe,
	keyed: Op.writes,
}

func (s *Server) stripeRoutes(mux *http.ServeMux) {
	on := func(pattern string, o Op, work func(*call)) { mux.HandleFunc(pattern, s.serve(stripeFace, o, work)) }
	on("POST /stripe/v1/payment_intents", OpAuthorise, s.stripeCreate)
	on("GET /stripe/v1/payment_intents", OpList, s.stripeList)
	on("GET /stripe/v1/payment_intents/search", OpSearch, s.stripeSearch)
	on("GET /stripe/v1/payment_intents/{id}", OpRead, s.stripeRetrieve)
	on("POST /stripe/v1/payment_intents/{id}/confirm", OpConfirm, s.stripeConfirm)
	on("POST /stripe/v1/payment_intents/{id}/capture", OpCapture, s.stripeCapture)
	on("POST /stripe/v1/payment_intents/{id}/cancel", OpCancel, s.stripeCancel)
	on("POST /stripe/v1/refunds", OpRefund, s.stripeRefund)
	on("GET /stripe/v1/refunds", OpList, s.stripeRefunds)
	on("GET /stripe/v1/refunds/{id}", OpRead, s.stripeRetrieveRefund)
	on("GET /stripe/v1/charges/{id}", OpRead, s.stripeRetrieveCharge)
	on("/stripe/", OpRead, func(c *call) {
		s.answer(c, refuse(invalid("", "url_unknown", "the sandbox does not play this part of Stripe: "+c.r.Method+" "+c.r.URL.Path)))
	})
}

// openStripe does what comes before any operation: it names the request, looks
// at the API key, and reads the parameters.
func openStripe(s *Server, c *call) *Problem {
	h := c.w.Header()
	h.Set("Request-Id", "req_"+random(7))
	version := c.r.Header.Get("Stripe-Version")
	if version == "" {
		version = APIVersion
	}
	h.Set("Stripe-Version", version)
	if key := c.r.Header.Get("Idempotency-Key"); key != "" {
		h.Set("Idempotency-Key", key)
		if len(key) > maxKey {
			return &Problem{Type: "idempotency_error", Message: "an Idempotency-Key has at most 255 bytes"}
		}
	}
	if p := checkAPIKey(c.r); p != nil {
		return p
	}
	var p *Problem
	c.form, p = readForm(c.w, c.r)
	return p
}

// checkAPIKey takes any secret test key, as bearer token or as the user of
// basic authentication. A live one is refused: it should not have come here.
func checkAPIKey(r *http.Request) *Problem {
	auth := r.Header.Get("Authorization")
	key, bearer := strings.CutPrefix(auth, "Bearer ")
	if b64, basic := strings.CutPrefix(auth, "Basic "); basic {
		raw, _ := base64.StdEncoding.DecodeString(b64)
		key, _, _ = strings.Cut(string(raw), ":")
	} else if !bearer {
		return invalid("", "api_key_invalid", "no API key was given: send any sk_test_… as a bearer token, or as the user of basic authentication")
	}
	switch {
	case strings.HasPrefix(key, "sk_live_"), strings.HasPrefix(key, "rk_live_"):
		return invalid("", "api_key_invalid", "this is a sandbox and you sent it a live key; roll that key, and use any sk_test_… here")
	case !strings.HasPrefix(key, "sk_test_") && !strings.HasPrefix(key, "rk_test_"):
		return invalid("", "api_key_invalid", "the API key must begin with sk_test_")
	}
	return nil
}

// writeStripe writes a result as Stripe does.
func writeStripe(_ *Server, c *call, r result) {
	if r.replayed {
		c.w.Header().Set("Idempotent-Replayed", "true")
	}
	if r.problem != nil {
		writeStripeProblem(c.w, r)
		return
	}
	if r.refund != "" {
		writeJSON(c.w, http.StatusOK, stripeRefundOf(r.intent, r.refund))
		return
	}
	writeJSON(c.w, http.StatusOK, stripeIntent(r.intent, c.form))
}

// writeStripeProblem says too whether repeating the request may help.
func writeStripeProblem(w http.ResponseWriter, r result) {
	status := r.problem.status()
	retry := "false"
	if status == http.StatusConflict || status == http.StatusTooManyRequests || status >= 500 {
		retry = "true"
	}
	w.Header().Set("Stripe-Should-Retry", retry)
	b, _ := json.Marshal(map[string]any{"error": stripeError(r.problem, r.intent)}) // plain fields: cannot fail
	write(w, status, b)
}

func (s *Server) stripeCreate(c *call) {
	f := c.form
	o := order{Currency: f.get("currency"), PaymentMethod: f.get("payment_method"), CaptureMethod: f.get("capture_method"),
		Confirm: f.get("confirm") == "true", ReturnURL: f.get("return_url"), Metadata: f.metadata()}
	if o.CaptureMethod == "" {
		o.CaptureMethod = "automatic_async"
	}
	p := f.check(createParams)
	if p == nil {
		o.Amount, p = f.integer("amount")
	}
	if p == nil {
		p = o.checkStripe()
	}
	if p != nil {
		s.answer(c, refuse(p))
		return
	}
	plan := s.planFor(c, o.PaymentMethod)
	plan.absent = absent(f)
	s.answer(c, s.create(c.key(), f.fingerprint(c.r), &o, plan, false))
}

func (o *order) checkStripe() *Problem {
	if bad := o.checkCommon(1); bad != nil {
		return bad
	}
	switch o.CaptureMethod {
	case "manual", "automatic", "automatic_async":
	default:
		return invalid("capture_method", "parameter_invalid", "capture_method must be one of automatic, automatic_async, or manual")
	}
	if o.PaymentMethod == "" {
		if o.Confirm {
			return invalid("payment_method", "parameter_missing", "a PaymentIntent cannot be confirmed without a payment_method")
		}
		return nil
	}
	return checkMethod(o.PaymentMethod)
}

func (s *Server) stripeConfirm(c *call) {
	f := c.form
	p := f.check(confirmParams)
	if p == nil {
		p = checkReturnURL(f.get("return_url"))
	}
	if method := f.get("payment_method"); p == nil && method != "" {
		p = checkMethod(method)
	}
	if p != nil {
		s.answer(c, refuse(p))
		return
	}
	s.answer(c, s.confirm(c, f.fingerprint(c.r), f.get("payment_method"), absent(f)))
}

// absent says whether the caller wants no action: the buyer is not there.
func absent(f form) bool {
	return f.get("off_session") == "true" || f.get("error_on_requires_action") == "true"
}

func (s *Server) stripeCapture(c *call) {
	f := c.form
	p := f.check(captureParams)
	var amount *int64
	if p == nil {
		amount, p = f.integer("amount_to_capture")
	}
	if p == nil && amount != nil && *amount < 1 {
		p = invalid("amount_to_capture", "parameter_invalid_integer", "amount_to_capture must be at least 1")
	}
	if p != nil {
		s.answer(c, refuse(p))
		return
	}
	take := int64(0)
	if amount != nil {
		take = *amount
	}
	s.answer(c, s.actOn(c.r.PathValue("id"), c.key(), f.fingerprint(c.r), capture(take), func(in *Intent) *Problem {
		if in.Status == Authorised {
			return invalid("amount_to_capture", "amount_too_large", "no more can be captured than was authorised")
		}
		return unexpected(in).problem
	}))
}

func (s *Server) stripeCancel(c *call) {
	reason := c.form.get("cancellation_reason")
	p := c.form.check(cancelParams)
	switch reason {
	case "", "duplicate", "fraudulent", "requested_by_customer", "abandoned":
	default:
		p = invalid("cancellation_reason", "parameter_invalid", "cancellation_reason must be one of duplicate, fraudulent, requested_by_customer, or abandoned")
	}
	if p != nil {
		s.answer(c, refuse(p))
		return
	}
	s.answer(c, s.actOn(c.r.PathValue("id"), c.key(), c.form.fingerprint(c.r), s.cancel(reason, true), func(in *Intent) *Problem { return unexpected(in).problem }))
}

func (s *Server) stripeRetrieve(c *call) {
	if p := c.form.check(retrieveParams); p != nil {
		s.answer(c, refuse(p))
		return
	}
	s.answer(c, s.read(c.r.PathValue("id")))
}
