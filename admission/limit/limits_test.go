package limit

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"github.com/flashsale-engine/flashsale/engine"
	"github.com/flashsale-engine/flashsale/internal/devstack/testenv"
)

func TestMain(m *testing.M) {
	const devstack = "github.com/flashsale-engine/flashsale/internal/devstack."
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction(devstack+"(*server).watch"),
		goleak.IgnoreAnyFunction(devstack+"startChild.func1"), goleak.IgnoreAnyFunction(devstack+"startChild.func2"))
}

// node is a process with limits of its own.
func node(t testing.TB, url string, change ...func(*Options)) *Limits {
	t.Helper()
	o := Options{URL: url, Secret: []byte("0123456789abcdef"), Share: 0.5, Keys: 1000, CallTimeout: 10 * time.Second}
	o.Rules[engine.LimitBuyer] = Rule{10, time.Hour} // nothing comes back while a test runs
	o.Rules[engine.LimitUnpaid] = Rule{4, time.Hour}
	for _, c := range change {
		c(&o)
	}
	l, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

// come is what the door does with a request.
func come(l *Limits, who string) engine.Quota {
	now := time.Now()
	q := l.Count(engine.LimitBuyer, who, "", now)
	if q.Verdict == engine.Perhaps {
		q = l.Settle(engine.LimitBuyer, who, "", now)
	}
	return q
}

// within counts how many of n requests get in.
func within(l *Limits, who string, n int) (in int) {
	for range n {
		if come(l, who).Verdict == engine.Within {
			in++
		}
	}
	return in
}

func backends(t *testing.T, run func(t *testing.T, url string)) {
	t.Run("redis", func(t *testing.T) { run(t, testenv.Redis(t)) })
	t.Run("cluster", func(t *testing.T) { run(t, testenv.OwnRedisCluster(t).URL) })
	t.Run("miniredis", func(t *testing.T) { run(t, "redis://"+miniredis.RunT(t).Addr()) })
}

func TestNodesShareALimitButForTheirFreeShares(t *testing.T) {
	backends(t, func(t *testing.T, url string) {
		a, b, c := node(t, url), node(t, url), node(t, url)
		who := testenv.Unique()
		if got := within(a, who, 20); got != 10 {
			t.Errorf("one node lets %d of 10 in", got)
		}
		if got := within(b, who, 20); got != 5 { // its free share; Redis knows of the others
			t.Errorf("the second node lets %d more in, not its free share of 5", got)
		}
		if got := within(c, who, 20); got != 5 {
			t.Errorf("the third node lets %d more in, not its free share of 5", got)
		}
		if got := within(a, who+"2", 1); got != 1 {
			t.Error("another buyer pays for this one")
		}
	})
}

func TestASharedLimitIsExactUnderAStampede(t *testing.T) {
	url := testenv.Redis(t)
	exact := func(o *Options) { o.Share = 0; o.Rules[engine.LimitBuyer] = Rule{100, 24 * time.Hour} }
	nodes, who := []*Limits{node(t, url, exact), node(t, url, exact)}, testenv.Unique()
	var in [64]int
	var all sync.WaitGroup
	for i := range in {
		all.Go(func() { in[i] = within(nodes[i%2], who, 20) })
	}
	all.Wait()
	sum := 0
	for _, n := range in {
		sum += n
	}
	if sum != 100 {
		t.Errorf("%d of 100 got in", sum)
	}
}

func TestAKeyAtRedisIsHiddenSmallAndEnds(t *testing.T) {
	url := testenv.Redis(t)
	l := node(t, url, func(o *Options) { o.Rules[engine.LimitBuyer] = Rule{2, time.Hour}; o.Share = 0 })
	who := testenv.Unique()
	if within(l, who, 3) != 2 {
		t.Fatal("the limit does not hold")
	}
	opt, err := redis.ParseURL(url)
	if err != nil {
		t.Fatal(err)
	}
	rdb := redis.NewClient(opt)
	defer func() { _ = rdb.Close() }()
	name := keyOf([]byte("0123456789abcdef"), engine.LimitBuyer, who, "")
	left, err := rdb.PTTL(t.Context(), name).Result()
	if err != nil || left <= 0 || left > time.Hour {
		t.Errorf("it ends in %s, %v", left, err)
	}
	bytes, err := rdb.MemoryUsage(t.Context(), name).Result()
	t.Logf("%d bytes per key", bytes)
	if err != nil || bytes > 160 || strings.Contains(name, who) {
		t.Errorf("%q takes %d bytes: %v", name, bytes, err)
	}
}

func TestRefusalsSayWhenToComeBackAndCostRedisNothing(t *testing.T) {
	m := miniredis.RunT(t)
	l := node(t, "redis://"+m.Addr(), func(o *Options) { o.Rules[engine.LimitBuyer] = Rule{10, time.Minute} })
	within(l, "bot", 10)
	q := come(l, "bot")
	if q.Verdict != engine.Beyond || q.After <= 0 || q.After > 6*time.Second || q.Left != 0 || q.Most != 10 || q.Reset < 50*time.Second {
		t.Errorf("%+v", q)
	}
	m.Close() // whoever asked it would be told "away", and counted alone
	before := l.shared.away.Load()
	for range 100 {
		if come(l, "bot").Verdict != engine.Beyond {
			t.Fatal("it got in")
		}
	}
	if l.shared.away.Load() != before {
		t.Error("refusing asks Redis")
	}
	later := time.Now().Add(q.After + time.Millisecond)
	if q := l.Count(engine.LimitBuyer, "bot", "", later); q.Verdict != engine.Perhaps {
		t.Errorf("after Retry-After: %+v", q)
	}
}

func TestWithoutRedisANodeCountsAlone(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0") // takes connections and never answers
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = silent.Close() }()
	for name, addr := range map[string]string{"dead": "127.0.0.1:1", "silent": silent.Addr().String()} {
		t.Run(name, func(t *testing.T) {
			l := node(t, "redis://"+addr, func(o *Options) { o.CallTimeout, o.Pause = 50*time.Millisecond, time.Hour })
			if got := within(l, "ann", 30); got != 10 {
				t.Errorf("%d of 10 got in", got)
			}
			if n := testutil.ToFloat64(l.metrics.away); n != 1 { // not for each
				t.Errorf("Redis was waited for %v times", n)
			}
		})
	}
}

