package chaos

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// healer ends a fault.
type healer func(context.Context) error

// fault is one way in which things go wrong.
type fault struct {
	part        string        // what it is done to: one fault at a time each
	least, most time.Duration // how long it lasts in a plan
	low, high   int           // Event.Amount
	unit        string        // of Amount
	disk        bool          // of a backend's own is needed: see devstack.TryDisk
	loses       bool          // the gate forgets what it acknowledged, and is rebuilt
	cluster     bool          // needs a Kafka of several brokers
	does        string        // in one sentence
	expect      string        // what is promised meanwhile, and afterwards
	begin       func(context.Context, *world, Event) (healer, error)
}

const partNode = "node"

// Faults names the faults of a plan, sorted: those that any world can have.
func Faults() []string { return named(false) }

// ClusterFaults names those that need a Kafka of several brokers. Such a world is
// dear, and is started only for a plan that has one of them, or if asked for.
func ClusterFaults() []string { return named(true) }

func named(cluster bool) []string {
	names := slices.Sorted(maps.Keys(faults))
	return slices.DeleteFunc(names, func(n string) bool { return faults[n].cluster != cluster })
}

// known says what is wrong with a name.
func known(name string) error {
	if _, there := faults[name]; !there {
		return fmt.Errorf("there is no fault %q; there are %s", name, strings.Join(slices.Sorted(maps.Keys(faults)), ", "))
	}
	return nil
}

const (
	sec = time.Second
	ms  = time.Millisecond
)

