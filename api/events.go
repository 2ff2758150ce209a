package api

import (
	"bufio"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/flashsale-engine/flashsale/engine"
)

// Server-sent events: the document of a sale or of its waiting room, whenever it says
// something new.

const (
	eventsEvery = 250 * time.Millisecond // between two looks
	heartbeat   = 15 * time.Second       // between two signs of life, so that proxies keep the connection
)

func (s *Server) saleEvents(x *exchange) error {
	if !saleID(x.param) {
		return engine.E(engine.CodeNotFound, "no such sale")
	}
	return s.events(x, func(sale string) (page, error) {
		p, err := s.sales.page(sale)
		return s.dated(p), err
	})
}

func (s *Server) queueEvents(x *exchange) error {
	return s.events(x, func(sale string) (page, error) {
		v, err := s.room(sale)
		if err != nil {
			return page{}, err
		}
		return s.rooms.of(v), nil
	})
}

// events streams what look gives of the path's sale.
func (s *Server) events(x *exchange, look func(sale string) (page, error)) error {
	p, err := look(x.param)
	if err != nil {
		return err
	}
	if s.streams.Add(1) > int64(s.opt.MaxStreams) {
		s.streams.Add(-1)
		return engine.E(engine.CodeOverloaded, "this node has as many streams as it can; poll the document").After(time.Second)
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
		s.stream(w, p, func() (page, error) { return look(sale) }, func() { _ = c.SetWriteDeadline(time.Now().Add(s.opt.WriteTimeout)) })
	})
	return nil
}

// stream writes until the client has gone, nothing new can come, or the node ends.
func (s *Server) stream(w *bufio.Writer, p page, look func() (page, error), soon func()) {
	tick := time.NewTicker(eventsEvery)
	defer tick.Stop()
	told, quiet := "", time.Duration(0)
	for {
		text := ""
		switch {
		case p.tag != told:
			text = "data: " + string(p.body) + "\n\n"
			told, quiet = p.tag, 0
		case quiet >= heartbeat:
			text, quiet = ": still here\n\n", 0
		}
		if text != "" {
			soon()
			if _, err := w.WriteString(text); err != nil || w.Flush() != nil {
				return
			}
		}
		if p.last {
			return
		}
		select {
		case <-s.leaving:
			return
		case <-tick.C:
			quiet += eventsEvery
		}
		if now, err := look(); err == nil { // if it cannot be read, the client hears nothing new
			p = now
		}
	}
}
