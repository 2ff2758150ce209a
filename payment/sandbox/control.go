package sandbox

import (
	"errors"
	"math/rand/v2"
	"net/http"
	"time"
)

// Control is how the sandbox misbehaves, for every request under /v1/.
type Control struct {
	Outage      bool    `json:"outage"`       // accept the connection, answer 503, do nothing
	LatencyMS   int     `json:"latency_ms"`   // wait this long before the work
	DeclineRate float64 `json:"decline_rate"` // share of approvals that become declines
	ErrorRate   float64 `json:"error_rate"`   // share of POSTs answered 500, half of them after the work was done
	Seed        uint64  `json:"seed"`         // of the dice; setting it starts them anew
}

// change is a Control in which what is not given stays as it is.
type change struct {
	Outage      *bool    `json:"outage"`
	LatencyMS   *int     `json:"latency_ms"`
	DeclineRate *float64 `json:"decline_rate"`
	ErrorRate   *float64 `json:"error_rate"`
	Seed        *uint64  `json:"seed"`
}

func (c change) apply(to Control) Control {
	set(&to.Outage, c.Outage)
	set(&to.LatencyMS, c.LatencyMS)
	set(&to.DeclineRate, c.DeclineRate)
	set(&to.ErrorRate, c.ErrorRate)
	set(&to.Seed, c.Seed)
	return to
}

func set[T any](to, from *T) {
	if from != nil {
		*to = *from
	}
}

// Control gives how the sandbox misbehaves now.
func (s *Server) Control() Control {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.control
}

// SetControl changes how the sandbox misbehaves and restarts the dice.
func (s *Server) SetControl(c Control) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.setControl(c)
}

func (s *Server) setControl(c Control) error {
	switch {
	case c.LatencyMS < 0 || c.LatencyMS > 600_000:
		return errors.New("latency_ms must lie between 0 and 600000")
	case !(c.DeclineRate >= 0 && c.DeclineRate <= 1):
		return errors.New("decline_rate must lie between 0 and 1")
	case !(c.ErrorRate >= 0 && c.ErrorRate <= 1):
		return errors.New("error_rate must lie between 0 and 1")
	}
	s.control = c
	s.dice = rand.New(rand.NewPCG(c.Seed, 0x5a17db0c)) //nolint:gosec // seeded on purpose: faults must repeat
	return nil
}

func (s *Server) getControl(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, s.Control())
}

func (s *Server) postControl(w http.ResponseWriter, r *http.Request) {
	var c change
	if p := decode(w, r, &c); p != nil {
		writeProblem(w, http.StatusBadRequest, p)
		return
	}
	s.mu.Lock()
	err := s.setControl(c.apply(s.control))
	now := s.control
	s.mu.Unlock()
	if err != nil {
		writeProblem(w, http.StatusBadRequest, &Problem{Type: "invalid_request_error", Code: "parameter_invalid", Message: err.Error()})
		return
	}
	writeJSON(w, http.StatusOK, now)
}

// misbehave stands before every handler of the API.
func (s *Server) misbehave(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		c := s.control
		fails := r.Method == http.MethodPost && c.ErrorRate > 0 && s.dice.Float64() < c.ErrorRate
		late := fails && s.dice.Uint64()&1 == 1
		s.mu.Unlock()
		if c.Outage {
			w.Header().Set("Retry-After", "1")
			writeProblem(w, http.StatusServiceUnavailable, &Problem{Type: "api_error", Code: "outage", Message: "the sandbox plays an outage; nothing was done"})
			return
		}
		// Not bound to the request: a provider goes on when its caller has left.
		if c.LatencyMS > 0 && !s.wait(time.Duration(c.LatencyMS)*time.Millisecond, s.closing) {
			return
		}
		if !fails {
			next.ServeHTTP(w, r)
			return
		}
		if late {
			next.ServeHTTP(discard{http.Header{}}, r)
		}
		writeProblem(w, http.StatusInternalServerError, internal("the sandbox was told to fail"))
	})
}

// discard takes an answer that nobody will see.
type discard struct{ header http.Header }

func (d discard) Header() http.Header         { return d.header }
func (d discard) Write(b []byte) (int, error) { return len(b), nil }
func (d discard) WriteHeader(int)             {}

func internal(message string) *Problem {
	return &Problem{Type: "api_error", Code: "internal", Message: message}
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
