package reservation

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/flashsale-engine/flashsale/engine"
)

const testBound = 100 * time.Millisecond

// knower is a gate whose knowledge runs on a clock of the test's.
type knower struct {
	*Gate
	t     *testing.T
	clock atomic.Int64
}

func newKnower(t *testing.T, url string) *knower {
	t.Helper()
	k := &knower{Gate: openInside(t, url, Options{SoldOutFor: testBound}), t: t}
	k.clock.Store(1 << 32)
	k.soldOut.now = k.clock.Load
	return k
}

func (k *knower) pass(d time.Duration) { k.clock.Add(d.Microseconds()) }

func (k *knower) known() int { return int(testutil.ToFloat64(k.soldOut.known)) }

func (k *knower) code(s *engine.Sale, r engine.HoldRequest) engine.Code {
	k.t.Helper()
	_, err := k.Hold(k.t.Context(), s, r)
	return engine.CodeOf(err)
}

// learnt asks for a buyer who gets nothing, until the node knows why.
func (k *knower) learnt(s *engine.Sale, r engine.HoldRequest) {
	k.t.Helper()
	before := k.known()
	for end := time.Now().Add(time.Minute); k.known() == before; <-time.After(time.Millisecond) {
		if code := k.code(s, r); code != engine.CodeSoldOut || time.Now().After(end) {
			k.t.Fatalf("the node does not learn; the gate says %q", code)
		}
	}
}

func units(buyer uint64, lines ...engine.Line) engine.HoldRequest {
	return engine.HoldRequest{Buyer: buyerKey(buyer * 0x9e3779b97f4a7c15), Nonce: nonceOf(1), Lines: lines}
}

func sellOut(t *testing.T, stock int64) (*miniredis.Miniredis, *knower, *engine.Sale, engine.Hold) {
	t.Helper()
	m := miniredis.RunT(t)
	k := newKnower(t, "redis://"+m.Addr())
	s := bigSale(stock)
	if err := k.Create(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	h, err := k.Hold(t.Context(), s, units(1, engine.Line{Quantity: int(stock)}))
	if err != nil {
		t.Fatal(err)
	}
	return m, k, s, h
}

func expectCode(t *testing.T, what string, got, want engine.Code) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %q, want %q", what, got, want)
	}
}

func TestWhatIsKnownToBeSoldOutIsNotAskedAgain(t *testing.T) {
	_, k, s, _ := sellOut(t, 1)
	k.learnt(s, units(2, engine.Line{Quantity: 1}))
	asked := testutil.CollectAndCount(k.metrics.batches)
	before := k.known()
	for b := range uint64(50) {
		expectCode(t, "a new buyer", k.code(s, units(10+b, engine.Line{Quantity: 1})), engine.CodeSoldOut)
	}
	if k.known() != before+50 || testutil.CollectAndCount(k.metrics.batches) != asked {
		t.Errorf("%d of 50 were answered by knowledge", k.known()-before)
	}
}

func TestAUnitThatComesBackThroughThisNodeIsSoldAtOnce(t *testing.T) {
	for name, back := range map[string]func(k *knower, m *miniredis.Miniredis, s *engine.Sale, h engine.Hold) error{
		"released": func(k *knower, _ *miniredis.Miniredis, s *engine.Sale, h engine.Hold) error {
			return second(k.Release(context.Background(), s, h.ID))
		},
		"restocked": func(k *knower, _ *miniredis.Miniredis, s *engine.Sale, _ engine.Hold) error {
			return k.SetStock(context.Background(), s, 0, 2)
		},
		"reaped": func(k *knower, m *miniredis.Miniredis, s *engine.Sale, _ engine.Hold) error {
			m.SetTime(time.Now().Add(2 * time.Hour))
			return second(k.Reap(context.Background(), s, 10))
		},
		"declined without time left": func(k *knower, m *miniredis.Miniredis, s *engine.Sale, h engine.Hold) error {
			if err := second(k.BeginPayment(context.Background(), s, h.ID, fenceNo(1))); err != nil {
				return err
			}
			m.SetTime(time.Now().Add(2 * time.Hour))
			return second(k.Return(context.Background(), s, h.ID, fenceNo(1)))
		},
	} {
		t.Run(name, func(t *testing.T) {
			m, k, s, h := sellOut(t, 1)
			k.learnt(s, units(2, engine.Line{Quantity: 1}))
			if err := back(k, m, s, h); err != nil {
				t.Fatal(err)
			}
			expectCode(t, "the next buyer", k.code(s, units(3, engine.Line{Quantity: 1})), "")
		})
	}
}

