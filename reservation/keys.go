package reservation

import (
	"strconv"

	"github.com/flashsale-engine/flashsale/engine"
)

// This file is the only one that spells a key.
//
//	{fs:<sale>:<shard>}:sale    string  the terms, see terms
//	{fs:<sale>:<shard>}:sku     hash    SKU number → available held paying sold stock; seq
//	{fs:<sale>:<shard>}:buyers  hash    buyer key (8 bytes) → record, see record.go
//	{fs:<sale>:<shard>}:q1…q4   lists   expiry logs, see lua/logs.lua; q3 a sorted set
//	{fs:<sale>:<shard>}:out     stream  the outbox
//	{fs:<sale>:<shard>}:moves   hash    the journal of transfers between shards, see lua/transfer.lua
//	{fs:<sale>:<shard>}:net     hash    SKU number → units that left for other shards less those that came
//	{fs:<sale>:<shard>}:new:…   a shard that is being rebuilt, see lua/repair_begin.lua
//	fs:node:<node>              channel outcomes for one node
//
// The hash tag keeps a shard's keys in one slot of a cluster.
type keys struct {
	saleNo                 uint32
	shard                  int
	tag                    string
	sale, sku, buyers, out string
	all                    []string // in the order that the scripts number them
}

func keysOf(saleNo uint32, shard int) keys {
	tag := "{fs:" + strconv.FormatUint(uint64(saleNo), 10) + ":" + strconv.Itoa(shard) + "}:"
	k := keys{saleNo: saleNo, shard: shard, tag: tag, sale: tag + "sale", sku: tag + "sku", buyers: tag + "buyers", out: tag + "out"}
	k.all = []string{k.sale, k.sku, k.buyers, tag + "q1", tag + "q2", tag + "q3", tag + "q4", k.out}
	return k
}

func nodeChannel(node string) string { return "fs:node:" + node }

// shardOf gives a buyer's home shard.
func shardOf(s *engine.Sale, b engine.BuyerKey) int { return s.Home(b) }

// shardsOf counts a sale's shards.
func shardsOf(s *engine.Sale) int { return max(s.Shards, 1) }

// forCreate gives all keys of a shard, as create.lua and lua/repair_begin.lua take them.
func (k keys) forCreate() keys {
	k.all = append(k.all[:len(k.all):len(k.all)], k.tag+"moves", k.tag+"net")
	return k
}

// forRebuild gives the keys that the scripts of a rebuild take: all of a shard,
// and those in which the new one is laid down.
func (k keys) forRebuild() keys {
	k.all = k.forCreate().all
	for _, name := range []string{"sku", "buyers", "q1", "q2", "moves", "net", "q3"} {
		k.all = append(k.all, k.tag+"new:"+name)
	}
	return k
}

// forTransfer gives the keys that the scripts of lua/transfer.lua take.
func (k keys) forTransfer() keys {
	k.all = []string{k.sale, k.sku, k.tag + "moves", k.tag + "net"}
	return k
}

// seqField is the field of the sku hash that is no SKU.
const seqField = "seq"

// skuField is a SKU's field in the hashes that are by SKU.
func skuField(no uint16) string { return strconv.Itoa(int(no)) }
