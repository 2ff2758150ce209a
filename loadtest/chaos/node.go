package chaos

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/flashsale-engine/flashsale/internal/devstack"
)

// node is a program under supervision: when it ends, it is started again, as
// whoever runs it in production would see to.
type node struct {
	name    string
	command []string
	env     []string
	ready   string // URL that answers 200 once it serves; empty: none
	log     string

	mu      sync.Mutex
	proc    *devstack.Process
	more    []string // further arguments of the next start
	wanted  bool
	deaths  []string // that nobody caused
	change  chan struct{}
	stopped chan struct{}
}

// newNode starts the supervision; the program runs until close.
func newNode(n *node) *node {
	n.wanted, n.change, n.stopped = true, make(chan struct{}, 1), make(chan struct{})
	go n.supervise()
	return n
}

func (n *node) supervise() {
	defer close(n.stopped)
	for {
		proc, closed := n.start()
		if closed {
			return
		}
		if proc == nil { // not wanted now
			<-n.change
			continue
		}
		<-proc.Done()
		if code := proc.ExitCode(); !proc.Expected() {
			n.mu.Lock()
			if len(n.deaths) < 5 { // one that dies at once dies often
				n.deaths = append(n.deaths, fmt.Sprintf("%s ended by itself with status %d: %s", n.name, code, proc.LogTail()))
			}
			n.mu.Unlock()
		}
		select {
		case <-n.change:
		case <-time.After(100 * time.Millisecond): // not in a circle
		}
	}
}

func (n *node) start() (p *devstack.Process, closed bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.command == nil {
		return nil, true
	}
	if !n.wanted {
		return nil, false
	}
	p, err := devstack.StartProcess(n.command[0], slices.Concat(n.command[1:], n.more), n.env, n.log)
	if err != nil {
		n.deaths = append(n.deaths, fmt.Sprintf("%s does not start: %v", n.name, err))
		n.command = nil
		return nil, true
	}
	n.proc = p
	return p, false
}

// kill ends it, and keeps it down until it is revived.
func (n *node) kill() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.wanted = false
	if n.proc == nil {
		return nil
	}
	return n.proc.Kill()
}

// revive starts it again, with further arguments from now on.
func (n *node) revive(more ...string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.wanted, n.more = true, more
	select {
	case n.change <- struct{}{}:
	default:
	}
}

func (n *node) pause() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.proc.Pause()
}

func (n *node) resume() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.proc.Continue()
}

// close ends it for good.
func (n *node) close() {
	n.mu.Lock()
	n.wanted, n.command = false, nil
	proc := n.proc
	select {
	case n.change <- struct{}{}:
	default:
	}
	n.mu.Unlock()
	if proc != nil {
		_ = proc.Continue()
		_ = proc.Kill()
	}
	<-n.stopped
}

func (n *node) died() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.deaths)
}

// readiness asks it whether it serves.
func (n *node) readiness(ctx context.Context) (status int, text string, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, n.ready, nil)
	if err != nil {
		return 0, "", err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, 4<<10))
	return res.StatusCode, string(body), err
}

// awaitMissing waits until it says that it is not ready, and for want of what.
func (n *node) awaitMissing(ctx context.Context, what string) error {
	return eventually(ctx, n.name+" names what is missing", func(ctx context.Context) error {
		status, text, err := n.readiness(ctx)
		if err == nil && (status != http.StatusServiceUnavailable || !strings.Contains(text, what)) {
			err = fmt.Errorf("status %d: %s", status, text)
		}
		return err
	})
}

// awaitReady waits until it serves.
func (n *node) awaitReady(ctx context.Context) error {
	err := eventually(ctx, n.name+" serves", func(ctx context.Context) error {
		status, _, err := n.readiness(ctx)
		if err == nil && status != http.StatusOK {
			err = fmt.Errorf("status %d", status)
		}
		return err
	})
	if err != nil {
		n.mu.Lock()
		defer n.mu.Unlock()
		if n.proc != nil {
			err = fmt.Errorf("%w\n%s", err, n.proc.LogTail())
		}
	}
	return err
}

// eventually repeats a question until it is answered well, or ctx ends.
func eventually(ctx context.Context, what string, ask func(context.Context) error) error {
	var err error
	for {
		try, stop := context.WithTimeout(ctx, 5*time.Second)
		last := ask(try)
		stop()
		if last == nil {
			return nil
		}
		if ctx.Err() == nil || err == nil {
			err = last
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("chaos: it does not come true that %s: %w", what, err)
		case <-time.After(100 * time.Millisecond):
		}
	}
}
