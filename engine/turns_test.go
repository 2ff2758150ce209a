package engine

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestManyWhoAskAtOnceCostTwoRuns(t *testing.T) {
	gate, began := make(chan struct{}), make(chan struct{}, 100)
	var runs, atOnce, most atomic.Int32
	turns := Turns[int32]{AtMost: time.Minute, Run: func(_ context.Context, settle time.Duration) (int32, error) {
		n := atOnce.Add(1)
		defer atOnce.Add(-1)
		most.Store(max(most.Load(), n))
		mine := runs.Add(1)
		began <- struct{}{}
		<-gate
		if mine == 2 && settle != 50*time.Second {
			return mine, errors.New("the shared run was not given the longest settling time")
		}
		return mine, nil
	}}
	var all sync.WaitGroup
	all.Go(func() {
		if got, err := turns.Do(context.Background(), 0); got != 1 || err != nil {
			t.Errorf("the first gets %d, %v", got, err)
		}
	})
	<-began
	gone, hangUp := context.WithCancel(context.Background())
	all.Go(func() {
		if _, err := turns.Do(gone, 0); !errors.Is(err, context.Canceled) {
			t.Errorf("who hangs up gets %v", err)
		}
	})
	for i := range 50 {
		all.Go(func() {
			// Never the run that was under way when they came.
			if got, err := turns.Do(context.Background(), time.Duration(i+1)*time.Second); got != 2 || err != nil {
				t.Errorf("one of many gets %d, %v", got, err)
			}
		})
	}
	for deadline := time.Now().Add(time.Minute); ; {
		turns.mu.Lock()
		all := turns.next != nil && turns.next.shared == 51
		turns.mu.Unlock()
		if all {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("they do not come")
		}
	}
	hangUp()
	close(gate)
	all.Wait()
	if runs.Load() != 2 || most.Load() != 1 {
		t.Errorf("%d runs, %d at once", runs.Load(), most.Load())
	}
}
