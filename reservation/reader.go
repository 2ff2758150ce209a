package reservation

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/flashsale-engine/flashsale/engine"
)

var glanceScript = assemble("glance")

// behind reads a shard, as its lease says: on a connection whose server and
// epoch have just been checked. queue may be called twice.
func (g *Gate) behind(ctx context.Context, k keys, l engine.GateLease, begin func() redis.Pipeliner, queue func(p redis.Pipeliner)) (now int64, err error) {
	for again := false; ; again = true {
		p := begin()
		first := p.EvalSha(ctx, glanceScript.digest(l.Server), k.all[:1])
		queue(p)
		_, _ = p.Exec(ctx) // each reply has its own error
		reply, err := first.Result()
		switch {
		case redis.HasErrorPrefix(err, "NOSCRIPT") && !again:
			if _, err := g.introduce(ctx, glanceScript, k, l); err != nil {
				return 0, g.unread(k, err)
			}
			continue
		case err != nil:
			return 0, g.unread(k, err)
		}
		terms, now, err := glanced(reply)
		if err != nil {
			return 0, engine.Wrap(err, engine.CodeInternal, "a glance at shard %d of sale %d", k.shard, k.saleNo)
		}
		if epoch, _, _ := strings.Cut(terms, " "); epoch != strconv.FormatInt(l.Epoch, 10) {
			return 0, g.failed(k, frozenTerms(terms, l))
		}
		return now, nil
	}
}

// glanced takes the reply of lua/glance.lua apart: now is in milliseconds since
// engine.TimeZero.
func glanced(reply any) (terms string, now int64, err error) {
	parts, ok := reply.([]any)
	if !ok || len(parts) != 2 {
		return "", 0, fmt.Errorf("reservation: it gives %v", reply)
	}
	terms, _ = parts[0].(string)
	clock, _ := parts[1].([]any)
	if len(clock) != 2 {
		return "", 0, fmt.Errorf("reservation: its clock is %v", parts[1])
	}
	n := [2]int64{}
	for i := range n {
		text, _ := clock[i].(string)
		if n[i], err = strconv.ParseInt(text, 10, 64); err != nil {
			return "", 0, fmt.Errorf("reservation: its clock: %w", err)
		}
	}
	return terms, n[0]*1000 + n[1]/1000 - engine.TimeZero, nil
}

// frozenTerms says why terms are not those of a lease.
func frozenTerms(terms string, l engine.GateLease) error {
	epoch, floor, _ := strings.Cut(terms, " ")
	switch epoch {
	case "":
		return frozen("the sale is not at the gate")
	case frozenWord:
		return frozen("the gate is frozen, up to epoch %s", floor)
	}
	return frozen("the gate is of epoch %s, the caller of %d", epoch, l.Epoch)
}

// unread gives the error of a read its code: one that failed changed nothing.
func (g *Gate) unread(k keys, err error) error {
	if err = g.failed(k, err); errors.Is(err, engine.ErrUnknown) {
		return readFailed(fmt.Errorf("%v", err)) //nolint:errorlint // %v keeps ErrUnknown out
	}
	return err
}

// Find implements engine.GateReader.
func (g *Gate) Find(ctx context.Context, s *engine.Sale, id engine.ReservationID) (engine.Hold, error) {
	all, err := g.OfBuyer(ctx, s, id.Buyer)
	if err != nil {
		return engine.Hold{}, err
	}
	for _, h := range all {
		if h.ID == id {
			return h, nil
		}
	}
	return engine.Hold{}, refuse(refNotFound)
}

// OfBuyer gives all holds of a buyer that the gate remembers. A held one past its
// deadline reads as expired. CodeGateFrozen.
func (g *Gate) OfBuyer(ctx context.Context, s *engine.Sale, buyer engine.BuyerKey) ([]engine.Hold, error) {
	shard := shardOf(s, buyer)
	k := keysOf(s.No, shard)
	var record *redis.StringCmd
	now, err := g.behind(ctx, k, s.Lease(shard), g.client.Pipeline, func(p redis.Pipeliner) { record = p.HGet(ctx, k.buyers, string(buyer[:])) })
	if err != nil {
		return nil, err
	}
	if err := record.Err(); errors.Is(err, redis.Nil) {
		return nil, nil
	} else if err != nil {
		return nil, readFailed(err)
	}
	_, holds, err := decodeRecord([]byte(record.Val()))
	if err != nil {
		return nil, engine.Wrap(err, engine.CodeInternal, "buyer %x of sale %d", buyer, s.No)
	}
	out := make([]engine.Hold, len(holds))
	for i, h := range holds {
		if h.state == stateHeld && h.deadline <= now {
			h.state = stateExpired
		}
		out[i] = h.view(s.No, buyer, s.HoldCap.Milliseconds())
	}
	return out, nil
}

// Counters implements engine.GateReader.
func (g *Gate) Counters(ctx context.Context, s *engine.Sale) ([]engine.Counters, error) {
	if s.Shards > 1 {
		v, err := g.survey(ctx, s, "")
		if err != nil {
			return nil, err
		}
		return v.total(s), nil
	}
	k := keysOf(s.No, 0)
	var skus *redis.MapStringStringCmd
	if _, err := g.behind(ctx, k, s.Lease(0), g.client.TxPipeline, func(p redis.Pipeliner) { skus = p.HGetAll(ctx, k.sku) }); err != nil {
		return nil, err
	}
	if err := skus.Err(); err != nil {
		return nil, readFailed(err)
	}
	if len(skus.Val()) == 0 {
		return nil, frozen("the counters are not at the gate")
	}
	only := slice{units: map[uint16]engine.Counters{}}
	for field, text := range skus.Val() {
		if err := only.readUnits(field, text); err != nil {
			return nil, engine.Wrap(err, engine.CodeInternal, "counters of sale %d", s.No)
		}
	}
	return survey{only}.total(s), nil
}

// scanCount is how many records one step of a walk asks for.
const scanCount = 512

// Holds implements engine.GateReader. It gives states as they are written: a
// held one past its deadline counts as held until somebody opens its record.
func (g *Gate) Holds(ctx context.Context, s *engine.Sale, visit func(engine.Hold) error) error {
	for shard := range shardsOf(s) {
		k := keysOf(s.No, shard)
		if _, err := g.behind(ctx, k, s.Lease(shard), g.client.Pipeline, func(redis.Pipeliner) {}); err != nil {
			return err
		}
		if err := g.holds(ctx, s, k, func(b engine.BuyerKey, h hold) error {
			return visit(h.view(s.No, b, s.HoldCap.Milliseconds()))
		}); err != nil {
			return err
		}
	}
	return nil
}

// holds visits what the records of a shard say, whatever its lease.
func (g *Gate) holds(ctx context.Context, s *engine.Sale, k keys, visit func(engine.BuyerKey, hold) error) error {
	for cursor := uint64(0); ; {
		pairs, next, err := g.client.HScan(ctx, k.buyers, cursor, "", scanCount).Result()
		if err != nil {
			return readFailed(err)
		}
		for i := 0; i+1 < len(pairs); i += 2 {
			_, holds, err := decodeRecord([]byte(pairs[i+1]))
			if err != nil || len(pairs[i]) != len(engine.BuyerKey{}) {
				return engine.Wrap(errRecord, engine.CodeInternal, "buyer %x of sale %d", pairs[i], s.No)
			}
			for _, h := range holds {
				if err := visit(engine.BuyerKey([]byte(pairs[i])), h); err != nil {
					return err
				}
			}
		}
		if cursor = next; cursor == 0 {
			return nil
		}
	}
}
