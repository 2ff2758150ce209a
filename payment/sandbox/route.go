package sandbox

import (
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// face is one way to speak to the sandbox: the plain API or Stripe's. Both work
// on the same payments.
type face struct {
	space string // before the keys of this face, so that the two keep theirs apart
	open  func(*Server, *call) *Problem
	write func(*Server, *call, result)
	keyed func(Op) bool // whether the operation heeds an Idempotency-Key
}

// call is one request on its way.
type call struct {
	w       http.ResponseWriter
	r       *http.Request
	face    *face
	form    form  // of Stripe's face
	fault   Kind  // what becomes of the answer
	outcome Fault // how the payment goes
	claimed string
}

// key is the request's Idempotency-Key as the keyring knows it.
func (c *call) key() string {
	k := c.r.Header.Get("Idempotency-Key")
	if k == "" || c.face.space == "" {
		return k
	}
	return c.face.space + k
}

// routes serves both faces. Stripe's own client for Go wants its paths to begin
// at the root, so there the API key tells whose request it is.
func (s *Server) routes() http.Handler {
	mux := s.mux()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/v1/") && speaksStripe(r.Header) {
			at := *r.URL
			at.Path, at.RawPath = "/stripe"+at.Path, ""
			r = r.WithContext(r.Context())
			r.URL = &at
		}
		mux.ServeHTTP(w, r)
	})
}

func speaksStripe(h http.Header) bool {
	if len(h["Stripe-Version"]) > 0 {
		return true
	}
	auth := h.Get("Authorization")
	return strings.HasPrefix(auth, "Bearer sk_") || strings.HasPrefix(auth, "Bearer rk_") || strings.HasPrefix(auth, "Basic ")
}

func (s *Server) mux() *http.ServeMux {
	mux := http.NewServeMux()
	s.plainRoutes(mux)
	s.stripeRoutes(mux)
	mux.HandleFunc("GET /control", s.getControl)
	mux.HandleFunc("POST /control", s.postControl)
	mux.HandleFunc("GET /control/next", s.getScript)
	mux.HandleFunc("POST /control/next", s.script)
	mux.HandleFunc("DELETE /control/next", s.dropScript)
	mux.HandleFunc("POST /control/intents/{id}/resolve", s.resolve)
	mux.HandleFunc("GET /control/webhooks", s.getWebhooks)
	mux.HandleFunc("POST /control/webhooks", s.addWebhook)
	mux.HandleFunc("DELETE /control/webhooks", s.dropWebhook)
	mux.HandleFunc("POST /control/webhooks/send", s.sendWebhook)
	mux.HandleFunc("GET /3ds/{id}", s.actionPage)
	mux.HandleFunc("POST /3ds/{id}/{what}", s.act3DS)
	mux.HandleFunc("GET /books", s.getBooks)
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok\n") })
	return mux
}

// serve puts before an operation what the control has in store for it.
func (s *Server) serve(f *face, o Op, work func(*call)) http.HandlerFunc {
	heedsKey := f.keyed(o)
	return func(w http.ResponseWriter, r *http.Request) {
		c := &call{w: w, r: r, face: f}
		if f.open != nil {
			if p := f.open(s, c); p != nil {
				c.face.write(s, c, refuse(p))
				return
			}
		}
		key := c.key()
		fate := s.faults.fate(o, r.Header.Get("Idempotency-Key"))
		c.outcome = fate.outcome
		if fate.fault == Outage {
			s.play(c, Outage)
			return
		}
		if heedsKey && key != "" {
			if !s.busy.enter(key) {
				c.face.write(s, c, refuse(keyInUse()))
				return
			}
			c.claimed = key
			defer s.release(c)
		}
		// Not bound to the request: a provider goes on when its caller has left.
		if fate.delay > 0 && !s.wait(fate.delay, s.closing) {
			return
		}
		if fate.fault.early() {
			s.play(c, fate.fault)
			return
		}
		c.fault = fate.fault
		work(c)
	}
}

// release lets the next request with the same key in.
func (s *Server) release(c *call) {
	if c.claimed != "" {
		s.busy.leave(c.claimed)
		c.claimed = ""
	}
}

// answer ends a call: with its result, or with what was to become of it.
func (s *Server) answer(c *call, r result) {
	s.release(c) // whoever hears the answer may ask again at once
	if r.fault != "" {
		c.fault = r.fault
	}
	if c.fault != "" {
		s.play(c, c.fault)
		return
	}
	c.face.write(s, c, r)
}

// play answers as the fault has it, whatever was done.
func (s *Server) play(c *call, k Kind) {
	s.release(c)
	switch k {
	case TimeoutBefore, TimeoutAfter:
		s.hang(c.r)
	case RateLimit:
		s.retryAfter(c.w)
		c.face.write(s, c, refuse(invalid("", "rate_limit", "too many requests; nothing was done")))
	case Outage:
		s.retryAfter(c.w)
		c.face.write(s, c, refuse(&Problem{Type: "api_error", Code: "outage", Message: "the sandbox plays an outage; nothing was done"}))
	default:
		c.face.write(s, c, refuse(internal("the sandbox was told to fail")))
	}
}

func (s *Server) retryAfter(w http.ResponseWriter) {
	c := s.faults.now()
	wait := max(c.RetryAfterS, 1)
	if c.OutageForMS > 0 && c.RetryAfterS == 0 {
		wait = max((c.OutageForMS+999)/1000, 1)
	}
	w.Header().Set("Retry-After", strconv.Itoa(wait))
}

// hang leaves the caller without an answer, and in the end without a connection.
func (s *Server) hang(r *http.Request) {
	patience := s.config.HangFor
	if ms := s.faults.now().HangMS; ms > 0 {
		patience = time.Duration(ms) * time.Millisecond
	}
	t := time.NewTimer(patience)
	defer t.Stop()
	select {
	case <-r.Context().Done():
	case <-t.C:
	case <-s.closing:
	}
	panic(http.ErrAbortHandler)
}

// pause waits for d or until stop closes, and says whether d is over.
func pause(d time.Duration, stop <-chan struct{}) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-stop:
		return false
	}
}

// baseOf is where the browser of a buyer finds the sandbox.
func (s *Server) baseOf(r *http.Request) string {
	switch {
	case s.config.PublicURL != "":
		return s.config.PublicURL
	case r.Host != "":
		return "http://" + r.Host
	}
	return s.URL()
}
