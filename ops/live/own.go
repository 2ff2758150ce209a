package live

import (
	"cmp"
	"runtime"
	"slices"
)

// What this node says of itself, read from its own metrics.

const (
	mRequests = "flashsale_http_requests_total"
	mLines    = "flashsale_http_batch_lines_total"
	mSeconds  = "flashsale_http_request_seconds"
	mDecided  = "flashsale_gate_decisions_total"

	routeReserve  = "/v1/sales/{sale}/reservations"
	routeBatch    = "/v1/sales/{sale}/reservations:batch"
	routeCheckout = "/v1/reservations/{id}/checkout"

	stageAsked = "asked"
	stageHeld  = "held"
)

// flow is a total with its rate.
func (s *state) flow(name string, l labels) Reason {
	r := Reason{Rate: s.meter.rate(name, l)}
	if r.Rate == nil && len(s.meter.past) > 1 && s.meter.value("flashsale_http_asking_requests", nil) != nil {
		r.Rate = new(float64) // a node that answers buyers, and has answered none so
	}
	if v := s.meter.value(name, l); v != nil {
		r.Total = *v
	}
	return r
}

func plus(a, b Reason) Reason {
	a.Total += b.Total
	if a.Rate == nil {
		a.Rate = b.Rate
	} else if b.Rate != nil {
		sum := *a.Rate + *b.Rate
		a.Rate = &sum
	}
	return a
}

// funnel needs mu.
func (s *state) funnel() []Stage {
	single := labels{"route": routeReserve, "method": "POST"}
	asked := plus(s.flow(mRequests, single), s.flow(mLines, nil))
	reserve := stage(stageAsked, asked)
	for _, code := range s.codes(mRequests, single) {
		reserve.drop(code, s.flow(mRequests, labels{"route": routeReserve, "method": "POST", "code": code}))
	}
	for _, code := range s.codes(mLines, nil) {
		reserve.drop(code, s.flow(mLines, labels{"code": code}))
	}

	held := stage(stageHeld, s.flow(mDecided, labels{"op": "hold", "result": "ok"}))
	held.drop("expired", s.flow("flashsale_gate_reaped_total", nil))
	held.drop("released", s.flow(mDecided, labels{"op": "release", "result": "ok"}))

	paid := stage("checkout", s.flow(mRequests, labels{"route": routeCheckout, "method": "POST"}))
	for _, code := range s.codes(mRequests, labels{"route": routeCheckout, "method": "POST"}) {
		paid.drop(code, s.flow(mRequests, labels{"route": routeCheckout, "method": "POST", "code": code}))
	}
	paid.drop("pending", s.flow(mRequests, labels{"route": routeCheckout, "method": "POST", "status": "202"}))

	sold := stage("accepted", s.flow(mDecided, labels{"op": "claim", "result": "ok"}))
	sold.drop("refused", s.flow("flashsale_writer_orders_total", labels{"state": "refused"}))
	sold.drop("dead letter", s.flow("flashsale_dead_letters_total", nil))

	confirmed := stage("confirmed", s.flow("flashsale_writer_orders_total", labels{"state": "confirmed"}))
	out := []Stage{reserve, held, paid, sold, confirmed}
	for i := range out {
		slices.SortFunc(out[i].Out, func(a, b Reason) int {
			return cmp.Or(cmp.Compare(known(b.Rate), known(a.Rate)), cmp.Compare(b.Total, a.Total))
		})
	}
	return out
}

func stage(name string, f Reason) Stage {
	return Stage{Name: name, Total: f.Total, Rate: f.Rate, Out: []Reason{}}
}

// drop adds to the reasons for coming no further.
func (s *Stage) drop(why string, f Reason) {
	if why == "ok" || f.Total == 0 {
		return
	}
	f.Why = why
	for i := range s.Out {
		if s.Out[i].Why == why {
			s.Out[i] = plus(s.Out[i], f)
			return
		}
	}
	s.Out = append(s.Out, f)
}

func (s *state) codes(name string, l labels) []string { return s.meter.values(name, "code", l) }

func known(v *float64) float64 {
	if v == nil {
		return 0
	}
	return *v
}

// steps needs mu.
func (s *state) steps() (out []Step) {
	for _, st := range []struct {
		name, metric string
		pick         labels
	}{
		{"reserve", mSeconds, labels{"route": routeReserve}},
		{"batch", mSeconds, labels{"route": routeBatch}},
		{"gate call", "flashsale_gate_call_seconds", labels{"script": "batch"}},
		{"checkout", mSeconds, labels{"route": routeCheckout}},
		{"authorise", "flashsale_dependency_call_duration_seconds", labels{"op": "authorise"}},
		{"commit", "flashsale_writer_commit_seconds", nil},
		{"capture", "flashsale_dependency_call_duration_seconds", labels{"op": "capture"}},
	} {
		v := Step{Name: st.name, Rate: s.meter.rate(st.metric, st.pick)}
		if q := s.meter.quantiles(st.metric, st.pick, .5, .99, .999); q != nil {
			v.P50, v.P99, v.P999 = &q[0], &q[1], &q[2]
		}
		if st.name != "batch" || over(v.Rate, 0) {
			out = append(out, v)
		}
	}
	return out
}

// pressure needs mu.
func (s *state) pressure() Pressure {
	p := Pressure{Asking: s.meter.value("flashsale_http_asking_requests", nil), Most: s.meter.value("flashsale_http_asking_limit_requests", nil),
		Overloaded: s.meter.rate(mRequests, labels{"code": "overloaded"}), Limited: s.meter.rate(mRequests, labels{"code": "rate_limited"})}
	if p.Asking != nil { // no request was ever answered so: that is known
		zero := 0.0
		if p.Overloaded == nil {
			p.Overloaded = &zero
		}
		if p.Limited == nil {
			p.Limited = &zero
		}
	}
	return p
}

// headroom needs mu.
func (s *state) headroom(l *Live) (h Headroom) {
	h.Shares = []Share{}
	use := func(name string, used *float64) {
		h.Shares = append(h.Shares, Share{name, used})
		if used != nil && (h.Used == nil || *used > *h.Used) {
			h.Used, h.By = used, name
		}
	}
	for _, n := range l.Needs.Redis {
		if n.Name == needRedisCPU {
			use("Redis", n.Value)
		}
	}
	if cpu := s.meter.rate("process_cpu_seconds_total", nil); cpu != nil {
		*cpu /= float64(runtime.GOMAXPROCS(0))
		use("this node's processors", cpu)
	}
	if p := l.Pressure; p.Asking != nil && over(p.Most, 0) {
		share := *p.Asking / *p.Most
		use("requests at once", &share)
	}
	if s.src.Knee != nil {
		h.Knee = s.knee(l)
	}
	return h
}

// knee asks the capacity model. It needs mu.
func (s *state) knee(l *Live) *Knee {
	asked, decided, bought := l.Funnel[0].Rate, s.flow(mDecided, labels{"op": "hold"}).Rate, l.Funnel[3].Rate
	if asked == nil || decided == nil || bought == nil {
		return nil
	}
	k := s.src.Knee(Mix{Decided: *decided, Refused: max(0, *asked-*decided), Bought: *bought})
	k.Rate = *asked
	return &k
}
