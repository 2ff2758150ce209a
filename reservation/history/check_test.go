package history_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/flashsale-engine/flashsale/engine"
	"github.com/flashsale-engine/flashsale/internal/devstack/testenv"
	"github.com/flashsale-engine/flashsale/reservation/history"
)

// A checker that cannot fail proves nothing: each of these lies about a true
// history must be found out.
func TestAHistoryThatIsTamperedWithIsFoundOut(t *testing.T) {
	fresh := func(k history.Kind) func(*history.Op) bool {
		return func(o *history.Op) bool { return o.Kind == k && o.Code == "" && !o.Out.Replayed }
	}
	code := func(k history.Kind, c engine.Code) func(*history.Op) bool {
		return func(o *history.Op) bool { return o.Kind == k && o.Code == c }
	}
	var (
		held, begun, released = fresh(history.Hold), fresh(history.Begin), fresh(history.Release)
		seenHeld              = func(o *history.Op) bool { return o.Kind == history.Find && o.Out.State == engine.Held }
		soldOut               = code(history.Hold, engine.CodeSoldOut)
		lost                  = code(history.Claim, engine.CodeAttemptInProgress)
		expired               = func(x engine.Hold) bool { return x.State == engine.Expired }
	)
	all := func(ops []history.Op, is func(*history.Op) bool) (found []*history.Op) {
		for i := range ops {
			if is(&ops[i]) {
				found = append(found, &ops[i])
			}
		}
		return found
	}
	// A crowd that is kept from the processor may do some of it never.
	var h *history.History
	for rich, operations := false, 4000; !rich; operations *= 2 {
		if operations > 200_000 {
			t.Fatal("there is something that the crowd never does")
		}
		h = crowd{url: testenv.Redis(t), operations: operations, sessions: 16, ttl: 60 * time.Millisecond, soldOutFor: -1}.run(t)
		prove(t, h)
		rich = len(h.Outbox) > 0 && slices.ContainsFunc(h.Final, expired)
		for _, is := range []func(*history.Op) bool{held, begun, released, seenHeld, soldOut, lost} {
			rich = rich && len(all(h.Ops, is)) > 0
		}
	}
	// nth gives the op of a kind in the middle of the history.
	nth := func(ops []history.Op, is func(*history.Op) bool) *history.Op {
		found := all(ops, is)
		slices.SortFunc(found, func(a, b *history.Op) int { return int(a.Call - b.Call) })
		return found[len(found)/2]
	}
	for _, lie := range []struct {
		name, says string
		tell       func(h *history.History)
	}{
		{"an answered hold that is missing", "nobody was given seq", func(h *history.History) {
			o := nth(h.Ops, held)
			h.Ops = slices.DeleteFunc(slices.Clone(h.Ops), func(p history.Op) bool { return p.Kind == history.Hold && p.Out.Seq == o.Out.Seq && !p.Out.Replayed })
		}},
		{"an expiry that left no tombstone", "nobody was given seq", func(h *history.History) {
			i := slices.IndexFunc(h.Final, expired)
			h.Final = slices.Delete(h.Final, i, i+1)
		}},
		{"a place given twice", "given twice", func(h *history.History) {
			a, b := nth(h.Ops, held), nth(h.Ops, begun)
			b.Out.Seq = a.Out.Seq
		}},
		{"a decision that came before it was asked for", "had been seen before it was called|nothing explains|was judged after", func(h *history.History) {
			o := nth(h.Ops, held)
			o.Call += int64(10 * time.Second)
			o.Return += int64(10 * time.Second)
		}},
		{"a repeat that sees the past", "nothing explains", func(h *history.History) {
			o := nth(h.Ops, seenHeld)
			o.Call += int64(10 * time.Second)
			o.Return += int64(10 * time.Second)
		}},
		{"more units than there were", "OVERSOLD", func(h *history.History) {
			s := *h.Sale
			s.Items = slices.Clone(s.Items)
			s.Items[0].Stock--
			h.Sale = &s
		}},
		{"a buyer above the limit", "may have 3", func(h *history.History) {
			s := *h.Sale
			s.PerBuyerLimit = 3
			h.Sale = &s
		}},
		{"sold out with units left", "nothing explains its answer sold_out|was judged after", func(h *history.History) {
			o := nth(h.Ops, soldOut)
			o.Call, o.Return = -2, -1
		}},
		{"a claim of somebody who had lost it", "nothing explains", func(h *history.History) {
			nth(h.Ops, lost).Code = engine.CodeAlreadyPaid
		}},
		{"an answer that belongs to another", "another's hold|there is no such hold yet", func(h *history.History) {
			a, b := nth(h.Ops, held), nth(h.Ops, released)
			a.Out, b.Out = b.Out, a.Out
		}},
		{"a timer that was set back", "was told as", func(h *history.History) {
			o := nth(h.Ops, begun)
			o.Out.ExpiresAt = o.Out.ExpiresAt.Add(time.Millisecond)
		}},
		{"a claim without its event", "entries in the outbox", func(h *history.History) { h.Outbox = h.Outbox[1:] }},
		{"counters that add up to something else", "counts", func(h *history.History) {
			h.Counters = slices.Clone(h.Counters)
			h.Counters[0].Available++
			h.Counters[0].Stock++
		}},
	} {
		t.Run(lie.name, func(t *testing.T) {
			told := *h
			told.Ops, told.Final = slices.Clone(h.Ops), slices.Clone(h.Final)
			lie.tell(&told)
			_, err := history.Check(&told)
			if err == nil || !slices.ContainsFunc(strings.Split(lie.says, "|"), func(s string) bool { return strings.Contains(err.Error(), s) }) {
				t.Errorf("got %v, want something about %q", err, lie.says)
			}
		})
	}
}
