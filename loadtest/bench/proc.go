package bench

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

// process is a program of ours on a processor of its own. It says on its first
// line of output when it is ready.
type process struct {
	name  string
	in    io.WriteCloser
	out   *bufio.Reader
	ready map[string]any
	stop  func()
	pid   int

	mu     sync.Mutex
	errors bytes.Buffer
	done   chan struct{}
}

// Write collects what the program logs, to quote its end when it fails.
func (p *process) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.errors.Len() > 1<<20 {
		p.errors.Reset()
	}
	return p.errors.Write(b)
}

func (p *process) lastWords() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := strings.TrimSpace(p.errors.String())
	return s[max(0, len(s)-2000):]
}

const startPatience = 60 * time.Second

// start runs a command on a processor. One goroutine, locked to its thread,
// starts the process and waits for it: the processor is inherited from the
// thread, and the kernel ends the child when that thread ends.
func start(ctx context.Context, name string, core int, awaitReady bool, command ...string) (*process, error) {
	p := &process{name: name, done: make(chan struct{})}
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Stderr, cmd.SysProcAttr, cmd.Env = p, diesWithUs(), os.Environ()
	var err error
	if p.in, err = cmd.StdinPipe(); err != nil {
		return nil, err
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	cmd.Stdout, p.out = w, bufio.NewReaderSize(r, 1<<16)
	started := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked: a thread with this affinity is good for nothing else
		err := pinThread(core)
		if err == nil {
			err = cmd.Start()
		}
		if err == nil {
			p.pid = cmd.Process.Pid
		}
		_ = w.Close()
		started <- err
		if err == nil {
			_ = cmd.Wait()
		}
		close(p.done)
	}()
	if err := <-started; err != nil {
		_ = r.Close()
		return nil, fmt.Errorf("bench: %s: %w", name, err)
	}
	p.stop = func() {
		_ = p.in.Close()
		_ = cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-p.done:
		case <-time.After(10 * time.Second):
			_ = cmd.Process.Kill()
			<-p.done
		}
		_ = r.Close()
	}
	if !awaitReady {
		return p, nil
	}
	line := make(chan string, 1)
	go func() {
		s, _ := p.out.ReadString('\n')
		line <- s
	}()
	select {
	case s := <-line:
		if err = json.Unmarshal([]byte(s), &p.ready); err != nil {
			err = fmt.Errorf("bench: %s did not start: %q\n%s", name, s, p.lastWords())
		}
	case <-time.After(startPatience):
		err = fmt.Errorf("bench: %s is not ready after %s\n%s", name, startPatience, p.lastWords())
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err != nil {
		p.stop()
		return nil, err
	}
	return p, nil
}

// ask sends a line of JSON and reads one.
func (p *process) ask(ctx context.Context, question, answer any) error {
	if err := json.NewEncoder(p.in).Encode(question); err != nil {
		return fmt.Errorf("bench: %s: %w\n%s", p.name, err, p.lastWords())
	}
	got := make(chan error, 1)
	go func() {
		line, err := p.out.ReadBytes('\n')
		if err == nil {
			var failed struct{ Error string }
			if json.Unmarshal(line, &failed) == nil && failed.Error != "" {
				err = fmt.Errorf("%s", failed.Error)
			} else {
				err = json.Unmarshal(line, answer)
			}
		} else {
			err = fmt.Errorf("%s ended: %w\n%s", p.name, err, p.lastWords())
		}
		got <- err
	}()
	select {
	case err := <-got:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// answer serves what ask sends, one line at a time, until in ends.
func answer[Q, A any](in io.Reader, out io.Writer, f func(Q) (A, error)) error {
	d, e := json.NewDecoder(in), json.NewEncoder(out)
	for {
		var q Q
		if err := d.Decode(&q); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		a, err := f(q)
		if err != nil {
			if err := e.Encode(struct{ Error string }{err.Error()}); err != nil {
				return err
			}
			continue
		}
		if err := e.Encode(a); err != nil {
			return err
		}
	}
}
