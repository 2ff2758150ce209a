package admission

import (
	"encoding/binary"
	"strconv"

	"github.com/flashsale-engine/flashsale/engine"
)

// This file is the only one that spells a key.
//
//	{fsq:<sale>}:room               hash  the room's epoch, terms, state and counters, see lua/room.lua
//	{fsq:<sale>}:<epoch>:log        hash  number from 1 → "<ms> <front>": when the front came to where
//	{fsq:<sale>}:<epoch>:done       hash  number of a log's entry → how many of its places were claimed or given back
//	{fsq:<sale>}:<epoch>:holes      zset  places given back that the front has not passed
//	{fsq:<sale>}:<epoch>:spare      list  tickets given back before the opening
//	{fsq:<sale>}:<epoch>:claims     hash  second of claims → how many of them may still be used, and have not been
//	{fsq:<sale>}:<epoch>:w<bucket>  hash  buyer key (8 bytes) → "<ticket>", or "<ticket> <ms of the claim>"
//
// The hash tag keeps a sale's keys in one slot of a cluster. The room's own key has
// no epoch in its name: it is what fences the generations from each other.
type keys struct {
	all []string // in the order that the scripts number them: room, log, done, holes, spare, claims
	own string   // what the keys of this generation begin with
}

// buckets spread the waiters over small hashes. Redis packs a hash of up to
// hash-max-listpack-entries fields into one string, which takes a fifth of the
// memory: with its default of 512, up to two million waiters.
const buckets = 4096

func keysOf(r Room) keys {
	tag := "{fsq:" + strconv.FormatUint(uint64(r.Sale), 10) + "}:"
	own := tag + strconv.FormatInt(r.Epoch, 10) + ":"
	return keys{own: own, all: []string{tag + "room", own + "log", own + "done", own + "holes", own + "spare", own + "claims"}}
}

// of adds the hash that a buyer is in. Buyer keys are as good as random.
func (k keys) of(b engine.BuyerKey) keys {
	k.all = append(k.all, k.bucket(int(binary.BigEndian.Uint16(b[:]))%buckets))
	return k
}

func (k keys) bucket(i int) string { return k.own + "w" + strconv.Itoa(i) }

// generation is every key but the room's.
func (k keys) generation() []string {
	out := append([]string(nil), k.all[1:]...)
	for i := range buckets {
		out = append(out, k.bucket(i))
	}
	return out
}
