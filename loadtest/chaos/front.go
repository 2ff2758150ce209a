package chaos

import (
	"context"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// front is the load balancer before the nodes: each connection goes to the next
// node that takes it. It knows of nothing but connections, as the simplest do,
// so a node that is frozen is found out by its buyers.
type front struct {
	listener net.Listener
	nodes    []string
	next     atomic.Uint64
	wg       sync.WaitGroup
	mu       sync.Mutex
	open     map[net.Conn]bool
}

func newFront(ctx context.Context, nodes []string) (*front, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	f := &front{listener: l, nodes: nodes, open: map[net.Conn]bool{}}
	f.wg.Go(f.accept)
	return f, nil
}

func (f *front) url() string { return "http://" + f.listener.Addr().String() }

func (f *front) accept() {
	for {
		c, err := f.listener.Accept()
		if err != nil {
			return
		}
		f.wg.Go(func() { f.carry(c) })
	}
}

func (f *front) carry(buyer net.Conn) {
	defer f.forget(buyer)
	f.remember(buyer)
	for range f.nodes {
		node, err := net.DialTimeout("tcp", f.nodes[f.next.Add(1)%uint64(len(f.nodes))], 500*time.Millisecond)
		if err != nil {
			continue
		}
		f.remember(node)
		defer f.forget(node)
		done := make(chan struct{}, 2)
		for _, way := range [][2]net.Conn{{node, buyer}, {buyer, node}} {
			go func() {
				_, _ = io.Copy(way[0], way[1]) // how it ended is for the two sides to find out
				done <- struct{}{}
			}()
		}
		<-done
		return
	}
}

func (f *front) remember(c net.Conn) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.open[c] = true
}

func (f *front) forget(c net.Conn) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.open, c)
	_ = c.Close()
}

func (f *front) close() {
	_ = f.listener.Close()
	f.mu.Lock()
	for c := range f.open {
		_ = c.Close()
	}
	f.mu.Unlock()
	f.wg.Wait()
}
