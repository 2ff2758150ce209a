package sandbox

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

func (s *Server) routes() http.Handler {
	v1 := http.NewServeMux()
	v1.HandleFunc("POST /v1/payment_intents", s.create)
	v1.HandleFunc("GET /v1/payment_intents", s.list)
	v1.HandleFunc("GET /v1/payment_intents/search", s.search)
	v1.HandleFunc("GET /v1/payment_intents/{id}", s.get)
	v1.HandleFunc("POST /v1/payment_intents/{id}/capture", s.act(capture))
	v1.HandleFunc("POST /v1/payment_intents/{id}/cancel", s.act(cancelFor("requested_by_customer")))
	v1.HandleFunc("POST /v1/payment_intents/{id}/refund", s.act(refund))
	v1.HandleFunc("POST /v1/attempts/{attempt}/cancel", s.cancelAttempt)
	v1.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		writeProblem(w, http.StatusNotFound, &Problem{Type: "invalid_request_error", Code: "url_unknown", Message: "no such method and path"})
	})
	mux := http.NewServeMux()
	mux.Handle("/", s.misbehave(v1))
	mux.HandleFunc("GET /control", s.getControl)
	mux.HandleFunc("POST /control", s.postControl)
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok\n") })
	return mux
}

// create authorises. The key is looked at before anything is done, and what was
// done is in the journal, with its answer, before anyone is answered.
func (s *Server) create(w http.ResponseWriter, r *http.Request) {
	key := r.Header.Get("Idempotency-Key")
	if key == "" || len(key) > maxKey {
		writeProblem(w, http.StatusBadRequest, &Problem{Type: "invalid_request_error", Code: "idempotency_key_missing", Message: "an Idempotency-Key of 1 to 255 bytes is required"})
		return
	}
	var p params
	problem := decode(w, r, &p)
	if problem == nil {
		problem = p.check()
	}
	if problem != nil {
		writeProblem(w, http.StatusBadRequest, problem)
		return
	}
	m := Methods[p.PaymentMethod]
	status, body, replayed := s.authorise(key, &p, m)
	if m.Hang && !replayed && status == http.StatusOK {
		patience := time.NewTimer(s.config.HangFor)
		defer patience.Stop()
		select { // authorised and recorded; the caller shall not know
		case <-r.Context().Done():
		case <-patience.C:
		case <-s.closing:
		}
		panic(http.ErrAbortHandler)
	}
	if replayed {
		w.Header().Set("Idempotent-Replayed", "true")
	}
	write(w, status, body)
}

