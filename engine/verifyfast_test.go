package engine

import (
	"context"
	"testing"
	"time"
)

// counting is a gate, a stream and a record that are nothing but numbers.
type counting struct {
	RecordAudit
	gate    Counters
	brief   []RecordBrief // one per look, the last for ever
	waiting int           // entries in the outbox
	behind  bool          // the record has not read to the stream's end
	looks   int
}

func (c *counting) Find(context.Context, *Sale, ReservationID) (Hold, error) {
	panic("a fast look reads no hold")
}
func (c *counting) Holds(context.Context, *Sale, func(Hold) error) error {
	panic("a fast look reads no hold")
}
func (c *counting) Counters(context.Context, *Sale) ([]Counters, error) {
	return []Counters{c.gate}, nil
}
func (c *counting) Brief(context.Context) ([]RecordBrief, error) {
	b := c.brief[min(c.looks, len(c.brief)-1)]
	c.looks++
	b.SaleNo = 1
	return []RecordBrief{b}, nil
}
func (c *counting) Pending(context.Context, *Sale, time.Duration, int) ([]OutboxEntry, error) {
	return make([]OutboxEntry, c.waiting), nil
}
func (c *counting) Remove(context.Context, *Sale, []OutboxEntry) error { return nil }
func (c *counting) Mark(context.Context) (Mark, error)                 { return nil, nil }
func (c *counting) Left(context.Context, Mark) (int64, error) {
	if c.behind {
		return 1, nil
	}
	return 0, nil
}

func (c *counting) Now() time.Time { return time.Now() }

func TestTheFastLookComparesCountersAndKnowsWhatIsOnItsWay(t *testing.T) {
	sound := func() counting {
		return counting{gate: Counters{Stock: 10, Available: 4, Held: 1, Paying: 1, Sold: 4},
			brief: []RecordBrief{{Stock: 10, Sold: 3, RunningStock: 10, RunningSold: 3, Refused: 1}}}
	}
	for name, c := range map[string]struct {
		spoil func(*counting)
		want  FindingCause
	}{
		"all is well":                             {func(*counting) {}, ""},
		"the gate does not conserve":              {func(c *counting) { c.gate.Available++ }, CauseGateSums},
		"the gate has another stock":              {func(c *counting) { c.gate.Available++; c.gate.Stock++ }, CauseGateStock},
		"the gate has forgotten claims":           {func(c *counting) { c.gate.Sold -= 2; c.gate.Available += 2 }, CauseGateBehind},
		"the gate has sold what nobody knows of":  {func(c *counting) { c.gate.Sold++; c.gate.Available-- }, CauseGateAhead},
		"… which may be in the outbox":            {func(c *counting) { c.gate.Sold++; c.gate.Available--; c.waiting = 1 }, ""},
		"… or in the stream":                      {func(c *counting) { c.gate.Sold++; c.gate.Available--; c.behind = true }, ""},
		"the record's rows and its ledger differ": {func(c *counting) { c.brief[0].RunningSold++ }, CauseRecordSums},
		"more is sold than there was": {func(c *counting) {
			c.brief[0].Stock = 2
			c.brief[0].RunningStock = 2
			c.gate.Stock, c.gate.Available = 2, -4
		}, CauseOversold},
		"the gate lacks the SKU":                      {func(c *counting) { c.gate.No = 7 }, CauseGateUnknown},
		"a difference that a later look does not see": {func(c *counting) { b := c.brief[0]; b.RunningSold++; c.brief = []RecordBrief{b, c.brief[0]} }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := sound()
			c.spoil(&w)
			s := aSale()
			s.No, s.Epoch, s.State, s.Items = 1, 1, SaleOpen, s.Items[:1]
			v := Verifier{Sales: func(context.Context) ([]*Sale, error) { return []*Sale{s}, nil }, Gate: &w, Outbox: &w, Stream: &w, Record: &w, Clock: &w, Settle: 10 * time.Millisecond, Pause: time.Millisecond}
			got, err := v.Fast(context.Background())
			if err != nil || !got.Fast || got.Clean() != (c.want == "") {
				t.Fatalf("%+v, %v", got, err)
			}
			if c.want != "" && got.Findings[0].Cause != c.want {
				t.Errorf("found %+v", got.Findings)
			}
		})
	}
}
