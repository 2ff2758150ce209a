package reservation

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/flashsale-engine/flashsale/engine"
)

// The script trusts what a call says about its holds: the sums, the most, and who
// is there again.
func TestACallNamesEverySKUOnceWithTheUnitsAskedOfIt(t *testing.T) {
	s := bigSale(1)
	for range 200 {
		want, most, crowd := map[uint64]int{}, 0, true
		var again []byte // each who is there again, and where first
		skus := rand.IntN(700) + 1
		var ops []*op
		for range 1 + rand.IntN(maxBatch) {
			if rand.IntN(300) == 0 {
				ops, crowd = append(ops, moveOp(opRelease, s, engine.ReservationID{}, nil, nil)), false
				continue
			}
			buyer := uint64(len(ops))
			if len(ops) > 0 && rand.IntN(300) == 0 {
				buyer = uint64(rand.IntN(len(ops)))
				first := slices.IndexFunc(ops, func(o *op) bool { return o.buyer == buyerKey(buyer) })
				if first < 0 { // it was a release, or somebody else's second hold
					buyer = uint64(len(ops))
				} else {
					again = append(again, byte(len(ops)), byte(first))
				}
			}
			r, units := engine.HoldRequest{Buyer: buyerKey(buyer)}, 0
			for range 1 + rand.IntN(engine.MaxLines) {
				l := engine.Line{No: uint16(rand.IntN(skus)), Quantity: 1 + rand.IntN(3)}
				r.Lines = append(r.Lines, l)
				units += l.Quantity
				want[uint64(l.No)] += l.Quantity
			}
			o, err := holdOp(s, r)
			if err != nil {
				t.Fatal(err)
			}
			ops, most = append(ops, o), max(most, units)
		}
		args := arguments(1, ops, 0)
		named := len(args) - 7
		sums, buyers := args[4].(*packed).b, args[5].(*packed).b
		if len(want) > mostNamed {
			most = 0
		} else if !crowd {
			most = -most
		}
		if most <= 0 {
			again = nil // only a crowd is told
		}
		if args[2] != len(ops) || args[3] != most || named != min(len(want), mostNamed) || len(sums) != 2*named+len(again) || !bytes.Equal(sums[2*named:], again) || len(buyers) != 8*len(ops) {
			t.Fatalf("%d operations on %d SKUs, the most %d: %v…, %d arguments", len(ops), len(want), most, args[:4], len(args))
		}
		if most == 0 {
			continue
		}
		for i := range named {
			no, sum := args[7+i].(uint64), int(binary.BigEndian.Uint16(sums[2*i:]))
			if sum != want[no] || want[no] == 0 {
				t.Fatalf("SKU %d: %v, want %d", no, sum, want[no])
			}
			delete(want, no)
		}
	}
}

// A hold through the lane is one of thousands per second: what it leaves behind
// is its lines, which go to the caller. The pool and packed bring the rest from
// five allocations to none.
func TestAHoldsWayIntoACallAllocatesNothingButItsLines(t *testing.T) {
	s, r := bigSale(1), oneUnit(1)
	if n := testing.AllocsPerRun(1000, func() {
		o, _ := holdOp(s, r)
		o.free()
	}); n > 2 { // 1, but the race detector has the pool lose some
		t.Errorf("%v allocations per operation", n)
	}
	ops := make([]*op, 64)
	for i := range ops {
		ops[i], _ = holdOp(s, oneUnit(uint64(i)))
	}
	if n := testing.AllocsPerRun(100, func() { arguments(1, ops, 0) }); n > 3 {
		t.Errorf("%v allocations for a call of 64 operations", n)
	}
}

func TestARefusalSaysAfterWhichDecisionItWasMade(t *testing.T) {
	for _, refusal := range []int64{refSoldOut, refBuyerLimit} {
		a := answer{refusal: refusal, hold: engine.Hold{Seq: 77}}
		if e, ok := a.refused().(*engine.Error); !ok || e.Fields["seq"] != uint64(77) { //nolint:errorlint // it is what refused makes
			t.Errorf("%+v", e)
		}
	}
}

func TestAReplyToACrowdNamesOnlyWhatIsNoNewHold(t *testing.T) {
	head := []any{int64(10), int64(100), int64(20), int64(30), int64(0), int64(ofCrowd)}
	three := func() (ops []*op) {
		for i := range 3 {
			o, err := holdOp(bigSale(1), oneUnit(uint64(i)))
			if err != nil {
				t.Fatal(err)
			}
			ops = append(ops, o)
		}
		return ops
	}
	ops := three()
	if _, err := read(slices.Concat(head, []any{int64(1), int64(refBuyerLimit - 16)}), 1, ops); err != nil {
		t.Fatal(err)
	}
	for i, want := range []answer{{hold: engine.Hold{Seq: 101}}, {hold: engine.Hold{Seq: 101}, refusal: refBuyerLimit}, {hold: engine.Hold{Seq: 102}}} {
		if got := ops[i].answer; got.refusal != want.refusal || got.hold.Seq != want.hold.Seq {
			t.Errorf("operation %d: refusal %d, seq %d, want %d, %d", i, got.refusal, got.hold.Seq, want.refusal, want.hold.Seq)
		}
	}
	for what, parts := range map[string][]any{
		"a place without an answer": {int64(1)}, "a place beyond the call": {int64(3), int64(refBuyerLimit)},
		"places out of order": {int64(1), int64(refBuyerLimit), int64(0), int64(refBuyerLimit)}, "an answer that is none": {int64(0), 1.5},
	} {
		if _, err := read(slices.Concat(head, parts), 1, three()); err == nil {
			t.Errorf("%s: no error", what)
		}
	}
}

func TestAHoldThatNobodyWaitsForIsQueuedWithoutGarbage(t *testing.T) {
	s, r := bigSale(1), oneUnit(1)
	m, _ := newMetrics(nil)
	g := &Gate{opt: Options{MaxQueue: maxBatch}, metrics: m, lanes: map[laneKey]*lane{}}
	g.soldOut = newSoldOut(g, 0)
	l := g.lane(s, 0)
	l.drains = 2 // as if: nobody is to be started
	n := testing.AllocsPerRun(1000, func() {
		g.HoldThen(t.Context(), s, r, nil)
		if len(l.queue) != 1 {
			t.Fatal("not queued")
		}
		l.queue[0].free()
		l.queue = l.queue[:0]
	})
	if n > 0 {
		t.Errorf("%v allocations per hold", n)
	}
}
