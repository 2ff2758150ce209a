package ops

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/flashsale-engine/flashsale/engine"
	"github.com/flashsale-engine/flashsale/ops/console"
	"github.com/flashsale-engine/flashsale/ops/live"
)

func (s *Server) liveRoutes(m *http.ServeMux) {
	m.HandleFunc("GET /admin/v1/me", s.allow(Viewer, s.whoAmI))
	m.Handle("GET /console/", console.Handler("/console/"))
	if s.Live != nil {
		m.HandleFunc("GET /admin/v1/live", s.allow(Viewer, s.watch))
	}
}

func (s *Server) whoAmI(w http.ResponseWriter, r *http.Request) error {
	who, err := s.bearer(r)
	if err != nil {
		return err
	}
	reply(w, http.StatusOK, map[string]any{"name": who.Name, "role": who.Role.String()})
	return nil
}

// writePatience is how long a snapshot may take to leave. Who reads none for so long
// has gone, or may come again.
const writePatience = 5 * time.Second

// streamFor is how long a stream lives. Who goes on looking comes again, with a token
// that is judged again.
const streamFor = 5 * time.Minute

// watch sends snapshots as server-sent events for as long as somebody reads them, or
// just the next one as JSON to who does not ask for events.
func (s *Server) watch(w http.ResponseWriter, r *http.Request) error {
	frames, past, leave := s.Live.Look()
	defer leave()
	if !strings.Contains(r.Header.Get("Accept"), "text/event-stream") {
		select {
		case f, open := <-frames:
			if !open {
				return engine.E(engine.CodeUnavailable, "this node is stopping")
			}
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write(f.JSON)
			return nil
		case <-r.Context().Done():
			return nil
		}
	}
	control := http.NewResponseController(w)
	// The listener's time-outs are for requests; this one has no end.
	if err := control.SetReadDeadline(time.Time{}); err != nil {
		return err
	}
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("X-Accel-Buffering", "no") // a proxy must not gather them
	send := func(event string, data []byte) error {
		_ = control.SetWriteDeadline(time.Now().Add(writePatience)) // else the write says so
		if _, err := fmt.Fprintf(w, "event: %s\ndata: %s\n\n", event, data); err != nil {
			return err
		}
		return control.Flush()
	}
	if past == nil {
		past = []live.Point{}
	}
	first, err := json.Marshal(past)
	if err != nil {
		return err
	}
	end := time.NewTimer(streamFor)
	defer end.Stop()
	for err = send("past", first); err == nil; {
		select {
		case f, open := <-frames:
			if !open {
				return nil
			}
			err = send("live", f.JSON)
		case <-end.C:
			return nil
		case <-r.Context().Done():
			return nil
		}
	}
	return nil // nobody is there to be told
}