func TestANodeReportsWhatItLetInAloneOnceRedisIsBack(t *testing.T) {
	m := miniredis.RunT(t)
	m.SetError("LOADING") // refuses
	l := node(t, "redis://"+m.Addr(), func(o *Options) { o.Pause = time.Nanosecond })
	if got := within(l, "ann", 8); got != 8 {
		t.Fatalf("%d of 8 got in", got)
	}
	m.SetError("")
	if got := within(l, "ann", 8); got != 2 {
		t.Errorf("%d got in after 8 of 10", got)
	}
	if got := within(node(t, "redis://"+m.Addr()), "ann", 20); got != 5 {
		t.Errorf("another node lets %d in: Redis was not told", got)
	}
}

func TestTheClockOfRedisMayJump(t *testing.T) {
	m := miniredis.RunT(t)
	noon := time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)
	m.SetTime(noon)
	exact := func(o *Options) { o.Share = 0 }
	if got := within(node(t, "redis://"+m.Addr(), exact), "ann", 20); got != 10 {
		t.Fatalf("%d of 10", got)
	}
	m.SetTime(noon.Add(-24 * time.Hour)) // the bucket stays at most empty
	n := node(t, "redis://"+m.Addr(), exact)
	if q := come(n, "ann"); q.Verdict != engine.Beyond || q.Reset > time.Hour {
		t.Errorf("back: %+v", q)
	}
	m.SetTime(noon.Add(24 * time.Hour)) // whole again
	if got := within(node(t, "redis://"+m.Addr(), exact), "ann", 20); got != 10 {
		t.Errorf("forth: %d of 10", got)
	}
}

