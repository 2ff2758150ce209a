package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// slow is a client that takes its time: it holds a connection and sends what is
// no request yet, a byte now and then.
type slow struct {
	conn net.Conn
	rest []byte // what it has still to say
}

// saysNothing, and the others end with what no time-out would let them finish.
const saysNothing = 3

func slowly(addr string, kind int) (*slow, error) {
	c, err := net.DialTimeout("tcp", addr, 10*time.Second)
	if err != nil {
		return nil, err
	}
	const line = "POST /v1/sales/drop/reservations HTTP/1.1\r\n"
	var now string
	s := &slow{conn: c}
	switch kind {
	case 0: // a line that does not end
		now, s.rest = "P", []byte(line[1:])
	case 1: // headers that do not end
		now, s.rest = line+"Host: x\r\n", bytes.Repeat([]byte("X-A: b\r\n"), 64)
	case 2: // a body that does not come
		now, s.rest = line+"Host: x\r\nContent-Type: application/json\r\nContent-Length: 4000\r\n\r\n{", bytes.Repeat([]byte(" "), 4000)
	}
	if _, err := io.WriteString(c, now); err != nil {
		_ = c.Close()
		return nil, err
	}
	return s, nil
}

// drip sends a byte more.
func (s *slow) drip() {
	if len(s.rest) > 0 {
		if _, err := s.conn.Write(s.rest[:1]); err == nil {
			s.rest = s.rest[1:]
		}
	}
}

// cutOff says whether the server has ended it, and how.
func (s *slow) cutOff(patience time.Duration) (answer string, ended bool) {
	_ = s.conn.SetReadDeadline(time.Now().Add(patience))
	text, err := io.ReadAll(s.conn)
	var late net.Error
	return string(text), err == nil || !errors.As(err, &late) || !late.Timeout()
}

// Slowloris: connections that send a byte a second and never a request. They
// cost the node their buffers until their time is up, and nobody else anything.
func TestTenThousandSlowConnectionsAreHarmless(t *testing.T) {
	const buyers = 300
	var files syscall.Rlimit
	must(t, syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files))
	crowd := int(min(10_000, files.Cur*3/4)) / 4 * 4 // other tests need some, too
	if crowd < 10_000 {
		t.Logf("of 10,000 connections %d: this process may open %d files", crowd, files.Cur)
	}
	r := newRig(t)
	p := r.serve("--roles", "api,reaper")
	p.sale("drop", 10_000, 1, "4m")
	addr := strings.TrimPrefix(p.ready.API, "http://")
	atRest := p.heapKB(t)
	var peaks []int
	for wave := range 2 {
		clients := make([]*slow, crowd)
		var failed atomic.Int64
		began := time.Now()
		each(crowd, 64, func(i int) {
			var err error
			if clients[i], err = slowly(addr, i%4); err != nil {
				failed.Add(1)
			}
		})
		if n := failed.Load(); n > 0 {
			t.Fatalf("%d connections were not taken", n)
		}
		opened := time.Since(began)

		dripping := make(chan struct{})
		stop := make(chan struct{})
		go func() {
			defer close(dripping)
			tick := time.NewTicker(time.Second)
			defer tick.Stop()
			for {
				select {
				case <-tick.C:
					for _, c := range clients {
						c.drip()
					}
				case <-stop:
					return
				}
			}
		}()
		var worst atomic.Int64
		each(buyers, 8, func(i int) {
			at := time.Now()
			tok := token(t, fmt.Sprintf("b-%d-%d", wave, i))
			p.held(t, tok, "drop", "k")
			for took := time.Since(at).Milliseconds(); ; {
				if was := worst.Load(); took <= was || worst.CompareAndSwap(was, took) {
					break
				}
			}
		})
		peaks = append(peaks, p.heapKB(t))
		var ended, told [4]atomic.Int64
		each(crowd, 256, func(i int) {
			patience := time.Minute // the read time-out of 5 s is the node's to keep
			if i%4 == saysNothing {
				patience = time.Millisecond
			}
			text, cut := clients[i].cutOff(patience)
			if cut {
				ended[i%4].Add(1)
			}
			if strings.HasPrefix(text, "HTTP/1.1 408 ") {
				told[i%4].Add(1)
			}
		})
		close(stop)
		<-dripping
		for _, c := range clients {
			_ = c.conn.Close()
		}
		for kind := range saysNothing {
			if n := ended[kind].Load(); n != int64(crowd/4) {
				t.Errorf("wave %d: of those of kind %d, %d of %d were cut off", wave, kind, n, crowd/4)
			}
		}
		t.Logf("wave %d: %d connections in %s; %d kB per connection; %d reservations meanwhile, the slowest %d ms; told 408: %d, %d, %d", wave, crowd, opened.Round(time.Millisecond),
			(peaks[wave]-atRest)/crowd, buyers, worst.Load(), told[0].Load(), told[1].Load(), told[2].Load())
	}
	// A worker of fasthttp's stays for ten seconds after its connection.
	eventually(t, "the node is as light as before", func() (bool, string) {
		left := p.heapKB(t)
		return left < atRest+max((peaks[0]-atRest)/4, crowd), fmt.Sprintf("live heap at rest %d kB, in the waves %d kB, afterwards %d kB", atRest, peaks, left)
	})
	t.Logf("live heap at rest %d kB, in the waves %d kB", atRest, peaks)
	if perConn := (peaks[0] - atRest) / crowd; perConn > 32 {
		t.Errorf("a slow connection costs %d kB", perConn)
	}
	p.held(t, token(t, "after"), "drop", "k")
}

// heapKB is what the node's heap has after a collection.
func (p *proc) heapKB(t *testing.T) (kb int) {
	t.Helper()
	text := send("GET", p.ready.Admin+"/debug/pprof/heap?debug=1&gc=1", testToken, "", "").Raw
	_, rest, ok := strings.Cut(text, "# HeapAlloc = ")
	if _, err := fmt.Sscan(rest, &kb); !ok || err != nil {
		t.Fatalf("no HeapAlloc in %.200q: %v", text, err)
	}
	return kb / 1024
}
