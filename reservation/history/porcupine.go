package history

import (
	"fmt"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/flashsale-engine/flashsale/engine"
)

// Porcupined says what porcupine was given and what it made of it.
type Porcupined struct {
	Buyers, SKUs int // partitions: one per buyer, and slices of each SKU's history
	Operations   int // over all partitions
	Unknown      int // partitions on which it gave up
}

// chunk is how many changes of a SKU porcupine gets at a time. Its memory grows
// with the square.
const chunk = 1000

// Porcupine checks the history with porcupine, split so that it is feasible:
//
//   - by buyer: the whole record with its limit, holds and fences, and no use of
//     seq but for the bounds of expiries;
//   - by SKU: the units available, each change at its rank among the SKU's
//     changes (by seq), cut into slices at ranks. What Check showed of real time
//     between places is what joins the slices.
//
// It wants a history that Check has passed.
func Porcupine(h *History, patience time.Duration) (Porcupined, error) {
	c := &checker{History: h}
	for _, step := range []func() error{c.place, c.explain, c.replay, c.order} {
		if err := step(); err != nil {
			return Porcupined{}, fmt.Errorf("history: %w", err)
		}
	}
	type part struct {
		what  string
		model porcupine.Model
		ops   []porcupine.Operation
	}
	var parts []part
	for b, ops := range c.byBuyer() {
		parts = append(parts, part{fmt.Sprintf("buyer %x", b), buyerModel(h.Sale, h.MaxAttempts), ops})
	}
	p := Porcupined{Buyers: len(parts)}
	for no := range c.world.skus {
		if h.Shared {
			break
		}
		for _, s := range c.bySKU(no) {
			parts = append(parts, part{fmt.Sprintf("SKU %d from its change %d", no, s.start.rank), skuModel(s.start), s.ops})
			p.SKUs++
		}
	}
	var (
		mu    sync.Mutex
		wg    sync.WaitGroup
		wrong error
	)
	next := make(chan part)
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for q := range next {
				r := porcupine.CheckOperationsTimeout(q.model, q.ops, patience)
				mu.Lock()
				p.Operations += len(q.ops)
				if r == porcupine.Unknown {
					p.Unknown++
				} else if r == porcupine.Illegal && wrong == nil {
					wrong = fmt.Errorf("history: porcupine finds no order for %s (%d operations)", q.what, len(q.ops))
				}
				mu.Unlock()
			}
		})
	}
	for _, q := range parts {
		next <- q
	}
	close(next)
	wg.Wait()
	return p, wrong
}

// asked and told are porcupine's input and output.
type asked struct {
	kind  Kind
	nonce engine.Nonce
	fence engine.Fence
	units int
}

type told struct {
	code    engine.Code
	view    view
	changed bool
	rank    int   // a SKU's change: its rank; -1: a refusal
	units   int64 // a SKU's change: by how much; a refusal: what was asked for
}

func (c *checker) operation(o *Op, call, ret int64) porcupine.Operation {
	_, units := cart(o.Lines)
	return porcupine.Operation{
		Call: call, Return: ret,
		Input:  asked{kind: o.Kind, nonce: o.Nonce, fence: o.Fence, units: units},
		Output: told{code: o.Code, view: viewOf(o.Out), changed: o.Code == "" && !o.Out.Replayed},
	}
}

// byBuyer gives each buyer's operations, expiries among them. Look-ups judge a
// deadline that only the clock knows, so they are left to Check.
func (c *checker) byBuyer() map[engine.BuyerKey][]porcupine.Operation {
	out := map[engine.BuyerKey][]porcupine.Operation{}
	recovered := map[*Op]bool{}
	for seq := 1; seq < len(c.places); seq++ {
		d := &c.places[seq]
		switch {
		case d.kind == Expiry:
			out[d.key.buyer] = append(out[d.key.buyer], porcupine.Operation{
				Call: d.call, Return: d.ret, Input: asked{kind: Expiry, nonce: d.key.nonce}, Output: told{view: viewOf(d.told), changed: true},
			})
		case d.op.Unknown:
			recovered[d.op] = true
			p := c.operation(d.op, d.call, d.ret)
			p.Output = told{view: viewOf(d.told), changed: true}
			out[d.key.buyer] = append(out[d.key.buyer], p)
		}
	}
	for i := range c.Ops {
		o := &c.Ops[i]
		if o.Unknown || o.Kind == Find || o.Kind == Counters || o.Code == engine.CodeOverloaded || o.Code == engine.CodeUnavailable || o.Code == engine.CodeNotFound {
			continue
		}
		out[o.Buyer] = append(out[o.Buyer], c.operation(o, c.called(o), o.Return))
	}
	return out
}

