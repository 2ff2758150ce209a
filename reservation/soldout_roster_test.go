package reservation

import (
	"testing"

	"github.com/alicebob/miniredis/v2"

	"github.com/flashsale-engine/flashsale/engine"
)

// Until the roster is complete again after another node's decisions, the gate
// answers: the word alone is not enough.
func TestAGapInSeqSilencesTheKnowledge(t *testing.T) {
	m, k, s, h := sellOut(t, 1)
	other := newKnower(t, "redis://"+m.Addr())
	k.learnt(s, units(2, engine.Line{Quantity: 1}))
	ro := k.soldOut.of(s).rosters[0]
	if err := second(other.BeginPayment(t.Context(), s, h.ID, fenceNo(1))); err != nil {
		t.Fatal(err)
	}
	ro.next = 1 << 62 // and it is not read again
	k.pass(testBound)
	known := k.known()
	for b := range uint64(10) {
		expectCode(t, "a new buyer", k.code(s, units(10+b, engine.Line{Quantity: 1})), engine.CodeSoldOut)
	}
	if k.known() != known {
		t.Error("answered by a roster that is not complete")
	}
}

// A roster from before the word may lack a buyer who had a record when the word was
// true: to them the gate would have said something else.
func TestARosterOlderThanTheWordSaysNothingOfABuyer(t *testing.T) {
	m := miniredis.RunT(t)
	k := newKnower(t, "redis://"+m.Addr())
	other := newKnower(t, "redis://"+m.Addr())
	s := bigSale(0)
	s.PerBuyerLimit = 3
	s.Items = []engine.Item{{Stock: 3}, {No: 1}}
	if err := k.Create(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	k.learnt(s, units(1, engine.Line{No: 1, Quantity: 1})) // and the roster with it
	k.soldOut.of(s).rosters[0].next = 1 << 62
	k.pass(testBound / 10)
	if err := second(other.Hold(t.Context(), s, units(2, engine.Line{Quantity: 3}))); err != nil {
		t.Fatal(err)
	}
	k.pass(testBound / 10)
	expectCode(t, "a new buyer", k.code(s, units(3, engine.Line{Quantity: 1})), engine.CodeSoldOut) // the word
	again := units(2, engine.Line{Quantity: 1})
	again.Nonce = nonceOf(2)
	expectCode(t, "who has all that they may have", k.code(s, again), engine.CodeBuyerLimit)
	expectCode(t, "the hold itself", k.code(s, units(2, engine.Line{Quantity: 3})), "")
}

func TestTwoCallsHeardInTheOtherOrderLeaveNoGap(t *testing.T) {
	ro := &roster{}
	ro.set.Store(newKeySet(64))
	ro.asOf.Store(1)
	ro.through = 10
	heard := func(asked int64, before, after uint64) {
		o := &op{buyer: buyerKey(after)}
		ro.heard([]*op{o}, asked, before, after)
	}
	heard(100, 10, 20)
	if ro.through != 20 || ro.asOf.Load() != 100 {
		t.Fatalf("one call: %d as of %d", ro.through, ro.asOf.Load())
	}
	heard(120, 30, 40) // the one before it is still on its way
	if ro.through != 20 || ro.asOf.Load() != 100 {
		t.Fatalf("with a gap: %d as of %d", ro.through, ro.asOf.Load())
	}
	heard(110, 20, 30)
	if ro.through != 40 || ro.asOf.Load() != 120 || !ro.has(buyerKey(30)) {
		t.Fatalf("closed: %d as of %d", ro.through, ro.asOf.Load())
	}
	heard(130, 41, 45) // somebody else decided 41
	if ro.through != 40 {
		t.Fatalf("another's decision: %d", ro.through)
	}
}
