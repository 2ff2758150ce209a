package history

import (
	"fmt"
	"slices"
	"time"

	"github.com/flashsale-engine/flashsale/engine"
)

// History is everything known of one sale's run in one shard and epoch: the
// operations, and what the gate remembers now that all clients are at rest.
type History struct {
	Sale        *engine.Sale
	MaxAttempts int
	Ops         []Op
	Final       []engine.Hold // of GateReader.Holds
	Counters    []engine.Counters
	Outbox      []engine.OutboxEntry
	// Stale is for how long nodes may repeat "sold out" from what they know
	// (reservation.Options.SoldOutFor): such an answer is one that the gate would
	// have given at some moment between so long before the call and its return.
	Stale time.Duration
	// Shared is set for one shard of several: transfers bring and take stock
	// without a place, so what is available there is not judged. Everything else is.
	Shared bool
}

// Split gives each shard's own history of a sale of several.
func (h *History) Split(shards int, home func(engine.BuyerKey) int) []*History {
	out := make([]*History, shards)
	for i := range out {
		out[i] = &History{Sale: h.Sale, MaxAttempts: h.MaxAttempts, Stale: h.Stale, Shared: true}
	}
	for _, o := range h.Ops {
		p := out[home(o.Buyer)]
		p.Ops = append(p.Ops, o)
	}
	for _, x := range h.Final {
		p := out[home(x.ID.Buyer)]
		p.Final = append(p.Final, x)
	}
	for _, e := range h.Outbox {
		out[e.Shard].Outbox = append(out[e.Shard].Outbox, e)
	}
	return out
}

// Report says what was checked.
type Report struct {
	Operations int    // recorded, whatever their answer
	Decisions  uint64 // places of seq, all of them accounted for
	Expiries   int    // places that no client was told of
	Recovered  int    // places of calls without an answer, told by others
	Placed     int    // refusals, repeats and look-ups that found their place
	Unanswered int    // calls without an answer; what they did is in Recovered or nothing
	Turned     int    // turned away undecided: overloaded, unavailable
}

// Add sums reports.
func (r *Report) Add(o Report) {
	r.Operations, r.Decisions, r.Expiries = r.Operations+o.Operations, r.Decisions+o.Decisions, r.Expiries+o.Expiries
	r.Recovered, r.Placed = r.Recovered+o.Recovered, r.Placed+o.Placed
	r.Unanswered, r.Turned = r.Unanswered+o.Unanswered, r.Turned+o.Turned
}

type key struct {
	buyer engine.BuyerKey
	nonce engine.Nonce
}

func keyOf(o *Op) key { return key{o.Buyer, o.Nonce} }

// decision is who took a place in the order.
type decision struct {
	kind Kind
	op   *Op
	key  key
	told engine.Hold // what was answered, or seen by others
	// Bounds of when it was taken. An operation's are its own; others' follow
	// from their neighbours, see bound.
	call, ret int64
}

type checker struct {
	*History
	report Report
	places []decision // by seq; 0 is the beginning
	world  *world
	// Where a cart of one SKU was told that it is sold out, by SKU.
	refusals map[uint16][]refusal
}

type refusal struct {
	op    *Op
	place int
	units int64
}

// Check says whether the history is that of one exact sale: nil, or the first
// thing that no order of decisions explains.
func Check(h *History) (Report, error) {
	c := &checker{History: h}
	for _, step := range []func() error{c.place, c.explain, c.replay, c.order, c.rest} {
		if err := step(); err != nil {
			return c.report, fmt.Errorf("history: %w", err)
		}
	}
	return c.report, nil
}

