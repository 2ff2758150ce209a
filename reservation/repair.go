package reservation

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/flashsale-engine/flashsale/engine"
)

var _ engine.GateRepair = (*Gate)(nil)

var (
	freezeScript  = assemble("repair_freeze")
	inspectScript = assemble("repair_inspect")
)

// frozenWord begins what stands in the place of a frozen shard's terms.
const frozenWord = "frozen"

// Server implements engine.GateRepair.
func (g *Gate) Server(ctx context.Context, s *engine.Sale, shard int) (name string, err error) {
	ctx, cancel := context.WithTimeout(ctx, g.opt.CallTimeout)
	defer cancel()
	k := keysOf(s.No, shard)
	err = g.onServer(ctx, k, func(_ *redis.Conn, server string) error { name = server; return nil })
	if err != nil {
		_, err = coded(k, err)
		return "", err
	}
	return name, nil
}

// Inspect implements engine.GateRepair. It tells Options.Lost nothing.
func (g *Gate) Inspect(ctx context.Context, s *engine.Sale, shard int) error {
	ctx, cancel := context.WithTimeout(ctx, g.opt.CallTimeout)
	defer cancel()
	k, l := keysOf(s.No, shard).forCreate(), s.Lease(shard)
	var found string
	err := g.onServer(ctx, k, func(c *redis.Conn, server string) (err error) {
		if l.Server != "" && l.Server != server {
			return errOtherServer
		}
		found, err = c.Eval(ctx, inspectScript.text, k.all, l.Epoch, len(s.Items), shardsOf(s)).Text()
		return err
	})
	if err != nil {
		if _, err = coded(k, err); engine.CodeOf(err) != engine.CodeGateFrozen {
			err = readFailed(fmt.Errorf("%v", err)) //nolint:errorlint // a look changes nothing: %v keeps ErrUnknown out
		}
		return err
	}
	if what, how, bad := strings.Cut(found, " "); bad {
		return lost(what, "shard %d of the sale is not what its lease says: %s", shard, how)
	}
	return nil
}

// Freeze implements engine.GateRepair.
func (g *Gate) Freeze(ctx context.Context, s *engine.Sale, shard int) error {
	defer g.soldOut.changed(s.No)
	k := keysOf(s.No, shard)
	k.all = k.all[:1]
	l := s.Lease(shard)
	_, err := g.run(ctx, "freeze", freezeScript, k, engine.GateLease{}, l.Epoch)
	return err
}

// Remains implements engine.GateRepair.
func (g *Gate) Remains(ctx context.Context, s *engine.Sale, shard int, visit func(engine.Hold) error) error {
	k := keysOf(s.No, shard)
	terms, now, err := g.glance(ctx, k)
	if err != nil {
		return err
	}
	if terms != "" && !strings.HasPrefix(terms, frozenWord+" ") {
		return engine.E(engine.CodeInternal, "shard %d of the sale is not frozen, so what it remembers may change", shard)
	}
	held := map[engine.ReservationID]engine.Hold{} // a walk may come to a buyer twice
	err = g.holds(ctx, s, k, func(b engine.BuyerKey, h hold) error {
		if (h.state == stateHeld || h.state == statePaying) && h.deadline > now {
			h.state = stateHeld
			v := h.view(s.No, b, s.HoldCap.Milliseconds())
			held[v.ID] = v
		}
		return nil
	})
	if err != nil {
		return err
	}
	all := make([]engine.Hold, 0, len(held))
	for _, h := range held {
		all = append(all, h)
	}
	slices.SortFunc(all, func(x, y engine.Hold) int {
		return cmp.Or(cmp.Compare(x.ID.Created, y.ID.Created), cmp.Compare(x.Seq, y.Seq), slices.Compare(x.ID.Buyer[:], y.ID.Buyer[:]))
	})
	for _, h := range all {
		if err := visit(h); err != nil {
			return err
		}
	}
	return nil
}

// glance gives what stands in the place of a shard's terms, on whichever server.
func (g *Gate) glance(ctx context.Context, k keys) (terms string, now int64, err error) {
	k.all = k.all[:1]
	reply, err := g.run(ctx, "glance", glanceScript, k, engine.GateLease{})
	if err != nil {
		return "", 0, readFailed(fmt.Errorf("%v", err)) //nolint:errorlint // as in Inspect
	}
	if terms, now, err = glanced(reply); err != nil {
		err = engine.Wrap(err, engine.CodeInternal, "a glance at shard %d of sale %d", k.shard, k.saleNo)
	}
	return terms, now, err
}
