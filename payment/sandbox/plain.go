package sandbox

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
)

// The plain API: Stripe's PaymentIntents in JSON, with repeatable moves and
// attempts that can be cancelled before they were ever seen.

var plainFace = &face{
	write: func(_ *Server, c *call, r result) { writePlain(c.w, r) },
	keyed: func(o Op) bool { return o == OpAuthorise }, // the others are idempotent by what they do
}

func (s *Server) plainRoutes(mux *http.ServeMux) {
	on := func(pattern string, o Op, work func(*call)) { mux.HandleFunc(pattern, s.serve(plainFace, o, work)) }
	on("POST /v1/payment_intents", OpAuthorise, s.plainCreate)
	on("GET /v1/payment_intents", OpList, s.plainList)
	on("GET /v1/payment_intents/search", OpSearch, s.plainSearch)
	on("GET /v1/payment_intents/{id}", OpRead, func(c *call) { s.answer(c, s.read(c.r.PathValue("id"))) })
	on("POST /v1/payment_intents/{id}/capture", OpCapture, s.plainAct(capture(0)))
	on("POST /v1/payment_intents/{id}/cancel", OpCancel, s.plainAct(s.cancel("requested_by_customer", false)))
	on("POST /v1/payment_intents/{id}/refund", OpRefund, s.plainAct(s.refund(-1, "", nil)))
	on("POST /v1/attempts/{attempt}/cancel", OpCancel, s.cancelAttempt)
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		writeProblem(w, invalid("", "url_unknown", "no such method and path"))
	})
}

// plainCreate authorises. The key is looked at before anything is done, and what
// was done is in the journal, with its answer, before anyone is answered.
func (s *Server) plainCreate(c *call) {
	key := c.r.Header.Get("Idempotency-Key")
	if key == "" || len(key) > maxKey {
		s.answer(c, refuse(invalid("", "idempotency_key_missing", "an Idempotency-Key of 1 to 255 bytes is required")))
		return
	}
	var o order
	body, p := readBody(c.w, c.r)
	if p == nil {
		p = decode(body, &o)
	}
	if p == nil {
		p = o.check()
	}
	if p != nil {
		s.answer(c, refuse(p))
		return
	}
	s.answer(c, s.create(key, o.fingerprint(), &o, s.planFor(c, o.PaymentMethod), true))
}

func (s *Server) plainAct(m move) func(*call) {
	return func(c *call) { s.answer(c, s.actOn(c.r.PathValue("id"), "", fingerprint{}, m, nil)) }
}

// read gives one payment as it is by now.
func (s *Server) read(id string) result {
	s.mu.Lock()
	in, err := s.intent(id)
	s.mu.Unlock()
	switch {
	case err != nil:
		return failed(err)
	case in == nil:
		return refuse(missing())
	}
	return result{intent: in}
}

// cancelAttempt cancels what an attempt made, or bars what it may yet make.
func (s *Server) cancelAttempt(c *call) {
	attempt := c.r.PathValue("attempt")
	if len(attempt) > maxKey {
		s.answer(c, refuse(invalid("", "parameter_invalid", "an attempt has at most 255 bytes")))
		return
	}
	s.answer(c, s.bar(attempt))
}

func (s *Server) bar(attempt string) result {
	s.mu.Lock()
	defer s.mu.Unlock()
	in, err := s.ofAttempt(attempt)
	switch {
	case err != nil:
		return failed(err)
	case in == nil:
		in = s.draft(Cancelled)
		in.Metadata = map[string]string{"attempt": attempt}
		in.CancellationReason, in.CanceledAt = "never_authorised", in.Created
		if err := s.save(record{Intent: in}); err != nil {
			return failed(err)
		}
		return result{intent: in}
	}
	in, v, err := s.move(in, s.cancel("abandoned", false), record{})
	switch {
	case err != nil:
		return failed(err)
	case v == impossible:
		return unexpected(in)
	}
	return result{intent: in}
}