// place puts every answered change and every tombstone of an expiry at its seq.
func (c *checker) place() error {
	var last uint64
	for i := range c.Ops {
		last = max(last, c.Ops[i].Out.Seq)
	}
	for _, h := range c.Final {
		last = max(last, h.Seq)
	}
	if last > uint64(len(c.Ops)*2) {
		return fmt.Errorf("seq %d after %d operations", last, len(c.Ops))
	}
	c.places = make([]decision, last+1)
	c.report.Operations, c.report.Decisions = len(c.Ops), last
	for i := range c.Ops {
		o := &c.Ops[i]
		switch {
		case o.Unknown:
			c.report.Unanswered++
			continue
		case o.Code == engine.CodeOverloaded || o.Code == engine.CodeUnavailable:
			c.report.Turned++
			continue
		case o.Code == engine.CodeInternal || o.Code == engine.CodeGateFrozen || o.Code == engine.CodeSaleNotOpen || o.Code == engine.CodeInvalidRequest:
			return fmt.Errorf("%s of an open sale was answered %s %s", say(o), o.Code, o.Detail)
		case o.Code != "" || o.Kind == Counters:
			continue
		}
		if o.Out.ID.Sale != c.Sale.No || o.Out.ID.Buyer != o.Buyer || o.Out.ID.Nonce != o.Nonce || o.Created != 0 && o.Out.ID.Created != o.Created {
			return fmt.Errorf("%s was answered with another's hold, %x of buyer %x", say(o), o.Out.ID.Nonce, o.Out.ID.Buyer)
		}
		if o.Out.Replayed || o.Kind == Find {
			if o.Kind == Claim && o.Entry {
				return fmt.Errorf("%s is a repeat and names an outbox entry", say(o))
			}
			continue
		}
		if o.Kind == Claim && !o.Entry {
			return fmt.Errorf("%s names no outbox entry", say(o))
		}
		if err := c.take(o.Out.Seq, decision{kind: o.Kind, op: o, key: keyOf(o), told: o.Out, call: o.Call, ret: o.Return}); err != nil {
			return err
		}
	}
	for _, h := range c.Final {
		if h.State == engine.Expired {
			if err := c.take(h.Seq, expiryOf(h)); err != nil {
				return err
			}
		}
	}
	return nil
}

func expiryOf(h engine.Hold) decision {
	return decision{kind: Expiry, key: key{h.ID.Buyer, h.ID.Nonce}, told: h, call: -1, ret: Never}
}

func (c *checker) take(seq uint64, d decision) error {
	if seq == 0 {
		return fmt.Errorf("a %s of hold %x has no place", d.kind, d.key.nonce)
	}
	if was := c.places[seq]; was.kind != 0 {
		return fmt.Errorf("seq %d was given twice: to a %s of hold %x and to a %s of hold %x", seq, was.kind, was.key.nonce, d.kind, d.key.nonce)
	}
	c.places[seq] = d
	return nil
}

// explain finds the owners of places that nobody was told of: calls whose answer
// was lost, by what others saw of their result.
func (c *checker) explain() error {
	missing := map[uint64]bool{}
	for seq := 1; seq < len(c.places); seq++ {
		if c.places[seq].kind == 0 {
			missing[uint64(seq)] = true
		}
	}
	if len(missing) == 0 {
		return nil
	}
	lost := map[key][]*Op{}
	for i := range c.Ops {
		if o := &c.Ops[i]; o.Unknown {
			lost[keyOf(o)] = append(lost[keyOf(o)], o)
		}
	}
	type sight struct {
		hold engine.Hold
		at   int64 // when the first who saw it had
	}
	seen := map[uint64]sight{}
	see := func(h engine.Hold, at int64) {
		if was, ok := seen[h.Seq]; missing[h.Seq] && (!ok || at < was.at) {
			seen[h.Seq] = sight{h, at}
		}
	}
	for i := range c.Ops {
		if o := &c.Ops[i]; o.Code == "" && (o.Out.Replayed || o.Kind == Find) {
			see(o.Out, o.Return)
		}
	}
	for _, h := range c.Final {
		see(h, Never)
	}
	// Of several that may have done it, the one called first: that claims least.
	for seq := 1; seq < len(c.places); seq++ {
		w, ok := seen[uint64(seq)]
		if !ok {
			continue
		}
		k, first := key{w.hold.ID.Buyer, w.hold.ID.Nonce}, -1
		for i, o := range lost[k] {
			if o.makes(w.hold, ms(c.Sale.HoldTTL)) && (first < 0 || o.Call < lost[k][first].Call) {
				first = i
			}
		}
		if first >= 0 {
			o := lost[k][first]
			lost[k] = slices.Delete(lost[k], first, first+1)
			c.places[seq] = decision{kind: o.Kind, op: o, key: k, told: w.hold, call: o.Call, ret: w.at}
			c.report.Recovered++
		}
	}
	for seq := 1; seq < len(c.places); seq++ {
		if c.places[seq].kind == 0 {
			return fmt.Errorf("nobody was given seq %d, and nobody saw what it did (%d such)", seq, len(missing))
		}
	}
	return nil
}

