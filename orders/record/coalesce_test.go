package record

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// together has n callers come at once, and gives the sizes of the statements
// that they shared and how long all took.
func together(t *testing.T, c *coalescer[int, int], n int) (sizes []int, took time.Duration) {
	t.Helper()
	c.timeout = time.Minute
	c.do = func(_ context.Context, in []int) ([]int, error) {
		sizes = append(sizes, len(in)) // one statement at a time
		return in, nil
	}
	began := time.Now()
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			if got, err := c.call(t.Context(), i); got != i || err != nil {
				t.Errorf("caller %d: %d, %v", i, got, err)
			}
		})
	}
	all.Wait()
	return sizes, time.Since(began)
}

func TestNotesThatNobodyWaitsForShareAStatement(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sizes, took := together(t, &coalescer[int, int]{max: 100, linger: time.Second, full: make(chan struct{}, 1)}, 60)
		if len(sizes) != 1 || took != time.Second {
			t.Errorf("%v in %s", sizes, took)
		}
		sizes, took = together(t, &coalescer[int, int]{max: 20, linger: time.Hour, full: make(chan struct{}, 1)}, 60)
		if len(sizes) != 3 || took != 0 {
			t.Errorf("full statements waited: %v in %s", sizes, took)
		}
		sizes, took = together(t, &coalescer[int, int]{max: 100}, 1)
		if len(sizes) != 1 || took != 0 {
			t.Errorf("a lone caller waited for company: %v in %s", sizes, took)
		}
		time.Sleep(time.Hour) // the linger of the last of them
	})
}
