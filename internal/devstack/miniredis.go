package devstack

import (
	"context"
	"fmt"
	"sync"
	"syscall"
	"time"

	"github.com/alicebob/miniredis/v2"
)

// clockTick is how often miniredis is told that time has passed. Its clock
// stands still otherwise: key expiry would never happen.
const clockTick = 100 * time.Millisecond

// embeddedRedis drives a miniredis in this process. Its clock has to be wound by
// hand, and not with ClockTTL, which costs milliseconds per command once there
// are many keys with a TTL.
type embeddedRedis struct {
	b    *Backend
	m    *miniredis.Miniredis
	up   bool
	port int

	halt chan struct{}
	done sync.WaitGroup
}

func newMiniredis(opt Options) *Backend {
	b := &Backend{
		Kind: "embedded miniredis", Mode: Embedded,
		Note: "kept in memory: reservations are lost when this process ends (install redis-server to keep them)",
	}
	_ = opt // nothing on disk, nothing to log
	b.driver = &embeddedRedis{b: b, m: miniredis.NewMiniRedis()}
	return b
}

func (e *embeddedRedis) start(context.Context) error {
	if e.up {
		return nil
	}
	var err error
	if e.port != 0 {
		err = e.m.StartAddr(loopback(e.port))
	} else {
		err = e.startAnywhere()
	}
	if err != nil {
		return fmt.Errorf("devstack: embedded redis: %w", err)
	}
	e.up = true
	e.b.settle("redis://"+e.m.Addr()+"/0", e.b.Kind)
	e.halt = make(chan struct{})
	e.done.Add(1)
	go e.wind()
	return nil
}

func (e *embeddedRedis) startAnywhere() (err error) {
	for range startAttempts {
		ports, perr := freePorts(1)
		if perr != nil {
			return perr
		}
		if err = e.m.StartAddr(loopback(ports[0])); err == nil {
			e.port = ports[0]
			return nil
		}
	}
	return err
}

// wind moves the clock of miniredis on by the time that really passed.
func (e *embeddedRedis) wind() {
	defer e.done.Done()
	t := time.NewTicker(clockTick)
	defer t.Stop()
	for last := time.Now(); ; {
		select {
		case <-e.halt:
			return
		case now := <-t.C:
			e.m.FastForward(now.Sub(last))
			last = now
		}
	}
}

func (e *embeddedRedis) stop() error {
	if !e.up {
		return nil
	}
	close(e.halt)
	e.done.Wait()
	e.m.Close() // keeps its values for the next start
	e.up = false
	return nil
}

// kill behaves as a Redis without persistence does when it crashes: the next
// start finds it empty.
func (e *embeddedRedis) kill() error {
	if err := e.stop(); err != nil {
		return err
	}
	e.m.FlushAll()
	return nil
}

func (*embeddedRedis) signal(syscall.Signal) error { return ErrUnsupported }
