package devstack

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestASpecMustNotContradictItself(t *testing.T) {
	for _, tc := range []struct {
		spec Spec
		want Mode
		err  string
	}{
		{Spec{}, Auto, ""},
		{Spec{URL: "x"}, External, ""},
		{Spec{URL: "x", Mode: External}, External, ""},
		{Spec{Mode: Child}, Child, ""},
		{Spec{Mode: External}, "", "needs a URL"},
		{Spec{URL: "x", Mode: Embedded}, "", "a URL is given"},
		{Spec{URL: "x", Mode: Off}, "", "a URL is given"},
		{Spec{Mode: "cloud"}, "", "unknown backend mode"},
	} {
		got := tc.spec
		err := got.resolve()
		switch {
		case tc.err == "" && (err != nil || got.Mode != tc.want):
			t.Errorf("%+v: got %s, %v; want %s", tc.spec, got.Mode, err, tc.want)
		case tc.err != "" && (err == nil || !strings.Contains(err.Error(), tc.err)):
			t.Errorf("%+v: got %v; want an error with %q", tc.spec, err, tc.err)
		}
	}
}

func TestAMissingServerIsAnErrorThatSaysWhatToInstall(t *testing.T) {
	t.Run("redis", func(t *testing.T) {
		t.Setenv("PATH", t.TempDir())
		wantError(t, only("redis", Spec{Mode: Child}), "redis-server is not installed", "make deps")
	})
	t.Run("java", func(t *testing.T) {
		t.Setenv("PATH", t.TempDir())
		wantError(t, only("kafka", Spec{Mode: Child}), "java is not installed", "make deps")
	})
	t.Run("kafka", func(t *testing.T) {
		t.Setenv("FLASHSALE_KAFKA_LIBS", t.TempDir())
		wantError(t, only("kafka", Spec{Mode: Child}), "jars of Apache Kafka", "make deps")
	})
	t.Run("postgres", func(t *testing.T) {
		t.Setenv("PATH", t.TempDir())
		defer func(old []string) { pgPlaces = old }(pgPlaces)
		pgPlaces = nil
		wantError(t, only("postgres", Spec{Mode: Child}), "Postgres server is not installed", "make deps")
	})
}

func TestWithoutRedisServerAutoIsMiniredis(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	b := one(startStack(t, only("redis", Spec{})))
	if b.Kind != "embedded miniredis" || b.Durable || b.Note == "" {
		t.Errorf("got %q, durable %v, note %q", b.Kind, b.Durable, b.Note)
	}
}

func TestAPortThatIsTakenIsNotTheEnd(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	port := taken.Addr().(*net.TCPAddr).Port
	for _, name := range children {
		t.Run(name, func(t *testing.T) {
			opt := withDir(t, only(name, Spec{Mode: Child, Fast: true}))
			opt.Log = discard
			makers := map[string]func(Options) (*Backend, error){"redis": newRedis, "postgres": newPostgres, "kafka": newKafka}
			b, err := makers[name](opt)
			if err != nil {
				t.Fatal(err)
			}
			picks := 0
			b.driver.(*server).pick = func(n int) ([]int, error) {
				ports, err := freePorts(n)
				if picks++; picks == 1 && err == nil {
					ports[0] = port
				}
				return ports, err
			}
			if err := b.start(t.Context()); err != nil {
				t.Fatal(err)
			}
			if picks != 2 {
				t.Errorf("picked ports %d times; want 2", picks)
			}
			if err := b.Stop(); err != nil {
				t.Fatal(err)
			}
			if target, err := filepath.EvalSymlinks(filepath.Join(b.Dir, "data")); err == nil {
				_ = os.RemoveAll(target)
			}
		})
	}
}