// authorise gives the answer to a create and says whether it is an old one.
func (s *Server) authorise(key string, p *params, m Method) (status int, body []byte, replayed bool) {
	refuse := func(status int, p *Problem) (int, []byte, bool) { return status, problemBody(p), false }
	sum := p.fingerprint()
	attempt := p.Metadata["attempt"]
	if attempt == "" {
		attempt = key
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if k := s.keys[key]; k != nil {
		switch {
		case k.print != sum:
			return refuse(http.StatusBadRequest, &Problem{Type: "idempotency_error", Message: "this Idempotency-Key was used with other parameters"})
		case k.working:
			return refuse(http.StatusConflict, &Problem{Type: "invalid_request_error", Code: "idempotency_key_in_use", Message: "a request with this Idempotency-Key is in progress"})
		case k.answer != nil:
			return k.answer.Status, k.answer.Body, true
		}
		in, err := s.intent(k.id) // a crash cut the first request short
		if err != nil {
			return refuse(http.StatusInternalServerError, internal(err.Error()))
		}
		status, body := answerOf(in)
		return status, body, true
	}
	for _, name := range []string{attempt, key} {
		old, err := s.ofAttempt(name)
		switch {
		case err != nil:
			return refuse(http.StatusInternalServerError, internal(err.Error()))
		case old == nil:
		case old.Status == Cancelled:
			return refuse(http.StatusBadRequest, unexpected(old))
		default:
			return refuse(http.StatusBadRequest, &Problem{Type: "idempotency_error", Message: "the attempt has a payment under another Idempotency-Key"})
		}
	}
	if m.Fail {
		return refuse(http.StatusInternalServerError, internal("pm_sandbox_error fails, and does nothing"))
	}

	in := s.draft(attempt, Processing)
	in.Amount, in.Currency, in.PaymentMethod = *p.Amount, strings.ToLower(p.Currency), p.PaymentMethod
	for k, v := range p.Metadata {
		in.Metadata[k] = v
	}
	in.Metadata["attempt"] = attempt
	rec := record{Intent: in, Key: key, Print: sum}
	if m.Slow {
		if err := s.save(rec); err != nil {
			return refuse(http.StatusInternalServerError, internal(err.Error()))
		}
		s.keys[key].working = true
		s.mu.Unlock()
		over := s.wait(s.config.SlowFor, s.closing)
		s.mu.Lock()
		s.keys[key].working = false
		if !over {
			return refuse(http.StatusInternalServerError, internal("the sandbox is closing"))
		}
	}
	next := *in
	if now := s.intents[in.ID]; now != nil {
		next = *now // a slow one may have been cancelled meanwhile
	}
	if next.Status == Processing {
		next = s.decide(next, m)
	}
	rec.Intent = &next
	rec.Answer = &answer{}
	rec.Answer.Status, rec.Answer.Body = answerOf(&next)
	if err := s.save(rec); err != nil {
		return refuse(http.StatusInternalServerError, internal(err.Error()))
	}
	return rec.Answer.Status, rec.Answer.Body, false
}

// decide approves or declines, as the method or the dice say.
func (s *Server) decide(in Intent, m Method) Intent {
	code := m.DeclineCode
	if code == "" && s.control.DeclineRate > 0 && s.dice.Float64() < s.control.DeclineRate {
		code = "generic_decline"
	}
	switch {
	case code != "":
		in.Status = Declined
		in.LastPaymentError = &Problem{Type: "card_error", Code: "card_declined", DeclineCode: code, Message: "the card was declined: " + code}
	case !m.Processing:
		in.Status = Authorised
	}
	return in
}

// answerOf is what a create says of the intent it made.
func answerOf(in *Intent) (int, []byte) {
	switch in.Status {
	case Declined:
		p := *in.LastPaymentError
		p.PaymentIntent = in
		return http.StatusPaymentRequired, problemBody(&p)
	case Cancelled:
		return http.StatusBadRequest, problemBody(unexpected(in))
	}
	b, _ := json.Marshal(in) // plain fields: cannot fail
	return http.StatusOK, b
}

func unexpected(in *Intent) *Problem {
	return &Problem{Type: "invalid_request_error", Code: "payment_intent_unexpected_state", Message: "the payment is " + string(in.Status), PaymentIntent: in}
}

func missing() *Problem {
	return &Problem{Type: "invalid_request_error", Code: "resource_missing", Message: "no such payment"}
}

func (s *Server) get(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	in, err := s.intent(r.PathValue("id"))
	s.mu.Unlock()
	s.reply(w, in, true, err)
}

// act serves a move of one intent.
func (s *Server) act(m move) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		in, err := s.intent(r.PathValue("id"))
		ok := true
		if err == nil && in != nil {
			in, ok, err = s.move(in, m)
		}
		s.mu.Unlock()
		s.reply(w, in, ok, err)
	}
}

// move saves what m makes of in, if it changes anything. s.mu is held.
func (s *Server) move(in *Intent, m move) (*Intent, bool, error) {
	next, ok := m(*in)
	if !ok || next.Status == in.Status && next.Refunded == in.Refunded {
		return in, ok, nil
	}
	if err := s.save(record{Intent: &next}); err != nil {
		return in, false, err
	}
	return &next, true, nil
}

// cancelAttempt cancels what an attempt made, or bars what it may yet make.
func (s *Server) cancelAttempt(w http.ResponseWriter, r *http.Request) {
	attempt := r.PathValue("attempt")
	if len(attempt) > maxKey {
		writeProblem(w, http.StatusBadRequest, &Problem{Type: "invalid_request_error", Code: "parameter_invalid", Message: "an attempt has at most 255 bytes"})
		return
	}
	s.mu.Lock()
	in, err := s.ofAttempt(attempt)
	ok := true
	switch {
	case err != nil:
	case in == nil:
		in = s.draft(attempt, Cancelled)
		in.CancellationReason = "never_authorised"
		err = s.save(record{Intent: in})
	default:
		in, ok, err = s.move(in, cancelFor("abandoned"))
	}
	s.mu.Unlock()
	s.reply(w, in, ok, err)
}

