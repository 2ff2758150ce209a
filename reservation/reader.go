package reservation

import (
	"context"
	"errors"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/flashsale-engine/flashsale/engine"
)

// present checks a sale's terms at the gate against the caller's epoch.
func present(terms string, err error, s *engine.Sale) error {
	switch {
	case errors.Is(err, redis.Nil):
		return frozen("the sale is not at the gate")
	case err != nil:
		return readFailed(err)
	}
	if epoch, _, _ := strings.Cut(terms, " "); epoch != strconv.FormatInt(s.Epoch, 10) {
		return frozen("the gate is of epoch %s, the caller of %d", epoch, s.Epoch)
	}
	return nil
}

// Find implements engine.GateReader.
func (g *Gate) Find(ctx context.Context, s *engine.Sale, id engine.ReservationID) (engine.Hold, error) {
	k := keysOf(s.No, shardOf(s, id.Buyer))
	p := g.client.Pipeline()
	terms, clock, record := p.Get(ctx, k.sale), p.Time(ctx), p.HGet(ctx, k.buyers, string(id.Buyer[:]))
	_, execErr := p.Exec(ctx)
	if err := present(terms.Val(), terms.Err(), s); err != nil {
		return engine.Hold{}, err
	}
	if err := record.Err(); errors.Is(err, redis.Nil) {
		return engine.Hold{}, refuse(refNotFound)
	} else if err = errors.Join(err, clock.Err()); err != nil {
		return engine.Hold{}, readFailed(errors.Join(err, execErr))
	}
	_, holds, err := decodeRecord([]byte(record.Val()))
	if err != nil {
		return engine.Hold{}, engine.Wrap(err, engine.CodeInternal, "buyer %x of sale %d", id.Buyer, s.No)
	}
	now := clock.Val().UnixMilli() - engine.TimeZero
	for _, h := range holds {
		if h.nonce == id.Nonce && h.created == id.Created-engine.TimeZero {
			if h.state == stateHeld && h.deadline <= now {
				h.state = stateExpired
			}
			return h.view(s.No, id.Buyer, s.HoldCap.Milliseconds()), nil
		}
	}
	return engine.Hold{}, refuse(refNotFound)
}

// Counters implements engine.GateReader.
func (g *Gate) Counters(ctx context.Context, s *engine.Sale) ([]engine.Counters, error) {
	if s.Shards > 1 {
		v, err := g.survey(ctx, s, "")
		return v.total(s), err
	}
	k := keysOf(s.No, 0)
	p := g.client.TxPipeline()
	terms, skus := p.Get(ctx, k.sale), p.HGetAll(ctx, k.sku)
	_, execErr := p.Exec(ctx)
	if err := present(terms.Val(), terms.Err(), s); err != nil {
		return nil, err
	}
	if err := skus.Err(); err != nil {
		return nil, readFailed(errors.Join(err, execErr))
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
		if err := g.holds(ctx, s, keysOf(s.No, shard), visit); err != nil {
			return err
		}
	}
	return nil
}

func (g *Gate) holds(ctx context.Context, s *engine.Sale, k keys, visit func(engine.Hold) error) error {
	terms, err := g.client.Get(ctx, k.sale).Result()
	if err := present(terms, err, s); err != nil {
		return err
	}
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
				if err := visit(h.view(s.No, engine.BuyerKey([]byte(pairs[i])), s.HoldCap.Milliseconds())); err != nil {
					return err
				}
			}
		}
		if cursor = next; cursor == 0 {
			return nil
		}
	}
}
