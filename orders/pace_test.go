package orders

import (
	"testing"
	"time"
)

func TestABatchIsAsLargeAsTheRecordIsQuick(t *testing.T) {
	p := newPace(2000, 15*time.Second)
	if p.limit != 2000 {
		t.Fatalf("it begins with %d", p.limit)
	}
	// A record that takes 4 ms per event: 1.5 s is too long from 375 events on.
	for range 20 {
		p.wrote(p.limit, time.Duration(p.limit)*4*time.Millisecond)
	}
	if p.limit < 150 || p.limit > 500 {
		t.Errorf("a slow record gets %d events at a time", p.limit)
	}
	for range 20 {
		p.wrote(p.limit, time.Duration(p.limit)*25*time.Microsecond)
	}
	if p.limit != 2000 {
		t.Errorf("a quick one gets %d", p.limit)
	}
	for range 20 {
		p.wrote(3, 5*time.Second) // a slow disk, not a large batch
	}
	if p.limit != 2000 {
		t.Errorf("small batches that are slow have made the limit %d", p.limit)
	}
	for range 20 {
		p.unanswered()
	}
	if p.limit != leastBatch {
		t.Errorf("without answers it is %d", p.limit)
	}
	if p := newPace(10, time.Second); p.limit != 10 {
		t.Errorf("a small maximum became %d", p.limit)
	} else if p.unanswered(); p.limit != 10 {
		t.Errorf("a small maximum became %d", p.limit)
	}
}
