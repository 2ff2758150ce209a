package admission

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/flashsale-engine/flashsale/engine"
)

// Metrics shows the waiting rooms as this node last read them.
type Metrics struct {
	desk  *Desk
	sales func() []*engine.Sale
}

// NewMetrics makes a collector for the rooms of the sales that are listed.
func NewMetrics(d *Desk, sales func() []*engine.Sale) *Metrics { return &Metrics{d, sales} }

func roomDesc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("flashsale_admission_"+name, help, append([]string{"sale"}, labels...), nil)
}

var (
	descRate    = roomDesc("rate_places_per_second", "Places that the front passes per second.")
	descFront   = roomDesc("front_places", "Places that the front has passed.")
	descReach   = roomDesc("reach_places", "Places that stock can reach, as far as can be known; absent while it is not known.")
	descWaiting = roomDesc("waiting_buyers", "Buyers in the room: not admitted, gone or lapsed.")
	descInside  = roomDesc("inside_buyers", "Buyers admitted who have taken no unit yet, and still may.")
	descLimit   = roomDesc("limit", "What holds the front back: 1 for what does.", "limit")
	descBuyers  = roomDesc("buyers_total", "Buyers by what has become of them: joined, claimed, left, lapsed, took (units), passed (their admission unused).", "what")
)

// Describe is a prometheus.Collector's.
func (m *Metrics) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descRate, descFront, descReach, descWaiting, descInside, descLimit, descBuyers} {
		ch <- d
	}
}

var limits = []Limit{LimitNone, LimitStock, LimitGate, LimitWriter, LimitPayment, LimitRamp, LimitOperator}

// Collect is a prometheus.Collector's.
func (m *Metrics) Collect(ch chan<- prometheus.Metric) {
	for _, s := range m.sales() {
		if s.Admission == nil || s.Admission.Epoch == 0 {
			continue
		}
		last := m.desk.of(s).view.last.Load()
		if last == nil || last.view == nil {
			continue
		}
		v := last.view
		gauge := func(d *prometheus.Desc, value float64, labels ...string) {
			ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, append([]string{s.ID}, labels...)...)
		}
		gauge(descRate, v.Rate)
		gauge(descFront, float64(v.Front))
		if v.Reach >= 0 {
			gauge(descReach, float64(v.Reach))
		}
		gauge(descWaiting, float64(v.Joined-v.Claimed-v.Left-v.Lapsed))
		gauge(descInside, float64(v.Inside))
		for _, l := range limits {
			is := 0.0
			if v.Limit == string(l) {
				is = 1
			}
			gauge(descLimit, is, string(l))
		}
		for what, n := range map[string]int64{"joined": v.Joined, "claimed": v.Claimed, "left": v.Left, "lapsed": v.Lapsed, "took": v.Took, "passed": v.Gone} {
			ch <- prometheus.MustNewConstMetric(descBuyers, prometheus.CounterValue, float64(n), s.ID, what)
		}
	}
}