func TestAUnitThatComesBackElsewhereIsSoldWithinTheBound(t *testing.T) {
	m, k, s, h := sellOut(t, 1)
	other := newKnower(t, "redis://"+m.Addr())
	k.learnt(s, units(2, engine.Line{Quantity: 1}))
	if err := second(other.Release(t.Context(), s, h.ID)); err != nil {
		t.Fatal(err)
	}
	k.pass(testBound / 3)
	expectCode(t, "within the bound", k.code(s, units(3, engine.Line{Quantity: 1})), engine.CodeSoldOut)
	k.pass(testBound * 2 / 3)
	expectCode(t, "at the bound", k.code(s, units(4, engine.Line{Quantity: 1})), "")
}

func TestThreeRequestsPerBoundLookAgain(t *testing.T) {
	_, k, s, _ := sellOut(t, 1)
	k.learnt(s, units(2, engine.Line{Quantity: 1}))
	known, asked := k.known(), 0
	for b := range uint64(400) { // four bounds, a hundred requests each
		k.pass(testBound / 100)
		expectCode(t, "a new buyer", k.code(s, units(10+b, engine.Line{Quantity: 1})), engine.CodeSoldOut)
	}
	if asked = 400 - (k.known() - known); asked < 8 || asked > 12 {
		t.Errorf("%d requests reached the gate in four bounds", asked)
	}
}

// The answer to the first request was lost. Whatever this node knows, the same
// request again must find its hold: made here, made elsewhere before the roster
// was read, or made elsewhere since.
func TestARepeatedRequestFindsItsHoldThoughAllIsSoldOut(t *testing.T) {
	m, k, s, h := sellOut(t, 2)
	other := newKnower(t, "redis://"+m.Addr())
	again := func(what string, r engine.HoldRequest, want engine.ReservationID) {
		t.Helper()
		h, err := k.Hold(t.Context(), s, r)
		if err != nil || !h.Replayed || h.ID != want {
			t.Errorf("%s: %+v, %v", what, h, err)
		}
	}
	k.learnt(s, units(90, engine.Line{Quantity: 1}))
	again("made here", units(1, engine.Line{Quantity: 2}), h.ID)

	if err := second(other.Release(t.Context(), s, h.ID)); err != nil {
		t.Fatal(err)
	}
	first, err := other.Hold(t.Context(), s, units(2, engine.Line{Quantity: 2}))
	if err != nil {
		t.Fatal(err)
	}
	k.pass(testBound)
	k.learnt(s, units(91, engine.Line{Quantity: 1}))
	again("made elsewhere, and the roster was read again", units(2, engine.Line{Quantity: 2}), first.ID)
	again("released elsewhere", units(1, engine.Line{Quantity: 2}), h.ID)

	fresh := newKnower(t, "redis://"+m.Addr())
	fresh.learnt(s, units(92, engine.Line{Quantity: 1}))
	if h, err := fresh.Hold(t.Context(), s, units(2, engine.Line{Quantity: 2})); err != nil || h.ID != first.ID {
		t.Errorf("a node that has made nothing: %+v, %v", h, err)
	}
}

func TestKnowledgeIsOfOneSaleEpochVersionAndSKU(t *testing.T) {
	m, k, s, _ := sellOut(t, 1)
	k.learnt(s, units(2, engine.Line{Quantity: 1}))
	known := k.known()
	other := bigSale(1)
	if err := k.Create(t.Context(), other); err != nil {
		t.Fatal(err)
	}
	expectCode(t, "another sale", k.code(other, units(3, engine.Line{Quantity: 1})), "")
	epoch := *s
	epoch.Epoch = 2
	expectCode(t, "another epoch", k.code(&epoch, units(4, engine.Line{Quantity: 1})), engine.CodeGateFrozen)
	version := *s
	version.Version = 2
	expectCode(t, "a changed sale", k.code(&version, units(5, engine.Line{Quantity: 1})), engine.CodeSoldOut)
	if k.known() != known {
		t.Error("answered for what it was not learned of")
	}
	m.FlushAll()
	epoch.Items = []engine.Item{{Stock: 1}}
	if err := k.Create(t.Context(), &epoch); err != nil {
		t.Fatal(err)
	}
	expectCode(t, "the gate rebuilt", k.code(&epoch, units(6, engine.Line{Quantity: 1})), "")
	k.soldOut.learn(s, []engine.Line{{Quantity: 1}}, k.clock.Load(), errKnownSoldOut) // a late word of the old epoch
	if k.soldOut.of(s) != nil {
		t.Error("a late word brought the old epoch back")
	}
}

