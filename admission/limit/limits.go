package limit

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/flashsale-engine/flashsale/engine"
	"github.com/flashsale-engine/flashsale/internal/redisdb"
)

// Options are the settings; Rules, Secret and URL must be given.
type Options struct {
	Rules  Rules
	URL    string  // Redis, as for the gate
	Secret []byte  // under which names are hidden at Redis; the same on all nodes, 16 bytes at least
	Share  float64 // of a limit that a node gives without asking, from 0 to 1
	Keys   int     // that this node remembers; default 65,536: 2 MiB
	// CallTimeout is what one call of Redis may take. Default 50 ms.
	CallTimeout time.Duration
	// Pause is how long Redis is left alone after a failure. Default 1 s.
	Pause      time.Duration
	Registerer prometheus.Registerer // nil: metrics are kept but not exposed
	Log        *slog.Logger          // nil: slog.Default()
}

// Limits counts. Use Open.
type Limits struct {
	opt     Options
	paces   [engine.LimitCount]pace
	table   *table
	shared  *shared
	metrics *metrics
}

// Open checks the options. Redis is not asked anything yet: a node without it
// counts alone.
func Open(o Options) (*Limits, error) {
	if o.Keys == 0 {
		o.Keys = 1 << 16
	}
	if o.CallTimeout == 0 {
		o.CallTimeout = 50 * time.Millisecond
	}
	if o.Pause == 0 {
		o.Pause = time.Second
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	switch {
	case len(o.Secret) < 16:
		return nil, errors.New("limit: a secret of at least 16 bytes must be given")
	case o.Share < 0 || o.Share > 1 || math.IsNaN(o.Share):
		return nil, fmt.Errorf("limit: Share %g is not between 0 and 1", o.Share)
	case o.Keys < 1 || o.Keys > 1<<26:
		return nil, fmt.Errorf("limit: Keys %d is not between 1 and %d", o.Keys, 1<<26)
	}
	l := &Limits{opt: o}
	for i, r := range o.Rules {
		if r.Most < 0 || r.Most > mostRequests || r.Most > 0 && (r.Window < time.Second || r.Window > mostWindow) {
			return nil, fmt.Errorf("limit: %s: %d in %s is no limit", engine.Limit(i), r.Most, r.Window)
		}
		l.paces[i] = r.pace(o.Share)
	}
	l.table = newTable(o.Keys, &l.paces)
	client, err := redisdb.Connect(o.URL, o.CallTimeout, 2)
	if err != nil {
		return nil, fmt.Errorf("limit: %w", err)
	}
	if l.metrics, err = newMetrics(o.Registerer, l.table, o.Log); err != nil {
		_ = client.Close()
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	l.shared = &shared{client: client, limits: l, waiting: map[uint64]*question{}, wake: make(chan struct{}, 1), stop: stop, ended: make(chan struct{})}
	go l.shared.run(ctx)
	return l, nil
}

// Close ends the calls to Redis. Whoever waits goes by this node's count.
func (l *Limits) Close() error {
	s := l.shared
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.stop()
	<-s.ended
	for batch := s.take(); len(batch) > 0; batch = s.take() {
		for _, q := range batch {
			q.err = errAway
			close(q.done)
		}
	}
	return s.client.Close()
}

// Count counts one request in this node's memory, if the node may let it in by
// itself. It does not wait and leaves no garbage. Who is Perhaps within has to Settle.
func (l *Limits) Count(limit engine.Limit, who, where string, now time.Time) engine.Quota {
	if l.paces[limit].each == 0 {
		return engine.Quota{Limit: limit}
	}
	q := l.table.count(l.table.hash(limit, who, where), limit, at(now))
	if q.Verdict == engine.Beyond {
		l.metrics.beyond[limit].Inc()
	}
	return q
}

// Settle counts one request where all nodes meet. It waits for Redis, a little, and
// goes by this node's own count if Redis does not answer.
func (l *Limits) Settle(limit engine.Limit, who, where string, now time.Time) engine.Quota {
	p := &l.paces[limit]
	if p.each == 0 {
		return engine.Quota{Limit: limit}
	}
	key := l.table.hash(limit, who, where)
	q := l.shared.enqueue(key, limit, who, where, 1, 0, at(now))
	if q != nil {
		<-q.done
	}
	var v engine.Quota
	switch {
	case q == nil || q.err != nil:
		l.metrics.alone.Inc()
		v = l.table.alone(key, limit, at(now))
	case q.within.Add(-1) >= 0:
		l.metrics.settled.Inc()
		v = p.quota(engine.Within, limit, q.used)
	default:
		l.metrics.settled.Inc()
		v = p.quota(engine.Beyond, limit, q.used)
	}
	if v.Verdict == engine.Beyond {
		l.metrics.beyond[limit].Inc()
	}
	return v
}

// Note counts what has happened, whatever the limit, or takes it back: n is 1 or -1.
// Nobody waits.
func (l *Limits) Note(limit engine.Limit, who, where string, n int, now time.Time) {
	if l.paces[limit].each == 0 {
		return
	}
	key := l.table.hash(limit, who, where)
	if !l.table.add(key, limit, int64(n), at(now)) {
		return
	}
	// What was added is owed, and told with any question. What was taken back is not.
	l.shared.enqueue(key, limit, who, where, 0, min(0, int64(n)), at(now))
}

// Used says whether a key has used all of its limit, as far as this node knows, and
// counts nothing.
func (l *Limits) Used(limit engine.Limit, who, where string, now time.Time) engine.Quota {
	if l.paces[limit].each == 0 {
		return engine.Quota{Limit: limit}
	}
	return l.table.used(l.table.hash(limit, who, where), limit, at(now))
}
