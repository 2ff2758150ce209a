package api

import (
	"fmt"
	"maps"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/flashsale-engine/flashsale/engine"
)

// metrics counts answers. All label values come from closed sets, so that no
// stranger can make a new series; code is the refusal's code, "ok" if none.
type metrics struct {
	routes   [routeCount]route
	requests *prometheus.CounterVec
	lines    *prometheus.CounterVec
	turned   prometheus.Counter
}

// routeMetrics holds a route's series. Counters are found in a map that is
// copied when one is added, which ends soon: a look-up takes no lock.
type routeMetrics struct {
	seconds  prometheus.Observer
	mu       sync.Mutex
	counters atomic.Pointer[map[outcome]prometheus.Counter]
}

type outcome struct {
	method string
	status int
	code   engine.Code
}

func newMetrics(reg prometheus.Registerer, s *Server) (*metrics, error) {
	m := &metrics{routes: routeTable()}
	m.requests = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "flashsale_http_requests_total",
		Help: "Requests answered, by route, method, status and refusal code.",
	}, []string{"route", "method", "status", "code"})
	m.lines = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "flashsale_http_batch_lines_total",
		Help: "Lines of reservations:batch answered, by refusal code; ok if none.",
	}, []string{"code"})
	seconds := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "flashsale_http_request_seconds",
		Help:    "Time from a request's last byte read to its answer, by route. A checkout includes the wait for the commit.",
		Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30},
	}, []string{"route"})
	gauge := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "flashsale_http_in_flight_requests",
		Help: "Requests being worked on now.",
	}, func() float64 { return float64(s.inFlight.Load()) })
	asking := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "flashsale_http_asking_requests",
		Help: "Requests for stock being worked on now, lines of batches counted.",
	}, func() float64 { return float64(s.pressure.asking.Load()) })
	most := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "flashsale_http_asking_limit_requests",
		Help: "Requests for stock that may be under way at once. It falls when their answers take longer than the target latency.",
	}, func() float64 { return float64(s.pressure.limit.Load()) })
	room := prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "flashsale_http_in_flight_limit_requests",
		Help: "Requests being worked on, of all classes, beyond which one of this class is told 503 overloaded.",
	}, []string{"class"})
	for r := holders; r < rankCount; r++ {
		room.WithLabelValues(rankNames[r]).Set(float64(r.room(s.opt.MaxInFlight)))
	}
	m.turned = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "flashsale_limit_connections_refused_total",
		Help: "Connections that were refused because their address has as many open as one may have.",
	})
	for _, c := range []prometheus.Collector{m.requests, m.lines, m.turned, seconds, gauge, asking, most, room} {
		if err := reg.Register(c); err != nil {
			return nil, fmt.Errorf("api: metrics: %w", err)
		}
	}
	for i := range m.routes {
		r := &routeMetrics{seconds: seconds.WithLabelValues(m.routes[i].pattern)}
		r.counters.Store(&map[outcome]prometheus.Counter{})
		m.routes[i].metrics = r
	}
	return m, nil
}

func (m *metrics) count(r *route, method string, status int, code engine.Code) {
	o := outcome{method, status, code}
	if c, ok := (*r.metrics.counters.Load())[o]; ok {
		c.Inc()
		return
	}
	label := string(code)
	if label == "" {
		label = "ok"
	}
	c := m.requests.WithLabelValues(r.pattern, method, strconv.Itoa(status), label)
	c.Inc()
	r.metrics.mu.Lock()
	defer r.metrics.mu.Unlock()
	next := maps.Clone(*r.metrics.counters.Load())
	next[o] = c
	r.metrics.counters.Store(&next)
}

func (m *metrics) countLine(code engine.Code) {
	if code == "" {
		code = "ok"
	}
	m.lines.WithLabelValues(string(code)).Inc()
}

// knownMethod maps a stranger's method to a closed set.
func knownMethod(m []byte) string {
	switch string(m) {
	case "GET":
		return "GET"
	case "HEAD":
		return "HEAD"
	case "POST":
		return "POST"
	case "DELETE":
		return "DELETE"
	case "PUT":
		return "PUT"
	case "PATCH":
		return "PATCH"
	case "OPTIONS":
		return "OPTIONS"
	}
	return "other"
}
