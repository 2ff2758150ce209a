package main

import (
	"context"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/flashsale-engine/flashsale/loadtest"
)

// A node stands still for a second under load. Who was due then waited for the rest of
// it, and the load generator says so: a busy machine can only add to that.
func TestANodeThatStandsStillForASecondIsSeenInTheTail(t *testing.T) {
	r := newRig(t)
	p := r.serve("--roles", "api,reaper")
	p.sale("drop", 10_000, 1, "4m")
	signal := func(s syscall.Signal) func(context.Context) error {
		return func(context.Context) error { return syscall.Kill(p.cmd.Process.Pid, s) }
	}
	t.Cleanup(func() { _ = signal(syscall.SIGCONT)(context.Background()) })
	c := loadtest.Config{API: p.ready.API, Sale: "drop", SKUs: []string{"A"}, BuyerKey: []byte(testKey), Rate: 200, Duration: 4 * time.Second, Seed: 1, Abandon: 1,
		Events: []loadtest.Event{{At: 2 * time.Second, Name: "stops", Do: signal(syscall.SIGSTOP)}, {At: 3 * time.Second, Name: "goes on", Do: signal(syscall.SIGCONT)}}}
	out, err := loadtest.Run(t.Context(), c)
	if err != nil || !out.Pass || out.Holds != 800 || len(out.Marks) != 2 {
		t.Fatalf("%v\n%s", err, out)
	}
	stop, goOn := out.Marks[0].At, out.Marks[1].From // stopped for as long at least
	least := make([]float64, 0, 800)                 // ms that each of them waited at least
	for _, at := range c.Schedule() {
		wait := 0.0
		if s := at.Seconds(); s >= stop && s < goOn {
			wait = (goOn - s) * 1000
		}
		least = append(least, wait)
	}
	slices.Sort(least)
	l := out.Of(loadtest.StepReserve)
	for _, q := range []struct {
		name      string
		of        float64
		got, more float64
	}{{"p95", 0.95, l.P95, 100}, {"p99", 0.99, l.P99, 400}, {"p99.9", 0.999, l.P999, 500}} {
		// The histogram rounds.
		want := least[int(q.of*800+0.5)-1] - 20
		if q.got < want || want < q.more {
			t.Errorf("%s is %.0f ms, and must be %.0f at least", q.name, q.got, want)
		}
	}
	t.Logf("stopped from %.2f s to %.2f s: %s", stop, goOn, out)
}
