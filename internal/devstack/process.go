package devstack

import (
	"errors"
	"os/exec"
	"syscall"
	"time"
)

// Process is a program of our own that runs as a child beside the backends: a
// node of the engine, the sandbox provider. Like them it dies with us.
type Process struct{ child *child }

// StartProcess starts a program and returns at once. What it prints is appended
// to the log file. A nil env is ours.
func StartProcess(path string, args, env []string, logPath string) (*Process, error) {
	ch, err := startChild(command{path: path, args: args, env: env, logPath: logPath})
	if err != nil {
		return nil, err
	}
	return &Process{ch}, nil
}

// Stop asks it politely to end (SIGTERM), kills it if it has not after patience,
// and waits until it is gone.
func (p *Process) Stop(patience time.Duration) error {
	return p.child.stop(syscall.SIGTERM, patience)
}

// Kill ends it as a crash would (SIGKILL) and waits until it is gone.
func (p *Process) Kill() error { return p.child.kill() }

// Pause freezes it (SIGSTOP).
func (p *Process) Pause() error { return p.child.signal(syscall.SIGSTOP) }

// Continue wakes it up again.
func (p *Process) Continue() error { return p.child.signal(syscall.SIGCONT) }

// Done is closed once it has ended.
func (p *Process) Done() <-chan struct{} { return p.child.done }

// Expected says whether it was we who ended it.
func (p *Process) Expected() bool { return p.child.expected.Load() }

// LogTail gives the end of what it has printed.
func (p *Process) LogTail() string { return p.child.logTail() }

// FreePorts finds n loopback ports that nobody listens on right now, below those
// that the kernel gives to outgoing connections.
func FreePorts(n int) ([]int, error) { return freePorts(n) }

// ExitCode is its exit status once it has ended; -1 if a signal ended it.
func (p *Process) ExitCode() int {
	<-p.child.done
	var exit *exec.ExitError
	if errors.As(p.child.exit, &exit) {
		return exit.ExitCode()
	}
	return 0
}

// PID is its process id.
func (p *Process) PID() int { return p.child.pid }