func TestAScriptThatRedisForgotIsSentAgain(t *testing.T) {
	url := testenv.OwnRedis(t).URL
	l := node(t, url, func(o *Options) { o.Share = 0 })
	opt, err := redis.ParseURL(url)
	if err != nil {
		t.Fatal(err)
	}
	rdb := redis.NewClient(opt)
	defer func() { _ = rdb.Close() }()
	in := 0
	for range 12 {
		if err := rdb.ScriptFlush(context.Background()).Err(); err != nil {
			t.Fatal(err)
		}
		in += within(l, "ann", 1)
	}
	if in != 10 || l.shared.away.Load() != 0 {
		t.Errorf("%d of 10 got in; away: %d", in, l.shared.away.Load())
	}
}

func TestStrangersDoNotMakeItForgetWhoComesAllTheTime(t *testing.T) {
	l := node(t, "redis://127.0.0.1:1", func(o *Options) { o.Keys, o.Pause, o.CallTimeout = 500, time.Hour, time.Second })
	within(l, "bot", 20)
	now := time.Now()
	for i := range 100_000 {
		if q := l.Count(engine.LimitBuyer, strconv.Itoa(i), "", now); q.Verdict != engine.Within {
			t.Fatalf("stranger %d: %+v", i, q)
		}
	}
	if q := come(l, "bot"); q.Verdict != engine.Beyond {
		t.Errorf("the bot is forgotten: %+v", q)
	}
	if n := len(l.table.groups) * groupSlots; n > 2*500+groupSlots {
		t.Errorf("the table has %d places", n)
	}
	if l.table.pushed.Load() < 90_000 {
		t.Errorf("only %d strangers gave way", l.table.pushed.Load())
	}
}

func TestALongWindowDoesNotPushShortOnesOut(t *testing.T) {
	l := node(t, "redis://127.0.0.1:1", func(o *Options) { // one group
		o.Keys, o.Rules[engine.LimitUnpaid], o.Rules[engine.LimitBuyer] = 1, Rule{100, 24 * time.Hour}, Rule{10, 10 * time.Second}
	})
	now := time.Now()
	for i := range groupSlots {
		l.Note(engine.LimitUnpaid, strconv.Itoa(i), "drop", 1, now)
	}
	for range 5 {
		l.Count(engine.LimitBuyer, "ann", "", now)
	}
	for i := range groupSlots { // each a hundredth of theirs
		l.Note(engine.LimitUnpaid, strconv.Itoa(i), "drop", 1, now)
	}
	if q := l.Count(engine.LimitBuyer, "ann", "", now); q.Verdict != engine.Perhaps {
		t.Errorf("half of ann's limit is forgotten: %+v", q)
	}
}

func TestWhatIsNotedIsSharedAndMayBeTakenBack(t *testing.T) {
	backends(t, func(t *testing.T, url string) {
		a, b, who := node(t, url), node(t, url), testenv.Unique()
		used := func(l *Limits) bool {
			return l.Used(engine.LimitUnpaid, who, "drop", time.Now()).Verdict == engine.Beyond
		}
		note := func(l *Limits, n int) {
			l.Note(engine.LimitUnpaid, who, "drop", n, time.Now())
			if q := l.shared.enqueue(l.table.hash(engine.LimitUnpaid, who, "drop"), engine.LimitUnpaid, who, "drop", 0, 0, at(time.Now())); q != nil {
				<-q.done // so that Redis has heard all there is
			}
		}
		for range 3 {
			note(a, 1)
		}
		if used(a) || used(b) {
			t.Fatal("three of four are too many")
		}
		note(b, 1) // and b hears of a's
		if used(a) || !used(b) {
			t.Errorf("after the fourth: a says %v, b %v", used(a), used(b))
		}
		note(b, -1)
		note(a, -1)
		if used(a) || used(b) {
			t.Error("what was paid for counts")
		}
		if l := b; l.Used(engine.LimitUnpaid, who, "another sale", time.Now()).Verdict != engine.Within {
			t.Error("another sale's count is used")
		}
	})
}

