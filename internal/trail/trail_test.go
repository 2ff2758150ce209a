package trail

import (
	"fmt"
	"sync"
	"testing"
	"time"
	"unsafe"

	"github.com/flashsale-engine/flashsale/engine"
)

var then = time.UnixMicro(1_700_000_000_000_000)

func TestABuyerFindsWhatTheyWereToldAndNobodyElse(t *testing.T) {
	tr := New(1000, then)
	want := []Noted{
		{At: then, Op: Reserve, Source: Gate, Status: 201, Seq: 1 << 40, Epoch: 3, Sale: tr.Name("drop"), SKU: tr.Name("A"), RequestID: []byte("req_5f0c2a9b1d3e-36")},
		{At: then.Add(time.Second), Op: Reserve, Source: Knowledge, Status: 409, Code: engine.CodeSoldOut, RequestID: []byte("a-client's-own-id-that-is-too-long"), Unproven: true},
		{At: then.Add(2 * time.Second), Op: Checkout, Source: Node, Status: 503, Code: engine.CodeOverloaded},
	}
	for i := range want {
		want[i].Buyer = tr.Of("ann")
		tr.Note(&want[i])
		tr.Note(&Noted{Buyer: tr.Of("bob"), At: then, Op: Release, Source: Gate, Status: 200})
		tr.Note(&Noted{At: then, Op: Release}) // nobody's
	}
	got, since := tr.Decisions("ann")
	if len(got) != 3 || !since.Equal(then) {
		t.Fatal(got, since)
	}
	if got[0] != (Decision{At: then.UTC(), Op: "reserve", Status: 201, Source: "gate", Seq: 1 << 40, Epoch: 3, Sale: tr.Name("drop"), SKU: tr.Name("A"), RequestID: "req_5f0c2a9b1d3e-36"}) {
		t.Errorf("%+v", got[0])
	}
	if d := got[1]; d.Code != engine.CodeSoldOut || !d.Unproven || d.Source != sourceNames[Knowledge] || d.RequestID != "a-client's-own-id-that-" {
		t.Errorf("%+v", d)
	}
	if d := got[2]; d.Code != engine.CodeOverloaded || d.Status != 503 || d.Op != "checkout" || d.Source != "node" {
		t.Errorf("%+v", d)
	}
	if got, _ := tr.Decisions("eve"); len(got) != 0 {
		t.Error(got)
	}
}

func TestWhatWasForgottenIsSaid(t *testing.T) {
	tr := New(10*shards, then)
	for i := range 25 {
		tr.Note(&Noted{Buyer: tr.Of("ann"), At: then.Add(time.Duration(i) * time.Second), Op: Reserve, Source: Gate, Seq: uint64(i)})
	}
	got, since := tr.Decisions("ann")
	if len(got) != 10 || got[0].Seq != 15 || got[9].Seq != 24 || !since.Equal(then.Add(15*time.Second)) {
		t.Fatal(got, since)
	}
	var none *Trail
	none.Note(&Noted{Buyer: none.Of("ann")})
}

func TestEveryCodeIsReadAsItWasNoted(t *testing.T) {
	if len(engine.Codes) > 255 || unsafe.Sizeof(entry{}) != 64 || unsafe.Sizeof(ring{}) != 64 {
		t.Fatal(len(engine.Codes), unsafe.Sizeof(entry{}), unsafe.Sizeof(ring{}))
	}
	tr := New(shards*(len(engine.Codes)+1), then)
	for c := range engine.Codes {
		tr.Note(&Noted{Buyer: tr.Of("ann"), At: then, Op: Batch, Source: Node, Code: c, RequestID: []byte(c)})
	}
	got, _ := tr.Decisions("ann")
	for _, d := range got {
		if id := string(d.Code); d.RequestID != id[:min(len(id), 23)] {
			t.Errorf("%q became %q", d.RequestID, d.Code)
		}
	}
	if len(got) != len(engine.Codes) {
		t.Error(len(got))
	}
}

func TestNotingAllocatesNothingAndBearsACrowd(t *testing.T) {
	tr := New(1<<16, then)
	id := []byte("req_5f0c2a9b1d3e-36")
	if n := testing.AllocsPerRun(1000, func() {
		tr.Note(&Noted{Buyer: tr.Of("ann"), At: then, Op: Reserve, Source: Gate, Code: engine.CodeSoldOut, Sale: tr.Name("drop"), RequestID: id})
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 1000 {
				tr.Note(&Noted{Buyer: tr.Of(fmt.Sprint(j % 50)), At: then, Op: Reserve, Source: Gate, Seq: uint64(i)})
				tr.Decisions(fmt.Sprint(j % 50))
			}
		})
	}
	wg.Wait()
	for j := range 50 {
		if got, _ := tr.Decisions(fmt.Sprint(j)); len(got) != 160 {
			t.Errorf("buyer %d: %d", j, len(got))
		}
	}
}

func BenchmarkNote(b *testing.B) {
	tr := New(1<<18, then)
	id, now := []byte("req_5f0c2a9b1d3e-36"), time.Now()
	buyers := make([]string, 1024)
	for i := range buyers {
		buyers[i] = fmt.Sprint("customer-", i*7919)
	}
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for i := 0; pb.Next(); i++ {
			tr.Note(&Noted{Buyer: tr.Of(buyers[i%1024]), At: now, Op: Reserve, Source: Knowledge, Status: 409, Code: engine.CodeSoldOut, Sale: tr.Name("spring-drop"), SKU: tr.Name("SHOE-42"), RequestID: id})
		}
	})
}