// faults is the table. docs/faults.md shows it with what was measured.
var faults = map[string]fault{
	"node.kill": {part: partNode, least: 500 * ms, most: 5 * sec, does: "a node is killed (SIGKILL) and started again",
		expect: "buyers of that node are cut and repeat elsewhere; what it left is finished by the relay and the payments role", begin: killNode},
	"node.freeze": {part: partNode, least: 6 * sec, most: 10 * sec, does: "a node is frozen (SIGSTOP) for longer than its leases, and wakes up in the belief that no time has passed",
		expect: "buyers on it time out and repeat elsewhere; others finish its payments, and what it does on waking is refused", begin: freezeNode},
	"node.clock": {part: partNode, least: 3 * sec, most: 10 * sec, low: -90, high: 90, unit: "s", does: "a node runs with a clock that is wrong",
		expect: "nothing: deadlines are judged by Redis' clock and leases by Postgres'", begin: skewNode},
	"node.ports": {part: partNode, least: 4 * sec, most: 10 * sec, low: 2, high: 10, unit: "%", does: "a node's calls to gate, record, stream and provider fail before, fail after, hang or are slow",
		expect: "503 or 202 for those calls; every unknown outcome is found out", begin: spoilNode},
	"node.cold_start": {part: "postgres wire", least: 2 * sec, most: 6 * sec, does: "nobody listens at Postgres' address, and a further node is started meanwhile",
		expect: "as with `postgres.restart`; the new node answers 503 and names Postgres, and goes to work by itself when it comes", begin: startCold},
	"writer.churn": {part: "writers", least: 2 * sec, most: 8 * sec, does: "another order writer joins the group and is killed",
		expect: "partitions move; some answers are 202 meanwhile, and no event is committed twice", begin: churnWriters},

	"redis.kill": {part: "redis", least: 200 * ms, most: 4 * sec, does: "Redis is killed (SIGKILL) and started again on its append-only file (appendfsync always)",
		expect: "503 `unavailable` until it is back; no hold is lost", begin: killRedis},
	"redis.freeze": {part: "redis", least: 1 * sec, most: 8 * sec, does: "Redis is frozen (SIGSTOP)",
		expect: "503 `unavailable`; calls that went unanswered are repeated or looked up", begin: freezeRedis},
	"redis.disk_full": {part: "redis", least: 1 * sec, most: 4 * sec, disk: true, does: "the disk that Redis has its append-only file on is full to the last byte: Redis ends itself in the middle of a write",
		expect: "503 `unavailable` until there is room and it is started again, and `gate_frozen` for the moment of the rebuild that follows a restart; what was not on disk was not acknowledged", begin: fillDisk((*world).redisNow)},
	"redis.latency": {part: "redis wire", least: 2 * sec, most: 8 * sec, low: 20, high: 400, unit: "ms", does: "Redis' answers are late, by half more or less",
		expect: "slower answers; 503 beyond the time-out", begin: slowWire((*world).redisWire)},
	"redis.cut": {part: "redis wire", least: 2 * sec, most: 8 * sec, low: 20, high: 200, unit: "requests between cuts", does: "connections to Redis are cut, every other time after the request went out",
		expect: "some 503 `unavailable`; a call that was carried out unheard is recognised when it is repeated", begin: cutWire((*world).redisWire, "")},
	"redis.away": {part: "redis wire", least: 500 * ms, most: 5 * sec, does: "nobody listens at Redis' address",
		expect: "503 `unavailable`", begin: plugWire((*world).redisWire)},

	"redis.torn_aof": {part: "redis", least: 500 * ms, most: 2 * sec, low: 100, high: 40_000, unit: "bytes lost", loses: true, does: "Redis is killed and comes back without the end of its append-only file",
		expect: "`gate_frozen` until the gate is rebuilt under a new epoch; holds may be lost, orders not", begin: tearAOF},
	"redis.no_aof": {part: "redis", least: 500 * ms, most: 2 * sec, loses: true, does: "Redis is killed and comes back empty",
		expect: "the same", begin: dropAOF},
	"redis.flushall": {part: "redis", least: 100 * ms, most: 100 * ms, loses: true, does: "somebody says FLUSHALL",
		expect: "the same", begin: flushRedis},
	"redis.failover": {part: "redis", least: 1 * sec, most: 4 * sec, loses: true, does: "Redis is lost, and a replica that lagged by the fault's length is promoted",
		expect: "the same", begin: failOver},

	"kafka.freeze": {part: "kafka", least: 2 * sec, most: 9 * sec, does: "Kafka's broker is frozen (SIGSTOP); of a cluster, all",
		expect: "checkouts answer 202: paid and claimed, the event waits in the outbox", begin: freezeKafka},
	"kafka.kill": {part: "kafka", least: 500 * ms, most: 5 * sec, does: "Kafka's broker is killed and started again; of a cluster, all",
		expect: "the same", begin: killKafka},
	"kafka.latency": {part: "kafka wire", least: 2 * sec, most: 8 * sec, low: 50, high: 800, unit: "ms", does: "Kafka's answers are late",
		expect: "checkouts take longer; some are 202", begin: slowWire((*world).kafkaWire)},
	"kafka.cut": {part: "kafka wire", least: 2 * sec, most: 8 * sec, low: 5, high: 60, unit: "requests between cuts", does: "connections to Kafka are cut, every other time after the request went out",
		expect: "events may be published twice, and are committed once", begin: cutWire((*world).kafkaWire, "")},

	"kafka.broker_kill": {part: "kafka", cluster: true, least: 2 * sec, most: 9 * sec, does: "of three brokers, one is killed (SIGKILL) and started again",
		expect: "others lead its partitions after its session, 2 s; some checkouts are 202 until then, and for longer if it led the writers' group", begin: killBroker},
	"kafka.leader_move": {part: "kafka", cluster: true, least: 2 * sec, most: 8 * sec, does: "every second all partitions are led by another of three brokers, Kafka's own partitions among them",
		expect: "some checkouts are 202 until clients have found the new leaders; nobody is away, and nothing is lost or written twice", begin: moveLeaders},
	"kafka.two_away": {part: "kafka", cluster: true, least: 3 * sec, most: 9 * sec, does: "of three brokers, one is killed (SIGKILL) and another frozen (SIGSTOP)",
		expect: "Kafka acknowledges nothing: checkouts answer 202, events wait in the outbox, and all orders come when the brokers are back", begin: loseTwoBrokers},

	"postgres.restart": {part: "postgres", least: 200 * ms, most: 4 * sec, does: "Postgres is stopped in immediate mode and started again",
		expect: "new checkouts 503 before money moves, those past it 202; holds go on", begin: restartPostgres},
	"postgres.disk_full": {part: "postgres", least: 2 * sec, most: 8 * sec, disk: true, does: "the disk that Postgres has its data on is full to the last byte: tables cannot grow",
		expect: "new checkouts 503 before money moves, those past it 202; events wait in the stream, and none becomes a dead letter; holds go on", begin: fillDisk((*world).postgresNow)},
	"postgres.wal_full": {part: "postgres", least: 1 * sec, most: 6 * sec, disk: true, does: "the disk is full and Postgres' write-ahead log has used up the last of it: Postgres panics, cannot recover, and ends itself",
		expect: "the same, and what was being committed is looked up", begin: fillLog},
	"postgres.freeze": {part: "postgres", least: 1 * sec, most: 8 * sec, does: "Postgres is frozen (SIGSTOP)",
		expect: "the same, after time-outs", begin: freezePostgres},
	"postgres.locks": {part: "postgres rows", least: 1 * sec, most: 8 * sec, does: "another session holds the SKU rows",
		expect: "checkouts answer 202 until the rows are free", begin: lockRows},
	"postgres.latency": {part: "postgres wire", least: 2 * sec, most: 8 * sec, low: 10, high: 200, unit: "ms", does: "Postgres' answers are late",
		expect: "slower checkouts; some 202", begin: slowWire((*world).postgresWire)},
	"postgres.commit_cut": {part: "postgres wire", least: 2 * sec, most: 8 * sec, low: 2, high: 8, unit: "COMMITs between cuts", does: "the connection is cut at COMMIT, every other time after it went out",
		expect: "an unknown commit is looked up, never assumed", begin: cutWire((*world).postgresWire, "commit\x00")},
	"postgres.cut": {part: "postgres wire", least: 2 * sec, most: 8 * sec, low: 20, high: 200, unit: "requests between cuts", does: "connections to Postgres are cut, every other time after the request went out",
		expect: "some 503 and 202; what was written unheard is found", begin: cutWire((*world).postgresWire, "")},

	"provider.outage": {part: "provider", least: 2 * sec, most: 8 * sec, does: "the payment provider answers 503",
		expect: "202 queued, beyond the queue 503 `payment_unavailable`; the hold is kept", begin: spoilProvider(map[string]any{"outage": true}, nil)},
	"provider.slow": {part: "provider", least: 2 * sec, most: 8 * sec, low: 300, high: 2500, unit: "ms", does: "the payment provider is slow, beyond the time-out of a second at times",
		expect: "202; what it did unheard is looked up", begin: spoilProvider(nil, func(e Event) map[string]any { return map[string]any{"latency_ms": e.Amount / 2, "jitter_ms": e.Amount} })},
	"provider.errors": {part: "provider", least: 2 * sec, most: 8 * sec, low: 10, high: 40, unit: "% each", does: "the payment provider answers 500 or not at all, half of the time after having done the work",
		expect: "202; the same key again, never another charge", begin: spoilProvider(nil, func(e Event) map[string]any {
			r := float64(e.Amount) / 100
			return map[string]any{"error_rate": r, "timeout_after_rate": r / 2, "timeout_before_rate": r / 2, "seed": e.Amount}
		})},
	"provider.webhooks": {part: "webhooks", least: 3 * sec, most: 10 * sec, low: 10, high: 20, unit: "% each", does: "webhooks come late, twice, out of order, forged, stale or not at all",
		expect: "nothing", begin: spoilWebhooks},
	"provider.kill": {part: "provider", least: 300 * ms, most: 4 * sec, does: "the payment provider is killed and started again on its books",
		expect: "202 or 503 `payment_unavailable`; what it had done is looked up", begin: killProvider},
}
