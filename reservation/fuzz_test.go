package reservation

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/flashsale-engine/flashsale/engine"
)

// reply makes a script's reply of bytes: each part is an integer, a string, a list
// or nothing, whatever they say.
func replyOf(b *[]byte, depth int) any {
	take := func(n int) []byte {
		n = min(n, len(*b))
		out := (*b)[:n]
		*b = (*b)[n:]
		return out
	}
	kind := take(1)
	if len(kind) == 0 {
		return nil
	}
	switch size := int(kind[0] >> 2); kind[0] & 3 {
	case 0:
		var room [8]byte
		copy(room[:], take(min(size, 8)))
		return int64(binary.LittleEndian.Uint64(room[:]))
	case 1:
		return string(take(size))
	case 2:
		if depth > 3 {
			return nil
		}
		list := []any{}
		for range size {
			list = append(list, replyOf(b, depth+1))
		}
		return list
	}
	return nil
}

// FuzzAReplyOfTheGateIsReadOrRefused: whatever a Redis that is not ours may answer,
// a call is either decided in full or not at all.
func FuzzAReplyOfTheGateIsReadOrRefused(f *testing.F) {
	f.Add([]byte{26 << 2, 0, 0, 0, 0, 0, 0, 0}, byte(1))
	f.Add([]byte{8<<2 | 2, 4, 1, 4, 2, 4, 3, 4, 4, 0, 0, 1 << 2, 9, 40<<2 | 1, 1, 2, 3}, byte(2))
	f.Add([]byte{9<<2 | 2, 4, 1, 4, 2, 4, 3, 4, 4, 0, 4, 255, 0, 4, 1, 7<<2 | 1, 'r', 'e', 'f', 'u', 's', 'e', 'd'}, byte(3))
	s := &engine.Sale{No: 1, Epoch: 1, PerBuyerLimit: 3, Items: []engine.Item{{Stock: 5}}}
	f.Fuzz(func(t *testing.T, b []byte, n byte) {
		v := replyOf(&b, 0)
		var ops []*op
		for i := range n % 8 {
			var buyer engine.BuyerKey
			buyer[0] = i
			if i%2 == 0 {
				o, err := holdOp(s, engine.HoldRequest{Buyer: buyer, Lines: []engine.Line{{No: 0, Quantity: 1}}})
				if err != nil {
					t.Fatal(err)
				}
				ops = append(ops, o)
				continue
			}
			ops = append(ops, moveOp(opBegin, s, engine.ReservationID{Sale: 1, Buyer: buyer}, &engine.Fence{1}, nil))
		}
		d, err := read(v, s.No, ops)
		if list, _ := v.([]any); err == nil && len(list) < replyHead {
			t.Fatalf("%v was taken for a reply: %+v", v, d)
		}
	})
}

func FuzzALookAtAShardIsReadOrRefused(f *testing.F) {
	f.Add([]byte{3<<2 | 2, 2<<2 | 2, 1<<2 | 1, '0', 9<<2 | 1, '1', ' ', '2', ' ', '3', ' ', '4', ' ', '5', 2, 2})
	f.Fuzz(func(t *testing.T, b []byte) {
		v := replyOf(&b, 0)
		got, err := readSlice(v)
		list, _ := v.([]any)
		if err == nil && (len(list) != 3 || got.units == nil) {
			t.Fatalf("%v was taken for a look: %+v", v, got)
		}
	})
}

func FuzzAnIDOfTheOutboxIsItsOwnBytes(f *testing.F) {
	f.Add(uint32(7), make([]byte, engine.IDSize-4))
	f.Fuzz(func(t *testing.T, sale uint32, b []byte) {
		id, ok := readID(sale, string(b))
		if ok != (len(b) == engine.IDSize-4) && ok {
			t.Fatalf("%d bytes were taken for an id", len(b))
		}
		if ok && (id.Sale != sale || !bytes.Equal(id.Bytes()[4:], b)) {
			t.Fatalf("%x became %x", b, id.Bytes())
		}
	})
}
