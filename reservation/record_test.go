package reservation

import (
	"bytes"
	"encoding/hex"
	"testing"

	"github.com/alicebob/miniredis/v2"

	"github.com/flashsale-engine/flashsale/engine"
)

func TestAHoldOfOneLineTakesTwentyNineBytes(t *testing.T) {
	m := miniredis.RunT(t)
	g := openInside(t, "redis://"+m.Addr(), Options{})
	s := &engine.Sale{No: 1, Epoch: 1, State: engine.SaleOpen, PerBuyerLimit: 3, HoldTTL: 1e9, HoldCap: 2e9, Items: []engine.Item{{Stock: 5}}}
	if err := g.Create(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	h, err := g.Hold(t.Context(), s, engine.HoldRequest{Buyer: buyerKey(1), Lines: []engine.Line{{No: 0, Quantity: 1}}})
	if err != nil {
		t.Fatal(err)
	}
	record := func() int { return len(m.HGet(keysOf(1, 0).buyers, string(h.ID.Buyer[:]))) }
	if record() != 29 {
		t.Errorf("%d bytes", record())
	}
	if _, err := g.BeginPayment(t.Context(), s, h.ID, fenceNo(1)); err != nil {
		t.Fatal(err)
	}
	if record() != 29+paymentSize {
		t.Errorf("%d bytes while paying", record())
	}
}

func FuzzARecordDecodesOrIsRefused(f *testing.F) {
	for _, seed := range []string{
		"",
		"01",
		"01" + "0102030405060708" + "20" + "05" + "000701" + "0000000064" + "00000000c8" + "0000000009",
		"02" + "0102030405060708" + "51" + "00" + "000701" + "000801" + "0000000064" + "00000000c8" + "0000000009" + "1112131415161718" + "01" + "00000000ff",
	} {
		b, err := hex.DecodeString(seed)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		units, holds, err := decodeRecord(b)
		if err != nil {
			return
		}
		// What decodes is what these holds encode to.
		again := []byte{byte(units)}
		for _, h := range holds {
			again = appendHold(again, h, b[len(again)+9])
		}
		if !bytes.Equal(again, b) {
			t.Fatalf("%x decodes to %+v, which is %x", b, holds, again)
		}
	})
}

// appendHold is lua/record.lua's image; index is the part of seq that a call shares out.
func appendHold(b []byte, h hold, index byte) []byte {
	meta := byte(h.state<<5 | len(h.lines) - 1)
	if h.payment {
		meta |= metaPayment
	}
	b = append(append(b, h.nonce[:]...), meta, index)
	for _, l := range h.lines {
		b = append(b, byte(l.No>>8), byte(l.No), byte(l.Quantity))
	}
	b = appendTime5(appendTime5(appendTime5(b, h.created), h.deadline), int64(h.seq)-int64(index))
	if h.payment {
		b = appendTime5(append(append(b, h.fence[:]...), byte(h.attempts)), h.review)
	}
	return b
}