func (s *Server) plainSearch(c *call) {
	attempt := c.r.URL.Query().Get("attempt")
	if attempt == "" {
		s.answer(c, refuse(invalid("attempt", "parameter_missing", "say which attempt")))
		return
	}
	s.mu.Lock()
	in, err := s.ofAttempt(attempt)
	if in != nil && err == nil {
		in = s.asSearched(in)
	}
	s.mu.Unlock()
	if err != nil {
		s.answer(c, failed(err))
		return
	}
	data := []*Intent{}
	if in != nil {
		data = append(data, in)
	}
	s.answerJSON(c, page{Object: "search_result", Data: data})
}

type page struct {
	Object  string    `json:"object"`
	Data    []*Intent `json:"data"`
	HasMore bool      `json:"has_more"`
}

// plainList gives the payments, oldest first. A payment keeps its place, so a
// walk misses none that was there when it began.
func (s *Server) plainList(c *call) {
	q := c.r.URL.Query()
	limit := 100
	if v := q.Get("limit"); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil || n < 1 || n > 1000 {
			s.answer(c, refuse(invalid("limit", "parameter_invalid", "limit must lie between 1 and 1000")))
			return
		}
		limit = n
	}
	out, p := s.page(q.Get("starting_after"), limit)
	if p != nil {
		s.answer(c, refuse(p))
		return
	}
	s.answerJSON(c, out)
}

func (s *Server) page(after string, limit int) (page, *Problem) {
	s.mu.Lock()
	defer s.mu.Unlock()
	from := 0
	if after != "" {
		last, known := s.intents[after]
		if !known {
			return page{}, invalid("starting_after", "resource_missing", "no such payment")
		}
		from = last.place + 1
	}
	out := page{Object: "list", Data: []*Intent{}, HasMore: from+limit < len(s.order)}
	for _, id := range s.order[from:min(from+limit, len(s.order))] {
		in, err := s.intent(id)
		if err != nil {
			return page{}, internal(err.Error())
		}
		out.Data = append(out.Data, in)
	}
	return out, nil
}

// answerJSON ends a call with something that is no payment.
func (s *Server) answerJSON(c *call, v any) {
	if c.fault != "" {
		s.play(c, c.fault)
		return
	}
	writeJSON(c.w, http.StatusOK, v)
}

// writePlain writes a payment, or why not.
func writePlain(w http.ResponseWriter, r result) {
	if r.replayed {
		w.Header().Set("Idempotent-Replayed", "true")
	}
	if r.problem == nil {
		writeIntent(w, r.intent)
		return
	}
	p := *r.problem
	p.PaymentIntent = r.intent
	writeProblem(w, &p)
}

func readBody(w http.ResponseWriter, r *http.Request) ([]byte, *Problem) {
	b, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		return nil, invalid("", "body_invalid", err.Error())
	}
	return bytes.TrimSpace(b), nil
}

// decode reads one JSON value and refuses fields that mean nothing here.
func decode(body []byte, into any) *Problem {
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	err := d.Decode(into)
	if err == nil {
		if _, tail := d.Token(); !errors.Is(tail, io.EOF) {
			err = errors.New("more than one JSON value")
		}
	}
	if err != nil {
		return invalid("", "body_invalid", err.Error())
	}
	return nil
}

func writeProblem(w http.ResponseWriter, p *Problem) {
	b, _ := json.Marshal(map[string]*Problem{"error": p}) // plain fields: cannot fail
	write(w, p.status(), b)
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		writeProblem(w, internal(err.Error()))
		return
	}
	write(w, status, b)
}

func write(w http.ResponseWriter, status int, body []byte) {
	h := w.Header()
	h["Content-Type"] = contentJSON
	h["X-Content-Type-Options"] = noSniff
	w.WriteHeader(status)
	_, _ = w.Write(body)
}

// Header values that every answer has: shared, so never changed.
var (
	contentJSON = []string{"application/json"}
	noSniff     = []string{"nosniff"}
)
