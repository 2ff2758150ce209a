package reservation

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"github.com/flashsale-engine/flashsale/engine"
)

// The script trusts what a call says about its holds: the sums and the most.
func TestACallNamesEverySKUOnceWithTheUnitsAskedOfIt(t *testing.T) {
	s := bigSale(1)
	for range 200 {
		want, most, crowd := map[uint64]int{}, 0, true
		var ops []*op
		for range 1 + rand.IntN(maxBatch) {
			if rand.IntN(300) == 0 {
				ops, crowd = append(ops, moveOp(opRelease, s, engine.ReservationID{}, nil, nil)), false
				continue
			}
			buyer := uint64(len(ops))
			if len(ops) > 0 && rand.IntN(300) == 0 {
				buyer, crowd = uint64(rand.IntN(len(ops))), false
			}
			r, units := engine.HoldRequest{Buyer: buyerKey(buyer)}, 0
			for range 1 + rand.IntN(engine.MaxLines) {
				l := engine.Line{No: uint16(rand.IntN(700)), Quantity: 1 + rand.IntN(3)}
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
		if args[2] != len(ops) || args[3] != most || named != min(len(want), mostNamed) || len(sums) != 2*named || len(buyers) != 8*len(ops) {
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