// buyerState is a buyer's record: small, so a sorted slice that is copied.
type buyerState struct {
	units int
	holds []buyerHold
}

type buyerHold struct {
	nonce engine.Nonce
	units int
	view  view
}

func buyerModel(s *engine.Sale, maxAttempts int) porcupine.Model {
	return porcupine.Model{
		Init:  func() any { return buyerState{} },
		Equal: func(a, b any) bool { return equalStates(a.(buyerState), b.(buyerState)) },
		Step: func(st, in, out any) (bool, any) {
			return buyerStep(s, maxAttempts, st.(buyerState), in.(asked), out.(told))
		},
	}
}

func equalStates(a, b buyerState) bool { return a.units == b.units && slices.Equal(a.holds, b.holds) }

func buyerStep(s *engine.Sale, maxAttempts int, st buyerState, in asked, out told) (bool, any) {
	i := slices.IndexFunc(st.holds, func(h buyerHold) bool { return h.nonce == in.nonce })
	if in.kind == Hold {
		switch {
		case i >= 0:
			return out.code == "" && !out.changed && out.view == st.holds[i].view, st
		case st.units+in.units > s.PerBuyerLimit:
			return out.code == engine.CodeBuyerLimit, st
		case out.code == engine.CodeSoldOut:
			return true, st // whether it was is the SKU's affair
		case out.code != "" || !out.changed || out.view.state != engine.Held:
			return false, st
		}
		holds := append(slices.Clone(st.holds), buyerHold{in.nonce, in.units, out.view})
		return true, buyerState{st.units + in.units, holds}
	}
	if i < 0 {
		return false, st
	}
	h := st.holds[i]
	next := h.view
	if in.kind == Expiry {
		if h.view.state != engine.Held {
			return false, st
		}
		next.state = engine.Expired
	} else {
		is, code, n := judge(in.kind, h.view, in.fence, maxAttempts, out.view.state == engine.Released)
		switch is {
		case refused:
			return out.code == code, st
		case repeats:
			return out.code == "" && !out.changed && out.view == h.view, st
		}
		next = n
	}
	next.seq, next.expires = out.view.seq, out.view.expires // Check has judged both
	if out.code != "" || !out.changed || out.view != next {
		return false, st
	}
	to := buyerState{st.units, slices.Clone(st.holds)}
	to.holds[i].view = next
	if !live(next.state) {
		to.units -= h.units
	}
	return true, to
}

// slice is a part of a SKU's history and the state that it begins in.
type slice struct {
	start skuState
	ops   []porcupine.Operation
}

type skuState struct {
	rank      int
	available int64
}

func skuModel(start skuState) porcupine.Model {
	return porcupine.Model{
		Init: func() any { return start },
		Step: func(st, _, out any) (bool, any) {
			s, o := st.(skuState), out.(told)
			if o.rank < 0 {
				return s.available < o.units, s
			}
			next := skuState{s.rank + 1, s.available + o.units}
			return o.rank == next.rank && next.available >= 0, next
		},
	}
}

// bySKU gives the changes of what is available of a SKU, and the refusals that
// only it can have caused: those of carts of this one SKU. A refusal goes into
// the slice where Check found it a place.
func (c *checker) bySKU(no uint16) []slice {
	past := c.world.skus[no].past
	out := []slice{{start: skuState{0, past[0].is.Available}}}
	first := []int{0} // the place where each slice begins
	rank := 0
	for i := 1; i < len(past); i++ {
		by := past[i].is.Available - past[i-1].is.Available
		if by == 0 {
			continue
		}
		if rank > 0 && rank%chunk == 0 {
			out = append(out, slice{start: skuState{rank, past[i-1].is.Available}})
			first = append(first, past[i].place)
		}
		rank++
		d := &c.places[past[i].place]
		cur := &out[len(out)-1]
		cur.ops = append(cur.ops, porcupine.Operation{Call: d.call, Return: d.ret, Input: asked{kind: d.kind}, Output: told{rank: rank, units: by}})
	}
	for _, r := range c.refusals[no] {
		at, found := slices.BinarySearch(first, r.place)
		if !found {
			at--
		}
		out[at].ops = append(out[at].ops, porcupine.Operation{Call: c.called(r.op), Return: r.op.Return, Input: asked{kind: Hold}, Output: told{rank: -1, units: r.units}})
	}
	return out
}
