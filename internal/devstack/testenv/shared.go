package testenv

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/flashsale-engine/flashsale/internal/devstack"
)

// startPatience covers a Kafka on a machine that is compiling at the same time.
const startPatience = 2 * time.Minute

// shared is one backend of the whole run, or of the process if nobody started one.
type shared struct {
	env string
	opt devstack.Options
	of  func(*devstack.Stack) *devstack.Backend

	once sync.Once
	addr string
	err  error
}

var (
	sharedRedis = &shared{
		env: EnvRedis, opt: devstack.Options{Redis: child, Postgres: off, Kafka: off},
		of: func(s *devstack.Stack) *devstack.Backend { return s.Redis },
	}
	sharedPostgres = &shared{
		env: EnvPostgres, opt: devstack.Options{Redis: off, Postgres: child, Kafka: off},
		of: func(s *devstack.Stack) *devstack.Backend { return s.Postgres },
	}
	sharedKafka = &shared{
		env: EnvKafka, opt: devstack.Options{Redis: off, Postgres: off, Kafka: child},
		of: func(s *devstack.Stack) *devstack.Backend { return s.Kafka },
	}
)

func (s *shared) url(t testing.TB) string {
	t.Helper()
	skipShort(t)
	s.once.Do(func() { s.addr, s.err = s.find() })
	if s.err != nil {
		t.Fatalf("testenv: %v", s.err)
	}
	return s.addr
}

// find takes what the environment names, or starts a child. The child is never
// stopped by us: it dies with this process. Its data is left behind, and removed
// by the next run (sweep), because a package can't be told that its tests are over.
func (s *shared) find() (string, error) {
	if addr := os.Getenv(s.env); addr != "" {
		return addr, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), startPatience)
	defer cancel()
	dir, err := makeDir()
	if err != nil {
		return "", err
	}
	opt := s.opt
	opt.DataDir, opt.Ephemeral = dir, true
	stack, err := devstack.Start(ctx, opt)
	if err != nil {
		return "", explain(err)
	}
	return s.of(stack).URL, nil
}

func skipShort(t testing.TB) {
	t.Helper()
	if testing.Short() {
		t.Skip("needs real backends, and -short was asked for")
	}
}

func explain(err error) error {
	return fmt.Errorf("%w\n\nTests run on real backends and don't skip. `make deps` installs what is missing", err)
}

const dirPrefix = "flashsale-test-"

var sweepOnce sync.Once

// makeDir makes a directory named after this process, which other users may walk
// through (Postgres runs as one of them if we are root).
func makeDir() (string, error) {
	sweepOnce.Do(sweep)
	dir, err := os.MkdirTemp("", dirPrefix+strconv.Itoa(os.Getpid())+"-")
	if err != nil {
		return "", err
	}
	return dir, os.Chmod(dir, 0o711) //nolint:gosec // search permission only; what lies below is 0700
}

// sweep removes the directories of test processes that are gone.
func sweep() {
	dirs, _ := filepath.Glob(filepath.Join(os.TempDir(), dirPrefix+"*"))
	for _, dir := range dirs {
		pid, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(dir), dirPrefix), "-")
		if n, err := strconv.Atoi(pid); err == nil && n > 1 && syscall.Kill(n, 0) == syscall.ESRCH {
			_ = os.RemoveAll(dir) // another sweeper, or another user's: not our worry
		}
	}
}