func TestAServerThatDoesNotStartIsQuoted(t *testing.T) {
	opt := withDir(t, only("postgres", Spec{Mode: Child, Fast: true}))
	s := startStack(t, opt)
	data := filepath.Join(s.Postgres.Dir, "data")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(data, "postgresql.conf"), []byte("nonsense = 1\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	wantError(t, opt, "did not start", `unrecognized configuration parameter "nonsense"`)
}

func TestTwoStacksCannotShareADirectory(t *testing.T) {
	opt := only("kafka", Spec{Mode: Embedded})
	opt.DataDir = t.TempDir()
	startStack(t, opt)
	wantError(t, opt, "in use by process "+strconv.Itoa(os.Getpid()))
}

func TestAStalePidFileIsNoObstacleButALiveServerIsNamed(t *testing.T) {
	opt := withDir(t, only("postgres", Spec{Mode: Child, Fast: true}))
	first := startStack(t, opt)
	defer func(old time.Duration) { leftoverGrace = old }(leftoverGrace)
	leftoverGrace = 200 * time.Millisecond
	dir, pid := first.Postgres.Dir, pidOf(t, first.Postgres)
	if err := first.lock.Close(); err != nil { // as if its owner had died, and the server had not
		t.Fatal(err)
	}
	wantError(t, opt, "process "+strconv.Itoa(pid)+" of a former run still uses", "kill "+strconv.Itoa(pid))

	first.lock = nil
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	// Killed, and its pid taken over by somebody who has nothing to do with it: us.
	stale := []byte(strconv.Itoa(os.Getpid()) + "\n" + filepath.Join(dir, "data") + "\n")
	for _, name := range []string{"devstack.pid", "data/postmaster.pid"} {
		if err := os.WriteFile(filepath.Join(dir, name), stale, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	startStack(t, opt)
}

func TestPostgresFindsAPlaceItsUserCanReach(t *testing.T) {
	closed := filepath.Join(reachableDir(t), "closed")
	if err := os.Mkdir(closed, 0o700); err != nil {
		t.Fatal(err)
	}
	opt := only("postgres", Spec{Mode: Child, Fast: true})
	opt.DataDir = closed
	s := startStack(t, opt)
	if err := pgPut(t.Context(), s.Postgres.URL, "kept"); err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() == 0 && !strings.Contains(s.Postgres.Note, "data is in ") {
		t.Errorf("the note should say where the data went: %q", s.Postgres.Note)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	opt.Ephemeral = true // and this one clears up, wherever the data is
	s = startStack(t, opt)
	place, err := filepath.EvalSymlinks(filepath.Join(s.Postgres.Dir, "data"))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := pgGet(t.Context(), s.Postgres.URL); err != nil || got != "kept" {
		t.Errorf("got %q, %v; want the data of the first run", got, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(place); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s should be gone: %v", place, err)
	}
}

func TestCancellingTheContextEndsAStart(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(200*time.Millisecond, cancel)
	s, err := Start(ctx, withDir(t, only("kafka", Spec{Mode: Child})))
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v; want context.Canceled", err)
	}
	if err == nil {
		_ = s.Close()
	}
}

func TestAnExternalBackendIsCheckedAndLeftAlone(t *testing.T) {
	for _, name := range []string{"redis", "postgres"} {
		t.Run(name, func(t *testing.T) {
			own := one(startStack(t, withDir(t, only(name, Spec{Mode: Child, Fast: true}))))
			s := startStack(t, only(name, Spec{URL: own.URL}))
			if b := one(s); b.Kind != "external" || b.URL != own.URL || b.Mode != External {
				t.Errorf("got %q at %q", b.Kind, b.URL)
			}
			if err := one(s).Kill(); !errors.Is(err, ErrUnsupported) {
				t.Errorf("Kill of an external backend: %v", err)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			if err := clients[name].put(t.Context(), own.URL, "v"); err != nil {
				t.Errorf("it should still be up: %v", err)
			}
		})
	}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	opt := only("redis", Spec{URL: "redis://127.0.0.1:1/0"})
	if _, err := Start(ctx, opt); err == nil || !strings.Contains(err.Error(), "external redis doesn't answer") {
		t.Errorf("got %v", err)
	}
}

func wantError(t *testing.T, opt Options, parts ...string) {
	t.Helper()
	s, err := Start(t.Context(), opt)
	if err == nil {
		_ = s.Close()
		t.Fatal("started; want an error")
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("error %q lacks %q", err, part)
		}
	}
}

// A server that is down comes back at its old ports, so nobody gets them meanwhile.
func TestAPortIsGivenOutOnce(t *testing.T) {
	seen := map[int]bool{}
	for range 300 { // of 12,000: by chance alone fifteen would come twice
		ports, err := FreePorts(2)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range ports {
			if seen[p] {
				t.Errorf("port %d is given out twice", p)
			}
			seen[p] = true
		}
	}
}