// makes says whether an operation without an answer may have made what was seen.
func (o *Op) makes(h engine.Hold, ttl int64) bool {
	if o.Created != 0 && o.Created != h.ID.Created {
		return false
	}
	due := h.ExpiresAt.UnixMilli() >= h.ID.Created+ttl
	switch o.Kind {
	case Hold:
		return h.State == engine.Held && h.Attempts == 0
	case Begin:
		return h.State == engine.Paying && h.Fence == o.Fence
	case Claim:
		return h.State == engine.Accepted && h.Fence == o.Fence
	case Return:
		return h.Fence == o.Fence && h.Attempts > 0 && (h.State == engine.Held || h.State == engine.Released && due)
	case Release:
		return h.State == engine.Released && !due
	}
	return false
}

// replay lets the exact sale decide, in the order of seq, what was decided.
func (c *checker) replay() error {
	c.world = newWorld(c.Sale, c.MaxAttempts, len(c.places))
	c.world.shared = c.Shared
	for seq := 1; seq < len(c.places); seq++ {
		if err := c.world.apply(seq, &c.places[seq]); err != nil {
			return fmt.Errorf("seq %d, a %s of hold %x by buyer %x: %w", seq, c.places[seq].kind, c.places[seq].key.nonce, c.places[seq].key.buyer, err)
		}
		if c.places[seq].kind == Expiry {
			c.report.Expiries++
		}
	}
	c.bound()
	return nil
}

// bound narrows down when the clock's decisions were taken: after all earlier
// places had been called for, before any later one had returned.
func (c *checker) bound() {
	latest := int64(-1)
	for seq := 1; seq < len(c.places); seq++ {
		if d := &c.places[seq]; d.kind == Expiry {
			d.call = latest
		} else {
			latest = max(latest, d.call)
		}
	}
	soonest := int64(Never)
	for seq := len(c.places) - 1; seq > 0; seq-- {
		if d := &c.places[seq]; d.kind == Expiry {
			d.ret = soonest
		} else {
			soonest = min(soonest, d.ret)
		}
	}
}

// rest compares what the gate remembers with what the exact sale does.
func (c *checker) rest() error {
	w := c.world
	if len(c.Final) != len(w.lives) {
		return fmt.Errorf("the gate remembers %d holds; %d were made", len(c.Final), len(w.lives))
	}
	for _, h := range c.Final {
		l := w.lives[key{h.ID.Buyer, h.ID.Nonce}]
		if l == nil || l.now() != viewOf(h) || !sameLines(l.lines, h.Lines) || l.created != h.ID.Created {
			return fmt.Errorf("the gate remembers %+v, and the decisions made %+v", h, l)
		}
	}
	for _, got := range c.Counters {
		if want := w.skus[got.No].last(); !sameCounters(got, want) {
			return fmt.Errorf("SKU %d counts %+v, and the decisions made %+v", got.No, got, want)
		}
	}
	accepted := 0
	for _, l := range w.lives {
		if l.now().state == engine.Accepted {
			accepted++
		}
	}
	if len(c.Outbox) != accepted {
		return fmt.Errorf("%d entries in the outbox for %d accepted holds", len(c.Outbox), accepted)
	}
	for _, e := range c.Outbox {
		l := w.lives[key{e.ID.Buyer, e.ID.Nonce}]
		if l == nil || l.now().state != engine.Accepted || l.now().seq != e.Seq || l.created != e.ID.Created || e.Epoch != c.Sale.Epoch {
			return fmt.Errorf("the outbox has an entry for hold %x at seq %d, which was not accepted there", e.ID.Nonce, e.Seq)
		}
	}
	return nil
}

func say(o *Op) string {
	return fmt.Sprintf("client %d's %s of hold %x by buyer %x (%d–%d ns)", o.Client, o.Kind, o.Nonce, o.Buyer, o.Call, o.Return)
}
