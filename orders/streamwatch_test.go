package orders

import (
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

func TestTheLagIsAsOldAsTheOldestEventThatTheRecordHasNotRead(t *testing.T) {
	now := time.Unix(1000, 0)
	w := NewStreamWatch(nil, nil, prometheus.NewRegistry())
	w.now = func() time.Time { return now }
	one := func(n int64) map[int32]int64 { return map[int32]int64{0: n} }
	for _, step := range []struct {
		what        string
		end, at     int64
		known       bool
		events, age float64
	}{
		{"nothing is there", 0, 0, true, 0, 0},
		{"ten events come", 10, 0, true, 10, 0},
		{"they wait", 10, 0, true, 10, 2},
		{"others come behind them", 30, 0, true, 30, 4},
		{"the first are read: the others are as old as they are", 30, 10, true, 20, 2},
		{"the record is away, and they go on aging", 40, 0, false, 30, 4},
		{"all is read", 40, 40, true, 0, 0},
	} {
		w.note(one(0), one(step.end), one(step.at), step.known)
		if events, age := testutil.ToFloat64(w.events), w.age(); events != step.events || age != step.age {
			t.Errorf("%s: %v events, %v s; want %v, %v s", step.what, events, age, step.events, step.age)
		}
		now = now.Add(2 * time.Second)
	}
}

func TestALagOfHoursIsRememberedInLittleRoomAndNotTakenForYounger(t *testing.T) {
	var a partAge
	began := time.Unix(1000, 0)
	for i := range 10_000 {
		a.note(0, int64(i+1), began.Add(time.Duration(i)*watchEvery))
	}
	if len(a.ends) > mostEnds || !a.ends[0].seen.Equal(began) {
		t.Errorf("%d ends are remembered, the oldest of %s", len(a.ends), a.ends[0].seen)
	}
}
