package reservation

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/flashsale-engine/flashsale/engine"
)

// The scripts of the shards; see lua/transfer.lua for the protocol, and
// docs/adr/008 for what a crash after each step leaves behind.
var (
	departScript = assemble("transfer", "transfer_depart")
	arriveScript = assemble("transfer", "transfer_arrive")
	closeScript  = assemble("transfer", "transfer_close")
	lookScript   = assemble("transfer", "transfer_look")
	allotScript  = assemble("transfer", "transfer_restock")
)

// The kinds of answer of lua/transfer_depart.lua.
const (
	departShort = iota // too few units
	departed           // this transfer is open
	departOther        // another one of the pair is
	departTaken        // the number is taken, and closed
	departFresh        // the units have just arrived for somebody else
)

// order asks for a transfer.
type order struct {
	no          uint16
	from, to    int
	most, least int64
	stay        int64         // units that are left behind in any case
	rest        time.Duration // units that arrived this recently are left alone
}

func token() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails, by its documentation
	return hex.EncodeToString(b[:])
}

// depart is step 1. Repeated with its token while the transfer is open, it gives
// the same answer; later, departTaken.
func (g *Gate) depart(ctx context.Context, s *engine.Sale, o order, number int64, token string) (int64, engine.Transfer, error) {
	t := engine.Transfer{From: o.from, To: o.to}
	l := s.Lease(o.from)
	reply, err := g.run(ctx, "transfer_depart", departScript, keysOf(s.No, o.from).forTransfer(), l,
		l.Epoch, o.to, number, uint64(o.no), o.most, o.least, o.stay, o.rest.Milliseconds(), token)
	if err != nil {
		return 0, t, err
	}
	n, err := integers(reply, 4)
	if err != nil {
		return 0, t, err
	}
	t.Number, t.No, t.Units = n[1], uint16(n[2]), n[3]
	return n[0], t, nil
}

// arrive is step 2, and end step 3. Both may be repeated by anybody.
func (g *Gate) arrive(ctx context.Context, s *engine.Sale, t engine.Transfer) error {
	l := s.Lease(t.To)
	_, err := g.run(ctx, "transfer_arrive", arriveScript, keysOf(s.No, t.To).forTransfer(), l, l.Epoch, t.From, t.Number, uint64(t.No), t.Units)
	return err
}

func (g *Gate) end(ctx context.Context, s *engine.Sale, t engine.Transfer) error {
	l := s.Lease(t.From)
	_, err := g.run(ctx, "transfer_close", closeScript, keysOf(s.No, t.From).forTransfer(), l, l.Epoch, t.To, t.Number)
	return err
}

// complete brings an open transfer to its end, whoever began it.
func (g *Gate) complete(ctx context.Context, s *engine.Sale, t engine.Transfer) error {
	if err := g.arrive(ctx, s, t); err != nil {
		return err
	}
	return g.end(ctx, s, t)
}

// transferTries bounds how often others may come first on one pair of shards.
const transferTries = 16

// transfer does all three steps. It gives departed with the transfer,
// departShort or departFresh.
func (g *Gate) transfer(ctx context.Context, s *engine.Sale, o order) (engine.Transfer, int64, error) {
	pair, mine := pairKey{s.No, s.Lease(o.from).Epoch, o.from, o.to}, token()
	number := g.pairs.last(pair) + 1
	for range transferTries {
		kind, t, err := g.depart(ctx, s, o, number, mine)
		if err != nil {
			return t, 0, err
		}
		g.pairs.note(pair, t.Number)
		switch kind {
		case departShort, departFresh:
			return t, kind, nil
		case departed:
			if err := g.complete(ctx, s, t); err != nil {
				// They have left, and whoever looks next brings them home.
				return t, kind, engine.Wrap(fmt.Errorf("%w: %w", engine.ErrUnknown, err), engine.CodeUnavailable, "%d units are between shards %d and %d", t.Units, t.From, t.To).After(retryAfter)
			}
			g.metrics.transferred(t.Units)
			return t, kind, nil
		case departOther:
			if err := g.complete(ctx, s, t); err != nil {
				return t, kind, err
			}
		}
		number = t.Number + 1
	}
	return engine.Transfer{}, 0, overloaded()
}

// Transfer implements engine.GateShards.
func (g *Gate) Transfer(ctx context.Context, s *engine.Sale, item uint16, from, to int, units int64) (engine.Transfer, error) {
	n := shardsOf(s)
	switch {
	case from < 0 || from >= n || to < 0 || to >= n || from == to:
		return engine.Transfer{}, engine.E(engine.CodeInvalidRequest, "shards: %d and %d are not two of the sale's shards, 0 to %d", from, to, n-1)
	case units < 1 || units > engine.MaxStock:
		return engine.Transfer{}, engine.E(engine.CodeInvalidRequest, "units: %d is not between 1 and %d", units, engine.MaxStock)
	}
	t, kind, err := g.transfer(ctx, s, order{no: item, from: from, to: to, most: units, least: units})
	if err == nil && kind != departed {
		err = engine.E(engine.CodeSoldOut, "fewer than %d units of SKU %d are available in shard %d", units, item, from)
	}
	return t, err
}

// integers reads a script's reply of n numbers, or of none.
func integers(reply any, n int) ([]int64, error) {
	parts, ok := reply.([]any)
	out := make([]int64, 0, n)
	for _, p := range parts {
		v, isInt := p.(int64)
		ok = ok && isInt
		out = append(out, v)
	}
	if !ok || len(out) != n && len(out) != 0 {
		return nil, engine.Wrap(engine.ErrUnknown, engine.CodeInternal, "a script of the shards gives %v", reply)
	}
	return out, nil
}