func TestWhatAnOrdinaryBuyerDoesIsNotRemembered(t *testing.T) {
	l := node(t, "redis://127.0.0.1:1", func(o *Options) { o.Rules[engine.LimitBuyer] = Rule{10, 10 * time.Second} })
	now := time.Now()
	for i := range 1000 { // one per second, for a quarter of an hour
		if q := l.Count(engine.LimitBuyer, "ann", "", now.Add(time.Duration(i)*time.Second)); q.Verdict != engine.Within {
			t.Fatalf("request %d: %+v", i, q)
		}
	}
	if owed := l.table.owes(l.table.hash(engine.LimitBuyer, "ann", ""), engine.LimitBuyer, at(now.Add(1000*time.Second))); owed != 0 {
		t.Errorf("Redis would be told of %d", owed)
	}
}

func TestCountingLeavesNoGarbage(t *testing.T) {
	l := node(t, "redis://127.0.0.1:1", func(o *Options) { o.Rules[engine.LimitBuyer] = Rule{1_000_000, 24 * time.Hour} })
	now := time.Now()
	if n := testing.AllocsPerRun(1000, func() {
		l.Count(engine.LimitBuyer, "buyer-7", "", now)
		l.Used(engine.LimitUnpaid, "buyer-7", "drop", now)
		l.Note(engine.LimitUnpaid, "buyer-7", "drop", 1, now)
		l.Note(engine.LimitUnpaid, "buyer-7", "drop", -1, now)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestRulesAreReadAndRefusedWithTheirReason(t *testing.T) {
	r := Defaults()
	for _, good := range []string{"buyer=5/1s", " ip = 10 / 2m ", "net64=off"} {
		if err := r.Parse(good); err != nil {
			t.Error(err)
		}
	}
	if r[engine.LimitBuyer] != (Rule{5, time.Second}) || r[engine.LimitIP] != (Rule{10, 2 * time.Minute}) || r[engine.LimitNet] != (Rule{}) {
		t.Errorf("%+v", r)
	}
	for bad, why := range map[string]string{"buyer": "NAME=MOST/WINDOW", "seller=1/1s": "NAME=MOST/WINDOW", "buyer=0/1s": "number", "buyer=x/1s": "number", "buyer=1": "number",
		"buyer=1/0s": "window", "buyer=1/25h": "window", "buyer=2000000/1s": "number", "buyer=1/ten": "window"} {
		if err := r.Parse(bad); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%s: %v", bad, err)
		}
	}
	if _, err := Open(Options{Secret: []byte("short")}); err == nil {
		t.Error("a short secret is taken")
	}
}

// BenchmarkCount is one request of a buyer; BenchmarkReservation is all that a
// reservation from an address of its own costs.
func BenchmarkCount(b *testing.B) {
	bench(b, func(l *Limits, who, _ string, now time.Time) { l.Count(engine.LimitBuyer, who, "", now) })
}

func BenchmarkReservation(b *testing.B) {
	bench(b, func(l *Limits, who, from string, now time.Time) {
		l.Count(engine.LimitIP, from, "", now)
		l.Count(engine.LimitBuyer, who, "", now)
		l.Used(engine.LimitUnpaid, who, "drop", now)
		l.Note(engine.LimitUnpaid, who, "drop", 1, now)
		l.Note(engine.LimitUnpaidIP, from, "drop", 1, now)
	})
}

func bench(b *testing.B, do func(l *Limits, who, from string, now time.Time)) {
	l := node(b, "redis://127.0.0.1:1", func(o *Options) {
		o.Rules, o.Keys = Defaults(), 1<<16
		o.Rules[engine.LimitUnpaid], o.Rules[engine.LimitUnpaidIP] = Rule{1000, time.Minute}, Rule{1000, time.Minute} // each comes again and again
	})
	names, places := make([]string, 16384), make([]string, 16384)
	for i := range names {
		names[i], places[i] = fmt.Sprint("buyer-", i), string([]byte{10, 1, byte(i >> 8), byte(i)})
	}
	b.ReportAllocs()
	i, now := 0, time.Now()
	for b.Loop() {
		i++
		now = now.Add(time.Microsecond * 20)
		do(l, names[i%len(names)], places[i%len(places)], now)
	}
}