func TestOnlyWhatIsCertainIsLearned(t *testing.T) {
	m := miniredis.RunT(t)
	k := newKnower(t, "redis://"+m.Addr())
	s := bigSale(0)
	s.Items = []engine.Item{{Stock: 2}, {No: 1, Stock: 5}}
	if err := k.Create(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	a, b := engine.Line{Quantity: 3}, engine.Line{No: 1, Quantity: 1}
	expectCode(t, "a cart of two", k.code(s, units(1, a, b)), engine.CodeSoldOut)
	if k.soldOut.of(s) != nil {
		t.Error("learned from a cart of two lines")
	}
	k.learnt(s, units(2, a))
	known := k.known()
	expectCode(t, "fewer units than were lacking", k.code(s, units(3, engine.Line{Quantity: 2})), "")
	if k.known() != known {
		t.Error("a smaller cart was judged by a larger one's refusal")
	}
	expectCode(t, "another SKU", k.code(s, units(4, b)), "")
	k.learnt(s, units(5, a, b)) // all lines or none
}

func TestKnowingCostsNoAllocation(t *testing.T) {
	_, k, s, _ := sellOut(t, 1)
	k.learnt(s, units(2, engine.Line{Quantity: 1}))
	r := units(3, engine.Line{Quantity: 1})
	// A crowd that is turned away must not keep the collector busy.
	if n := testing.AllocsPerRun(1000, func() { _, _ = k.Hold(context.Background(), s, r) }); n != 0 {
		t.Errorf("%v allocations per refusal", n)
	}
}

// Two nodes, units that come and go, and clients that repeat every request
// through the other node: nobody's hold is ever denied to them, and in the end
// every unit is sold, whatever the nodes believed on the way.
func TestKnowledgeUnderFireNeverDeniesAHold(t *testing.T) {
	m := miniredis.RunT(t)
	nodes := []*Gate{
		openInside(t, "redis://"+m.Addr(), Options{SoldOutFor: testBound}),
		openInside(t, "redis://"+m.Addr(), Options{SoldOutFor: testBound}),
	}
	s := bigSale(8)
	if err := nodes[0].Create(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for w := range uint64(8) {
		all.Go(func() {
			for i := range uint64(100) {
				r := units(w*1000+i+1, engine.Line{Quantity: 1})
				here, there := nodes[(w+i)%2], nodes[(w+i+1)%2]
				h, err := here.Hold(context.Background(), s, r)
				if err != nil {
					if engine.CodeOf(err) != engine.CodeSoldOut {
						t.Error(err)
					}
					continue
				}
				if again, err := here.Hold(context.Background(), s, r); err != nil || again.ID != h.ID {
					t.Errorf("repeated at the same node: %+v, %v", again, err)
				}
				deadline := time.Now().Add(testBound)
				again, err := there.Hold(context.Background(), s, r)
				for late := false; err != nil && !late; { // what the bound allows; who asks after it is given the hold
					late = !time.Now().Before(deadline)
					again, err = there.Hold(context.Background(), s, r)
				}
				if err != nil || again.ID != h.ID {
					t.Errorf("repeated at the other node: %+v, %v", again, err)
				}
				if err := second(there.Release(context.Background(), s, h.ID)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	for _, g := range nodes {
		b := uint64(1 << 40)
		for left := 4; left > 0; b++ {
			if _, err := g.Hold(t.Context(), s, units(b, engine.Line{Quantity: 1})); err == nil {
				left--
			} else if b > 1<<40+1<<20 {
				t.Fatal("units that came back are never sold")
			}
		}
	}
}

// With several shards "sold out" is a word about all of them, and a unit that
// comes back in any shard ends it.
func TestWhatIsKnownOfASaleInShardsIsKnownOfAllOfThem(t *testing.T) {
	m := miniredis.RunT(t)
	k, elsewhere := newKnower(t, "redis://"+m.Addr()), newKnower(t, "redis://"+m.Addr())
	s := bigSale(8)
	s.Shards = 4
	if err := k.Create(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	var holds []engine.Hold
	buyer := uint64(0)
	for range 8 { // whatever their home shards: the last unit anywhere is sold first
		buyer++
		h, err := k.Hold(t.Context(), s, units(buyer, engine.Line{Quantity: 1}))
		if err != nil {
			t.Fatalf("%d units were sold: %v", len(holds), err)
		}
		holds = append(holds, h)
	}
	ofShard := func(shard int) engine.HoldRequest {
		for {
			buyer++
			if r := units(buyer, engine.Line{Quantity: 1}); shardOf(s, r.Buyer) == shard {
				return r
			}
		}
	}
	for shard := range s.Shards {
		k.learnt(s, ofShard(shard))
	}
	for i, h := range holds {
		from := shardOf(s, h.ID.Buyer)
		other := (from + 1) % s.Shards
		back, name := k.Gate, "here"
		if i%2 == 1 {
			back, name = elsewhere.Gate, "elsewhere"
		}
		if _, err := back.Release(t.Context(), s, h.ID); err != nil {
			t.Fatal(err)
		}
		if name == "elsewhere" {
			k.pass(testBound)
		}
		expectCode(t, name+": a buyer of another shard than the unit's", k.code(s, ofShard(other)), "")
		k.pass(2 * testBound) // the clock stands still otherwise, and a word must be younger than the unit's return
		k.learnt(s, ofShard(from))
	}
}
