package reservation

import (
	"context"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
)

// Health shows how the Redis processes behind the gate are, by what they say of
// themselves. Register it, and Run it: a scrape never waits for Redis.
type Health struct {
	gate  *Gate
	every time.Duration

	mu      sync.Mutex
	servers map[string]*serverHealth
}

// serverHealth is the last word of one process.
type serverHealth struct {
	up       bool
	values   map[*prometheus.Desc]float64
	replicas map[string]replicaHealth
	unsynced time.Time // since when its append-only file has not been on disk; zero: it is
}

type replicaHealth struct{ seconds, bytes float64 }

// NewHealth gives the metrics of a gate's Redis.
func NewHealth(g *Gate) *Health {
	return &Health{gate: g, every: 2 * time.Second, servers: map[string]*serverHealth{}}
}

// Run looks again and again until ctx ends.
func (h *Health) Run(ctx context.Context) error {
	tick := time.NewTicker(h.every)
	defer tick.Stop()
	for {
		h.look(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// look asks every process that decides. One that does not answer keeps its place,
// as down, and its numbers are forgotten: an old number is no news.
func (h *Health) look(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, h.gate.opt.CallTimeout)
	defer cancel()
	var mu sync.Mutex
	seen := map[string]string{}
	ask := func(ctx context.Context, c *redis.Client) error {
		info, err := c.Info(ctx).Result()
		if err != nil {
			info = ""
		}
		mu.Lock()
		seen[c.Options().Addr] = info
		mu.Unlock()
		return nil
	}
	switch c := h.gate.client.(type) {
	case *redis.ClusterClient:
		_ = c.ForEachMaster(ctx, ask) // it fails if the cluster's map cannot be read: then nobody is seen
	case *redis.Client:
		_ = ask(ctx, c)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for server := range h.servers {
		if _, ok := seen[server]; !ok {
			h.servers[server] = &serverHealth{} // a master that was, or cannot be reached
		}
	}
	for server, info := range seen {
		h.servers[server] = healthOf(info, h.servers[server], time.Now())
	}
}

var (
	redisUp      = redisDesc("up", "Whether the Redis process answered when it was last asked.")
	redisCPU     = redisDesc("cpu_seconds_total", "Processor time that the Redis process has used.")
	redisMemory  = redisDesc("memory_bytes", "Memory that the Redis process uses for data.")
	redisMost    = redisDesc("memory_limit_bytes", "Memory that it may use; 0: no limit.")
	redisClients = redisDesc("clients", "Connections to the Redis process.")
	redisCalls   = redisDesc("commands_total", "Commands that the Redis process has done.")
	redisEvicted = redisDesc("evicted_keys_total", "Keys that the Redis process has thrown away for want of memory. Not zero: set maxmemory-policy noeviction.")
	redisAOF     = redisDesc("aof_enabled", "Whether the Redis process keeps an append-only file.")
	redisAOFSize = redisDesc("aof_bytes", "Size of the append-only file.")
	redisAOFBad  = redisDesc("aof_write_failing", "Whether the last write to the append-only file failed, as on a full disk.")
	redisLate    = redisDesc("aof_delayed_fsyncs_total", "Times that writes had to wait for the disk.")
	redisAge     = redisDesc("aof_unsynced_seconds", "How long, as this node has seen it, the append-only file has had something that is not on disk; 0: it has not.")
	redisSaved   = redisDesc("rewrite_in_progress", "Whether the append-only file is being rewritten.")

	replicaLag = prometheus.NewDesc("flashsale_redis_replica_lag_seconds", "Seconds since a replica has last acknowledged.", []string{"server", "replica"}, nil)
	replicaGap = prometheus.NewDesc("flashsale_redis_replica_lag_bytes", "Bytes of the replication stream that a replica has not acknowledged.", []string{"server", "replica"}, nil)
)

func redisDesc(name, help string) *prometheus.Desc {
	return prometheus.NewDesc("flashsale_redis_"+name, help, []string{"server"}, nil)
}

// healthOf reads what INFO says.
func healthOf(info string, before *serverHealth, now time.Time) *serverHealth {
	h := &serverHealth{up: info != "", values: map[*prometheus.Desc]float64{}, replicas: map[string]replicaHealth{}}
	said := map[string]string{}
	for line := range strings.Lines(info) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			said[name] = value
		}
	}
	number := func(name string) (float64, bool) {
		n, err := strconv.ParseFloat(said[name], 64)
		return n, err == nil
	}
	for name, desc := range map[string]*prometheus.Desc{"used_memory": redisMemory, "maxmemory": redisMost, "connected_clients": redisClients, "total_commands_processed": redisCalls,
		"evicted_keys": redisEvicted, "aof_enabled": redisAOF, "aof_current_size": redisAOFSize, "aof_delayed_fsync": redisLate, "aof_rewrite_in_progress": redisSaved} {
		if n, ok := number(name); ok {
			h.values[desc] = n
		}
	}
	if user, ok := number("used_cpu_user"); ok {
		system, _ := number("used_cpu_sys")
		h.values[redisCPU] = user + system
	}
	h.file(said, before, now)
	offset, _ := number("master_repl_offset")
	for name, value := range said {
		if name, ok := strings.CutPrefix(name, "slave"); ok && strings.Contains(value, "ip=") && name != "" {
			h.replica(value, offset)
		}
	}
	return h
}

// file reads how the append-only file is.
func (h *serverHealth) file(said map[string]string, before *serverHealth, now time.Time) {
	if said["aof_enabled"] != "1" {
		return
	}
	h.values[redisAOFBad] = 0
	failing := said["aof_last_write_status"] != "" && said["aof_last_write_status"] != "ok"
	if failing {
		h.values[redisAOFBad] = 1
	}
	if pending := said["aof_pending_bio_fsync"]; failing || pending != "" && pending != "0" {
		if h.unsynced = now; before != nil && !before.unsynced.IsZero() {
			h.unsynced = before.unsynced
		}
	}
	h.values[redisAge] = 0
	if !h.unsynced.IsZero() {
		h.values[redisAge] = now.Sub(h.unsynced).Seconds()
	}
}

// replica reads ip=10.0.0.7,port=6379,state=online,offset=4711,lag=0.
func (h *serverHealth) replica(text string, offset float64) {
	part := map[string]string{}
	for _, p := range strings.Split(text, ",") {
		name, value, _ := strings.Cut(p, "=")
		part[name] = value
	}
	lag, err := strconv.ParseFloat(part["lag"], 64)
	at, err2 := strconv.ParseFloat(part["offset"], 64)
	if err == nil && err2 == nil {
		h.replicas[part["ip"]+":"+part["port"]] = replicaHealth{lag, max(0, offset-at)}
	}
}

// Describe implements prometheus.Collector.
func (h *Health) Describe(c chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{redisUp, redisCPU, redisMemory, redisMost, redisClients, redisCalls, redisEvicted, redisAOF, redisAOFSize, redisAOFBad, redisLate, redisAge, redisSaved, replicaLag, replicaGap} {
		c <- d
	}
}

// Collect implements prometheus.Collector.
func (h *Health) Collect(c chan<- prometheus.Metric) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for server, s := range h.servers {
		up := 0.0
		if s.up {
			up = 1
		}
		c <- prometheus.MustNewConstMetric(redisUp, prometheus.GaugeValue, up, server)
		for d, v := range s.values {
			kind := prometheus.GaugeValue
			if d == redisCPU || d == redisCalls || d == redisEvicted || d == redisLate {
				kind = prometheus.CounterValue
			}
			c <- prometheus.MustNewConstMetric(d, kind, v, server)
		}
		for replica, r := range s.replicas {
			c <- prometheus.MustNewConstMetric(replicaLag, prometheus.GaugeValue, r.seconds, server, replica)
			c <- prometheus.MustNewConstMetric(replicaGap, prometheus.GaugeValue, r.bytes, server, replica)
		}
	}
}
