package history_test

import (
	"encoding/binary"
	"testing"
	"time"

	"github.com/flashsale-engine/flashsale/engine"
	"github.com/flashsale-engine/flashsale/internal/devstack/testenv"
)

// Each shard has an order of its own. Stock moves between them under the crowd,
// so availability is judged over all: no more units are out than were put up, and
// none is missing.
func TestEveryShardOfASaleIsLinearizable(t *testing.T) {
	const shards = 4
	h := crowd{url: testenv.Redis(t), operations: 25_000, sessions: 48, ttl: 60 * time.Millisecond, soldOutFor: -1, shards: shards}.run(t)
	parts := h.Split(shards, func(b engine.BuyerKey) int { return int(binary.BigEndian.Uint64(b[:]) % shards) })
	for _, p := range parts {
		if prove(t, p).Decisions == 0 {
			t.Error("a shard decided nothing")
		}
	}
	out := make([]int64, len(h.Sale.Items))
	for _, x := range h.Final {
		for _, l := range x.Lines {
			if x.State == engine.Held || x.State == engine.Paying || x.State == engine.Accepted {
				out[l.No] += int64(l.Quantity)
			}
		}
	}
	for i, c := range h.Counters {
		if !c.Conserved() || c.Stock != h.Sale.Items[i].Stock || c.Held+c.Paying+c.Sold != out[i] {
			t.Errorf("%+v with %d units out of %d", c, out[i], h.Sale.Items[i].Stock)
		}
	}
}
