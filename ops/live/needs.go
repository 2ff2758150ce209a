package live

// What the engine depends on, by the names of the metrics that say how it fares. One
// that nobody has registered shows as not known.

const (
	needRedisCPU = "CPU"
	mCalls       = "flashsale_dependency_calls_total"
)

// failing are the results of calls that got no answer of use.
var failing = map[string]bool{"no_answer": true, "unavailable": true, "error": true, "breaker_open": true, "bulkhead_full": true}

type needed struct {
	name, unit, metric string
	read               func(m *meter, metric string) *float64
	warn, bad          float64
}

func most(m *meter, metric string) *float64 { return m.most(metric, nil) }
func sum(m *meter, metric string) *float64  { return m.value(metric, nil) }

// high gives the 99th percentile of a histogram over the window.
func high(m *meter, metric string) *float64 {
	if q := m.quantiles(metric, nil, .99); q != nil {
		return &q[0]
	}
	return nil
}

// ofCalls gives how often calls to payment providers end in one of these results.
func ofCalls(results ...string) func(m *meter, metric string) *float64 {
	return func(m *meter, metric string) *float64 {
		sum := m.rate(metric, nil) // known if any call is
		if sum == nil {
			return nil
		}
		*sum = 0
		for _, r := range results {
			*sum += known(m.rate(metric, labels{"result": r}))
		}
		return sum
	}
}

// busiest gives how much of a processor the busiest Redis uses.
func busiest(m *meter, metric string) (top *float64) {
	for _, server := range m.values(metric, "server", nil) {
		if v := m.rate(metric, labels{"server": server}); v != nil && (top == nil || *v > *top) {
			top = v
		}
	}
	return top
}

// taken gives how much of the pool of connections is in use.
func taken(m *meter, metric string) *float64 {
	used, limit := m.value(metric, labels{"state": "acquired"}), m.value(metric+"_limit", nil)
	if used == nil || !over(limit, 0) {
		return nil
	}
	*used /= *limit
	return used
}

var needsRedis = []needed{
	{needRedisCPU, "share", "flashsale_redis_cpu_seconds_total", busiest, .6, .85},
	{"AOF not on disk", "seconds", "flashsale_redis_aof_unsynced_seconds", most, 2, 5},
	{"replica lag", "seconds", "flashsale_redis_replica_lag_seconds", most, 2, 5},
	{"outbox", "count", "flashsale_outbox_entries", most, 100, 1000},
}

var needsKafka = []needed{
	{"lag", "seconds", "flashsale_stream_lag_seconds", most, 3, 10},
	{"events not read", "count", "flashsale_stream_lag_events", most, 0, 0},
	{"oldest in outbox", "seconds", "flashsale_outbox_oldest_seconds", most, 2, 10},
	{"dead letters", "count", "flashsale_dead_letters_open", most, 1, 1},
}

var needsPostgres = []needed{
	{"pool wait p99", "seconds", "flashsale_postgres_pool_wait_seconds", high, .05, .5},
	{"connection held p99", "seconds", "flashsale_postgres_connection_hold_seconds", high, .1, 1},
	{"pool in use", "share", "flashsale_postgres_pool_connections", taken, .8, 1},
	{"locks waited for", "count", "flashsale_postgres_locks_waiting", most, 1, 10},
	{"longest lock wait", "seconds", "flashsale_postgres_lock_wait_oldest_seconds", most, .5, 3},
}

var needsPayment = []needed{
	{"no answer", "per_second", mCalls, ofCalls("no_answer"), .01, 1},
	{"unavailable", "per_second", mCalls, ofCalls("unavailable", "breaker_open", "bulkhead_full"), .01, 1},
	{"unresolved", "count", "flashsale_payments_unresolved", sum, 100, 1000},
	{"oldest unresolved", "seconds", "flashsale_payments_oldest_unresolved_seconds", most, 30, 120},
}

func (m *meter) needs(list []needed) []Need {
	out := make([]Need, 0, len(list))
	for _, n := range list {
		out = append(out, Need{Name: n.name, Unit: n.unit, Value: n.read(m, n.metric), Warn: n.warn, Bad: n.bad})
	}
	return out
}

// needs needs mu.
func (s *state) needs() Needs {
	n := Needs{Redis: s.meter.needs(needsRedis), Kafka: s.meter.needs(needsKafka), Postgres: s.meter.needs(needsPostgres), Payment: s.meter.needs(needsPayment), Breakers: []Breaker{}}
	for _, name := range s.meter.values("flashsale_dependency_breaker_state", "dependency", nil) {
		of := labels{"dependency": name}
		b := Breaker{Name: name, State: [...]string{"closed", "half-open", "open"}[int(known(s.meter.value("flashsale_dependency_breaker_state", of)))%3],
			Forced:   [...]string{"", "open", "closed"}[int(known(s.meter.value("flashsale_dependency_breaker_forced", of)))%3],
			InFlight: known(s.meter.value("flashsale_dependency_calls_in_flight", of)), Limit: known(s.meter.value("flashsale_dependency_calls_limit", of)), Rate: s.meter.rate(mCalls, of)}
		for _, result := range s.meter.values(mCalls, "result", of) {
			if failing[result] {
				sum := known(b.Failing) + known(s.meter.rate(mCalls, labels{"dependency": name, "result": result}))
				b.Failing = &sum
			}
		}
		n.Breakers = append(n.Breakers, b)
	}
	return n
}
