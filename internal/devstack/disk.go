package devstack

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// disk is a small file system in memory that one server has its data on, so that
// it can be filled to the last byte.
//
// It is mounted for one process only, which does nothing but sleep: the kernel
// unmounts it with that process, and that process dies with us. Everybody else
// goes there by way of the sleeper's root directory, which the kernel opens to
// processes of the same user and to root.
type disk struct {
	mib     int
	owner   pgAccount // whose server it is
	sleeper *child
	ballast *ballast
}

const diskPatience = 10 * time.Second

// mount makes the file system at dir and gives the path by which it is reached.
func (d *disk) mount(ctx context.Context, dir, logPath string) (string, error) {
	dir, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return "", err
	}
	// It says so once it has the server's user: only then may that user pass.
	sleep := []string{"sh", "-c", "echo mounted; exec sleep 2000000000"}
	if d.owner.cred != nil {
		sleep = append([]string{"setpriv", fmt.Sprint("--reuid=", d.owner.uid), fmt.Sprint("--regid=", d.owner.gid), "--clear-groups", "--pdeathsig=KILL"}, sleep...)
	}
	options := fmt.Sprintf("size=%dm,mode=0700", d.mib)
	if d.owner.cred != nil {
		options += fmt.Sprintf(",uid=%d,gid=%d", d.owner.uid, d.owner.gid)
	}
	d.sleeper, err = startChild(command{path: "/bin/sh", logPath: logPath, mounts: true,
		args: append([]string{"-c", `mount -t tmpfs -o "$0" flashsale "$1" && shift && exec "$@"`, options, dir}, sleep...)})
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, diskPatience)
	defer cancel()
	for !strings.Contains(d.sleeper.logTail(), "mounted") {
		if ctx.Err() != nil || !d.sleeper.alive() {
			return "", errors.Join(fmt.Errorf("no file system could be mounted at %s: %s", dir, d.sleeper.logTail()), context.Cause(ctx), d.close())
		}
		time.Sleep(5 * time.Millisecond)
	}
	return filepath.Join(fmt.Sprintf("/proc/%d/root", d.sleeper.pid), dir), nil
}

// close gives it up, with all that is on it.
func (d *disk) close() error {
	if d == nil || d.sleeper == nil {
		return nil
	}
	return errors.Join(d.free(), d.sleeper.kill())
}

func (d *disk) free() error {
	if d.ballast == nil {
		return nil
	}
	b := d.ballast
	d.ballast = nil
	return b.remove()
}

// TryDisk says why this machine lets us have no file system of our own
// (Spec.Disk), or nil if it does.
func TryDisk(ctx context.Context) error {
	dir, err := os.MkdirTemp("", "flashsale-disk-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	d := disk{mib: 1}
	_, err = d.mount(ctx, dir, filepath.Join(dir, "log"))
	return errors.Join(err, d.close())
}

// FillDisk takes all space that is left on the backend's disk, and what the
// server gives back of it, until FreeDisk. What the server does then is its own
// affair; it may end, and Revive starts it again.
func (b *Backend) FillDisk() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	s, ok := b.driver.(*server)
	if !ok || s.disk == nil {
		return ErrUnsupported
	}
	if s.proc != nil {
		s.proc.expected.Store(true)
	}
	if s.disk.ballast != nil {
		return nil
	}
	var err error
	s.disk.ballast, err = newBallast(filepath.Join(s.data, "ballast"))
	return err
}

// FreeDisk takes the ballast away.
func (b *Backend) FreeDisk() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if s, ok := b.driver.(*server); ok && s.disk != nil {
		return s.disk.free()
	}
	return ErrUnsupported
}

// ballast is a file that leaves nobody else any space.
type ballast struct {
	file *os.File
	quit chan struct{}
	done sync.WaitGroup
}

func newBallast(path string) (*ballast, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	b := &ballast{file: f, quit: make(chan struct{})}
	if err := b.grow(); err != nil {
		return nil, errors.Join(err, b.remove())
	}
	b.done.Go(func() {
		t := time.NewTicker(20 * time.Millisecond)
		defer t.Stop()
		for {
			select {
			case <-b.quit:
				return
			case <-t.C:
				_ = b.grow() // of a disk that was filled already
			}
		}
	})
	return b, nil
}

// grow writes until nothing more fits.
func (b *ballast) grow() error {
	for _, size := range []int{1 << 20, os.Getpagesize()} {
		lead := make([]byte, size)
		var err error
		for err == nil {
			_, err = b.file.Write(lead)
		}
		if !errors.Is(err, syscall.ENOSPC) {
			return err
		}
	}
	return nil
}

func (b *ballast) remove() error {
	close(b.quit)
	b.done.Wait()
	return errors.Join(os.Remove(b.file.Name()), b.file.Close())
}
