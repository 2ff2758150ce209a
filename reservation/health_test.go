package reservation

import (
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

const someInfo = "# CPU\r\nused_cpu_sys:1.5\r\nused_cpu_user:2.25\r\n# Memory\r\nused_memory:1000\r\nmaxmemory:0\r\n" +
	"# Persistence\r\naof_enabled:1\r\naof_current_size:4096\r\naof_last_write_status:STATUS\r\naof_pending_bio_fsync:PENDING\r\naof_delayed_fsync:3\r\n" +
	"# Replication\r\nrole:master\r\nconnected_slaves:1\r\nslave0:ip=10.0.0.7,port=6380,state=online,offset=900,lag=2\r\nmaster_repl_offset:1000\r\nslave_expires_tracked_keys:0\r\n"

func TestWhatRedisSaysOfItselfIsRead(t *testing.T) {
	say := func(status, pending string) string {
		return strings.NewReplacer("STATUS", status, "PENDING", pending).Replace(someInfo)
	}
	at := time.Unix(1000, 0)
	h := healthOf(say("ok", "0"), nil, at)
	want := map[*prometheus.Desc]float64{redisCPU: 3.75, redisMemory: 1000, redisMost: 0, redisAOF: 1, redisAOFSize: 4096, redisAOFBad: 0, redisLate: 3, redisAge: 0}
	for d, v := range want {
		if got, ok := h.values[d]; !ok || got != v {
			t.Errorf("%s: %v, there %v; want %v", d, got, ok, v)
		}
	}
	if r := h.replicas["10.0.0.7:6380"]; len(h.replicas) != 1 || r != (replicaHealth{2, 100}) {
		t.Errorf("replicas %v", h.replicas)
	}
	// A sync that is outstanding ages from when it was first seen, a failing disk too.
	h = healthOf(say("ok", "1"), h, at.Add(2*time.Second))
	h = healthOf(say("err", "0"), h, at.Add(7*time.Second))
	if h.values[redisAge] != 5 || h.values[redisAOFBad] != 1 {
		t.Errorf("a file that fails is %v s old, failing %v", h.values[redisAge], h.values[redisAOFBad])
	}
	if h = healthOf(say("ok", "0"), h, at.Add(9*time.Second)); h.values[redisAge] != 0 {
		t.Errorf("a file that is on disk is %v s old", h.values[redisAge])
	}
	if h = healthOf("", h, at); h.up || len(h.values) != 0 {
		t.Errorf("one that does not answer is up %v with %v", h.up, h.values)
	}
}