func (s *Server) search(w http.ResponseWriter, r *http.Request) {
	attempt := r.URL.Query().Get("attempt")
	if attempt == "" {
		writeProblem(w, http.StatusBadRequest, &Problem{Type: "invalid_request_error", Code: "parameter_missing", Param: "attempt", Message: "say which attempt"})
		return
	}
	s.mu.Lock()
	in, err := s.ofAttempt(attempt)
	s.mu.Unlock()
	if err != nil {
		writeProblem(w, http.StatusInternalServerError, internal(err.Error()))
		return
	}
	data := []*Intent{}
	if in != nil {
		data = append(data, in)
	}
	writeJSON(w, http.StatusOK, page{Object: "search_result", Data: data})
}

type page struct {
	Object  string    `json:"object"`
	Data    []*Intent `json:"data"`
	HasMore bool      `json:"has_more"`
}

// list gives the books, oldest first. A payment keeps its place, so a walk
// misses none that was there when it began.
func (s *Server) list(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	limit := 100
	if v := q.Get("limit"); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil || n < 1 || n > 1000 {
			writeProblem(w, http.StatusBadRequest, &Problem{Type: "invalid_request_error", Code: "parameter_invalid", Param: "limit", Message: "limit must lie between 1 and 1000"})
			return
		}
		limit = n
	}
	s.mu.Lock()
	from, err := 0, error(nil)
	if after := q.Get("starting_after"); after != "" {
		at, known := s.place[after]
		if !known {
			s.mu.Unlock()
			writeProblem(w, http.StatusBadRequest, &Problem{Type: "invalid_request_error", Code: "resource_missing", Param: "starting_after", Message: "no such payment"})
			return
		}
		from = at + 1
	}
	out := page{Object: "list", Data: []*Intent{}, HasMore: from+limit < len(s.order)}
	for _, id := range s.order[from:min(from+limit, len(s.order))] {
		var in *Intent
		if in, err = s.intent(id); err != nil {
			break
		}
		out.Data = append(out.Data, in)
	}
	s.mu.Unlock()
	if err != nil {
		writeProblem(w, http.StatusInternalServerError, internal(err.Error()))
		return
	}
	writeJSON(w, http.StatusOK, out)
}

// reply answers with an intent, or with why not.
func (s *Server) reply(w http.ResponseWriter, in *Intent, ok bool, err error) {
	switch {
	case err != nil:
		writeProblem(w, http.StatusInternalServerError, internal(err.Error()))
	case in == nil:
		writeProblem(w, http.StatusNotFound, missing())
	case !ok:
		writeProblem(w, http.StatusBadRequest, unexpected(in))
	default:
		writeJSON(w, http.StatusOK, in)
	}
}

// decode reads one JSON object and refuses fields that mean nothing here.
func decode(w http.ResponseWriter, r *http.Request, into any) *Problem {
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody))
	d.DisallowUnknownFields()
	err := d.Decode(into)
	if err == nil {
		if _, tail := d.Token(); !errors.Is(tail, io.EOF) {
			err = errors.New("more than one JSON value")
		}
	}
	if err != nil {
		return &Problem{Type: "invalid_request_error", Code: "body_invalid", Message: err.Error()}
	}
	return nil
}

func problemBody(p *Problem) []byte {
	b, _ := json.Marshal(map[string]*Problem{"error": p}) // plain fields: cannot fail
	return b
}

func writeProblem(w http.ResponseWriter, status int, p *Problem) { write(w, status, problemBody(p)) }

func writeJSON(w http.ResponseWriter, status int, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		writeProblem(w, http.StatusInternalServerError, internal(err.Error()))
		return
	}
	write(w, status, b)
}

func write(w http.ResponseWriter, status int, body []byte) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = w.Write(body) //nolint:gosec // JSON, and said to be
}
