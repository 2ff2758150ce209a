package api

import (
	"bufio"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/flashsale-engine/flashsale/engine"
)

// Server-sent events: the waiting room's document, whenever it says something new.

const (
	eventsEvery = 250 * time.Millisecond // between two looks
	heartbeat   = 15 * time.Second       // between two signs of life, so that proxies keep the connection
)

func (s *Server) queueEvents(x *exchange) error {
	v, err := s.room(x.param)
	if err != nil {
		return err
	}
	if s.streams.Add(1) > int64(s.opt.MaxStreams) {
		s.streams.Add(-1)
		return engine.E(engine.CodeOverloaded, "this node has as many streams as it can; poll the queue's document").After(time.Second)
	}
	x.set(fasthttp.HeaderCacheControl, "no-store")
	x.http.SetStatusCode(fasthttp.StatusOK)
	x.common("text/event-stream")
	if string(x.http.Method()) == fasthttp.MethodHead {
		s.streams.Add(-1)
		return nil
	}
	sale, c := x.param, x.http.Conn()
	x.http.SetBodyStreamWriter(func(w *bufio.Writer) { // x is somebody else's by then
		defer s.streams.Add(-1)
		s.stream(sale, v, w, func() { _ = c.SetWriteDeadline(time.Now().Add(s.opt.WriteTimeout)) })
	})
	return nil
}

// stream writes until the client has gone, the room is closed, or the node ends.
func (s *Server) stream(sale string, v *engine.RoomView, w *bufio.Writer, soon func()) {
	tick := time.NewTicker(eventsEvery)
	defer tick.Stop()
	var told *engine.RoomView
	quiet := time.Duration(0)
	for {
		text := ""
		switch {
		case v != nil && !v.Same(told):
			text = "data: " + string(s.rooms.of(v).body) + "\n\n"
			told, quiet = v, 0
		case quiet >= heartbeat:
			text, quiet = ": still here\n\n", 0
		}
		if text != "" {
			soon()
			if _, err := w.WriteString(text); err != nil || w.Flush() != nil {
				return
			}
		}
		if v != nil && v.State == "closed" {
			return
		}
		select {
		case <-s.leaving:
			return
		case <-tick.C:
			quiet += eventsEvery
		}
		v, _ = s.room(sale) // if it cannot be read, the client hears nothing new
	}
}
