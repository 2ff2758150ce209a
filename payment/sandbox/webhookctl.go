package sandbox

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
)

// Deliveries lists what became of the events, oldest first.
func (s *Server) Deliveries() []Delivery {
	_, list, _ := s.hooks.summary()
	return list
}

// Tell adds an endpoint that is to hear of what happens, or changes the one of
// that URL: whoever starts a sandbox may know later than New where that is.
func (s *Server) Tell(h Webhook) error { return s.hooks.add(h) }

// summary is how the webhooks stand; secrets are not shown.
func (h *hooks) summary() (ends []Webhook, list []Delivery, overflow int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	ends = []Webhook{}
	for _, e := range h.ends {
		e.Secret = ""
		ends = append(ends, e)
	}
	for _, d := range append(slices.Clone(h.finished), slices.Collect(maps.Values(h.open))...) {
		list = append(list, *d)
	}
	slices.SortFunc(list, func(a, b Delivery) int { return a.N - b.N })
	return ends, list, h.overflow
}

// remove forgets an endpoint; what is open for it is given up when it falls due.
func (h *hooks) remove(url string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := len(h.ends)
	h.ends = slices.DeleteFunc(h.ends, func(o Webhook) bool { return o.URL == url })
	h.some.Store(len(h.ends) > 0)
	return len(h.ends) < n
}

// getWebhooks is GET /control/webhooks?status=&type=&intent=&limit=, newest last.
func (s *Server) getWebhooks(w http.ResponseWriter, r *http.Request) {
	ends, list, overflow := s.hooks.summary()
	q := r.URL.Query()
	wanted := func(name, value string) bool { v := q.Get(name); return v == "" || v == value }
	counts := map[string]int{}
	data := []Delivery{}
	for _, d := range list {
		counts[d.Status]++
		if wanted("status", d.Status) && wanted("type", d.Type) && wanted("intent", d.Intent) {
			data = append(data, d)
		}
	}
	if n, err := strconv.Atoi(q.Get("limit")); err == nil && n >= 0 && n < len(data) {
		data = data[len(data)-n:]
	}
	writeJSON(w, http.StatusOK, map[string]any{"object": "list", "endpoints": ends, "counts": counts, "overflow": overflow, "data": data})
}

// addWebhook is POST /control/webhooks: one endpoint.
func (s *Server) addWebhook(w http.ResponseWriter, r *http.Request) {
	var end Webhook
	body, p := readBody(w, r)
	if p == nil {
		p = decode(body, &end)
	}
	if p == nil {
		if err := s.hooks.add(end); err != nil {
			p = invalid("", "parameter_invalid", err.Error())
		}
	}
	if p != nil {
		writeProblem(w, p)
		return
	}
	s.getWebhooks(w, r)
}

// dropWebhook is DELETE /control/webhooks?url=.
func (s *Server) dropWebhook(w http.ResponseWriter, r *http.Request) {
	if !s.hooks.remove(r.URL.Query().Get("url")) {
		writeProblem(w, invalid("", "resource_missing", "no webhook has this url; name it as ?url="))
		return
	}
	s.getWebhooks(w, r)
}

// sendWebhook is POST /control/webhooks/send: an event about a payment as it
// stands, now, true or not, under a fault if one is named.
func (s *Server) sendWebhook(w http.ResponseWriter, r *http.Request) {
	var q struct {
		Intent  string `json:"intent"` // its id, or its attempt
		Type    string `json:"type"`   // empty: what it stands for
		Fault   Kind   `json:"fault"`
		DelayMS int    `json:"delay_ms"`
	}
	body, p := readBody(w, r)
	if p == nil {
		p = decode(body, &q)
	}
	if p == nil && q.Fault != "" {
		if err := (&Fault{Op: OpWebhook, Fault: q.Fault, DelayMS: q.DelayMS}).check(); err != nil {
			p = invalid("fault", "parameter_invalid", err.Error())
		}
	}
	if p != nil {
		writeProblem(w, p)
		return
	}
	s.mu.Lock()
	in, err := s.find(q.Intent)
	s.mu.Unlock()
	if err != nil || in == nil {
		writeProblem(w, missing())
		return
	}
	if q.Type == "" {
		if kinds := eventsOf(nil, in); len(kinds) > 0 {
			q.Type = kinds[len(kinds)-1]
		} else {
			writeProblem(w, invalid("type", "parameter_missing", fmt.Sprintf("nothing is told of a payment that is %s: say which type", in.Status)))
			return
		}
	}
	writeJSON(w, http.StatusOK, map[string]string{"event": s.hooks.emit(q.Type, in, q.Fault, slowFor(q.DelayMS))})
}
