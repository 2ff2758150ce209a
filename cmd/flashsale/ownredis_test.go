package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/flashsale-engine/flashsale/internal/devstack"
)

// redisDo sends one command to a Redis and gives the first line of its answer.
func redisDo(t *testing.T, addr, command string) string {
	t.Helper()
	c, err := net.DialTimeout("tcp", addr, 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Fprintf(c, "%s\r\n", command); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(c).ReadString('\n')
	if err != nil || strings.HasPrefix(line, "-") {
		t.Fatalf("%s: %q, %v", command, line, err)
	}
	return strings.TrimSpace(line)
}

func addrOf(t *testing.T, b *devstack.Backend) string {
	t.Helper()
	u, err := url.Parse(b.URL)
	if err != nil {
		t.Fatal(err)
	}
	return u.Host
}

// restartEmpty brings a killed Redis back without its data.
func restartEmpty(t *testing.T, b *devstack.Backend) {
	t.Helper()
	left, err := filepath.Glob(filepath.Join(b.Dir, "data", "*"))
	if err != nil || len(left) == 0 {
		t.Fatalf("nothing to forget in %s: %v", b.Dir, err)
	}
	for _, f := range left {
		if err := os.RemoveAll(f); err != nil {
			t.Fatal(err)
		}
	}
	must(t, b.Restart(t.Context()))
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// tcpSwitch is an address behind which servers change.
type tcpSwitch struct {
	l  net.Listener
	mu sync.Mutex
	to string
	on map[net.Conn]bool
}

func newSwitch(t *testing.T, to string) *tcpSwitch {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &tcpSwitch{l: l, to: to, on: map[net.Conn]bool{}}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go s.serve(c)
		}
	}()
	t.Cleanup(func() { _ = l.Close(); s.turn("") })
	return s
}

func (s *tcpSwitch) addr() string { return s.l.Addr().String() }

// turn ends all connections and leads new ones elsewhere; "" refuses them.
func (s *tcpSwitch) turn(to string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.to = to
	for c := range s.on {
		_ = c.Close()
	}
	clear(s.on)
}

func (s *tcpSwitch) serve(in net.Conn) {
	defer in.Close()
	s.mu.Lock()
	to := s.to
	s.mu.Unlock()
	out, err := net.DialTimeout("tcp", to, time.Second)
	if err != nil {
		return
	}
	defer out.Close()
	s.mu.Lock()
	if s.to != to {
		s.mu.Unlock()
		return
	}
	s.on[in], s.on[out] = true, true
	s.mu.Unlock()
	go func() { _, _ = io.Copy(out, in); _ = out.Close() }()
	_, _ = io.Copy(in, out)
}
