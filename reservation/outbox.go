package reservation

import (
	"context"
	"fmt"
	"sort"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/flashsale-engine/flashsale/engine"
)

// The fields of an outbox entry, as lua/write.lua spells them.
const (
	fieldEvent = "e"
	fieldID    = "i" // created5 buyer8 nonce8
	fieldEpoch = "g"
	fieldSeq   = "s"
	fieldTime  = "t" // milliseconds since engine.TimeZero
)

// Pending implements engine.Outbox. It lists entries of every epoch: what was
// claimed is owed to the record, whatever became of the gate since.
func (g *Gate) Pending(ctx context.Context, s *engine.Sale, minAge time.Duration, most int) ([]engine.OutboxEntry, error) {
	if most < 1 {
		return nil, nil
	}
	now, err := g.client.Time(ctx).Result()
	if err != nil {
		return nil, readFailed(err)
	}
	upTo := "+"
	if minAge > 0 {
		upTo = strconv.FormatInt(now.Add(-minAge).UnixMilli(), 10)
	}
	var out []engine.OutboxEntry
	for shard := range shardsOf(s) {
		messages, err := g.client.XRangeN(ctx, keysOf(s.No, shard).out, "-", upTo, int64(most)).Result()
		if err != nil {
			return nil, readFailed(err)
		}
		for _, m := range messages {
			e, err := entryOf(s.No, shard, m)
			if err != nil {
				return nil, err
			}
			out = append(out, e)
		}
	}
	sort.SliceStable(out, func(i, j int) bool { return out[i].AcceptedAt.Before(out[j].AcceptedAt) })
	return out[:min(len(out), most)], nil
}

func entryOf(saleNo uint32, shard int, m redis.XMessage) (engine.OutboxEntry, error) {
	text := func(field string) string { v, _ := m.Values[field].(string); return v }
	number := func(field string) int64 {
		v, err := strconv.ParseInt(text(field), 10, 64)
		if err != nil {
			return -1
		}
		return v
	}
	id, ok := readID(saleNo, text(fieldID))
	e := engine.OutboxEntry{
		Sale: saleNo, Shard: shard, EntryID: m.ID, Payload: []byte(text(fieldEvent)),
		ID: id, Epoch: number(fieldEpoch), Seq: uint64(number(fieldSeq)), AcceptedAt: moment(number(fieldTime)),
	}
	if !ok || e.Epoch < 0 || number(fieldSeq) < 0 || number(fieldTime) < 0 {
		return e, engine.Wrap(fmt.Errorf("entry %s", m.ID), engine.CodeInternal, "an outbox entry of sale %d does not decode", saleNo)
	}
	return e, nil
}

func readID(saleNo uint32, b string) (engine.ReservationID, bool) {
	if len(b) != engine.IDSize-4 {
		return engine.ReservationID{}, false
	}
	full := append([]byte{byte(saleNo >> 24), byte(saleNo >> 16), byte(saleNo >> 8), byte(saleNo)}, b...)
	return engine.ReservationIDFromBytes(full)
}

// Remove implements engine.Outbox. An entry without EntryID, as a repeated
// claim gives it, is passed over.
func (g *Gate) Remove(ctx context.Context, s *engine.Sale, entries []engine.OutboxEntry) error {
	byShard := map[int][]string{}
	for _, e := range entries {
		if e.EntryID != "" {
			byShard[e.Shard] = append(byShard[e.Shard], e.EntryID)
		}
	}
	for shard, ids := range byShard {
		if err := g.client.XDel(ctx, keysOf(s.No, shard).out, ids...).Err(); err != nil {
			return classify(err)
		}
	}
	return nil
}
