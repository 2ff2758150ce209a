package e2e

import (
	"io"
	"net"
	"strings"
	"sync"
	"testing"
)

// wire is a way to a server that can be cut and mended.
type wire struct {
	t  *testing.T
	at string // where it begins
	to string // where it leads

	mu    sync.Mutex
	in    net.Listener
	conns map[net.Conn]bool
}

// lay lays a wire to a server: its base URL, and the wire's.
func lay(t *testing.T, base string) (w *wire, url string) {
	t.Helper()
	w = &wire{t: t, at: "127.0.0.1:0", to: strings.TrimPrefix(base, "http://"), conns: map[net.Conn]bool{}}
	w.mend()
	t.Cleanup(w.cut)
	return w, "http://" + w.at
}

// cut ends all that goes through, and refuses what comes.
func (w *wire) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.in != nil {
		_ = w.in.Close()
		w.in = nil
	}
	for c := range w.conns {
		_ = c.Close()
	}
	clear(w.conns)
}

// mend lets it through again, at the same address.
func (w *wire) mend() {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.in != nil {
		return
	}
	in, err := net.Listen("tcp", w.at)
	if err != nil {
		w.t.Fatal(err)
	}
	w.in, w.at = in, in.Addr().String()
	go func() {
		for {
			near, err := in.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp", w.to)
			if err != nil {
				_ = near.Close()
				continue
			}
			w.pair(in, near, far)
		}
	}()
}

func (w *wire) pair(in net.Listener, near, far net.Conn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.in != in { // cut meanwhile
		_, _ = near.Close(), far.Close()
		return
	}
	w.conns[near], w.conns[far] = true, true
	for _, way := range [][2]net.Conn{{near, far}, {far, near}} {
		go func() {
			_, _ = io.Copy(way[0], way[1])
			_, _ = way[0].Close(), way[1].Close()
		}()
	}
}
