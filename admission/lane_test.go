package admission

import (
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/flashsale-engine/flashsale/engine"
)

// A Redis that takes what is sent and never answers: who finds no room hears of it while
// the calls before are still waiting, and when one of those is given up, everybody does.
func TestJoinersBeyondTheBoundAreToldAtOnce(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var conns sync.WaitGroup
	held := make(chan net.Conn, 64)
	conns.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			held <- c
		}
	})
	hangUp := sync.OnceFunc(func() {
		_ = ln.Close()
		conns.Wait()
		close(held)
		for c := range held {
			_ = c.Close()
		}
	})
	defer hangUp()
	const room, crowd = 100, 1000
	q, err := Open(Options{URL: "redis://" + ln.Addr().String(), CallTimeout: 5 * time.Minute, MaxQueue: room})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = q.Close() }()
	var unavailable, unsent atomic.Int64
	overloaded := make(chan struct{}, crowd)
	var all sync.WaitGroup
	join := func(i int) {
		all.Go(func() {
			_, err := q.Join(t.Context(), Room{Sale: 1, ID: "demo", Epoch: 1}, engine.BuyerKey{byte(i), byte(i >> 8)})
			switch engine.CodeOf(err) {
			case engine.CodeOverloaded:
				overloaded <- struct{}{}
			case engine.CodeUnavailable:
				unavailable.Add(1)
				if strings.Contains(err.Error(), "not sent") {
					unsent.Add(1)
				}
			default:
				t.Errorf("%v", err)
			}
		})
	}
	late := time.After(time.Minute)
	for i := range maxDrains { // each of these is a call under way
		join(i)
		for is := false; !is; {
			q.lane.mu.Lock()
			is = q.lane.drains == i+1 && len(q.lane.queue) == 0
			q.lane.mu.Unlock()
			select {
			case <-late:
				t.Fatal("the first calls are never made")
			case <-time.After(time.Millisecond):
			}
		}
	}
	for i := range crowd {
		join(maxDrains + i)
	}
	for n := range crowd - room {
		select {
		case <-overloaded:
		case <-late:
			t.Fatalf("%d of %d were told", n, crowd-room)
		}
	}
	if n := unavailable.Load(); n > 0 {
		t.Errorf("%d were told only when Redis was given up", n)
	}
	hangUp()
	all.Wait()
	if len(overloaded) > 0 || unavailable.Load() != maxDrains+room || unsent.Load() != room {
		t.Errorf("%d overloaded, %d unavailable, %d of them not sent", crowd-room+len(overloaded), unavailable.Load(), unsent.Load())
	}
}
