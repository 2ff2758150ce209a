package devstack

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

var children = []string{"redis", "postgres", "kafka"}

func TestAChildKeepsItsDataAndAddressWhenKilledAndRestarted(t *testing.T) {
	for _, name := range children {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, c := t.Context(), clients[name]
			b := one(startStack(t, withDir(t, only(name, Spec{Mode: Child, Fast: true}))))
			url := b.URL
			if !b.Durable || !strings.HasPrefix(b.Kind, "child ") {
				t.Errorf("got %q, durable %v; want a durable child", b.Kind, b.Durable)
			}
			if err := c.put(ctx, url, "before"); err != nil {
				t.Fatal(err)
			}
			pid := pidOf(t, b)
			if err := b.Kill(); err != nil {
				t.Fatal(err)
			}
			eventuallyGone(t, pid, 0)
			if err := c.put(withTimeout(t, 300*time.Millisecond), url, "down"); err == nil {
				t.Error("a killed server should not answer")
			}
			begin := time.Now()
			if err := b.Restart(ctx); err != nil {
				t.Fatal(err)
			}
			t.Logf("back %v after kill -9", time.Since(begin).Round(time.Millisecond))
			if b.URL != url {
				t.Errorf("moved from %s to %s", url, b.URL)
			}
			if got, err := c.get(ctx, url); err != nil || got != "before" {
				t.Errorf("got %q, %v after the restart; want what was acknowledged", got, err)
			}
			if err := b.Restart(ctx); err != nil { // politely this time
				t.Fatal(err)
			}
			if got, err := c.get(ctx, url); err != nil || got != "before" {
				t.Errorf("got %q, %v after a polite restart", got, err)
			}
		})
	}
}

func TestTheNextStackOnTheSameDirectoryFindsTheData(t *testing.T) {
	for _, name := range children {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, c := t.Context(), clients[name]
			opt := withDir(t, only(name, Spec{Mode: Child})) // not Fast: the way the demo runs
			s := startStack(t, opt)
			if err := c.put(ctx, one(s).URL, "first"); err != nil {
				t.Fatal(err)
			}
			pid := pidOf(t, one(s))
			if err := errors.Join(s.Close(), s.Close()); err != nil {
				t.Fatalf("Close, twice: %v", err)
			}
			eventuallyGone(t, pid, 0)
			again := one(startStack(t, opt))
			if got, err := c.get(ctx, again.URL); err != nil || got != "first" {
				t.Errorf("got %q, %v from the second stack; want first", got, err)
			}
		})
	}
}

func TestAPausedChildAnswersNothingUntilContinued(t *testing.T) {
	for _, name := range []string{"redis", "postgres"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := clients[name]
			b := one(startStack(t, withDir(t, only(name, Spec{Mode: Child, Fast: true}))))
			if err := b.Pause(); err != nil {
				t.Fatal(err)
			}
			if err := c.put(withTimeout(t, 200*time.Millisecond), b.URL, "v"); !errors.Is(err, context.DeadlineExceeded) && !strings.Contains(fmt.Sprint(err), "timeout") {
				t.Errorf("a paused server should time out, got %v", err)
			}
			if err := b.Continue(); err != nil {
				t.Fatal(err)
			}
			if err := c.put(t.Context(), b.URL, "v"); err != nil {
				t.Errorf("after Continue: %v", err)
			}
			if err := b.Pause(); err != nil { // and Close has to cope with a paused one
				t.Fatal(err)
			}
		})
	}
}

// The helper process of the next test: this test binary, started again.
const helperEnv = "FLASHSALE_DEVSTACK_TEST_HELPER"

func helper() int {
	spec := Spec{Mode: Child, Fast: true}
	_, err := Start(context.Background(), Options{DataDir: os.Getenv(helperEnv), Redis: spec, Postgres: spec, Kafka: spec})
	if err != nil {
		fmt.Println("error:", err)
		return 1
	}
	fmt.Println("up")
	select {} // until killed
}

func TestKill9OfTheParentLeavesNothingRunningAndTheNextStartWorks(t *testing.T) {
	dir := reachableDir(t)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), helperEnv+"="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, _ := bufio.NewReader(out).ReadString('\n')
	if line != "up\n" {
		t.Fatalf("helper said %q", line)
	}
	family := descendants(cmd.Process.Pid)
	if len(family) < 5 { // Redis, Java, the postmaster and its helpers
		t.Fatalf("the helper has children %v, which is too few to be three servers", family)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // reports the kill
	for _, pid := range family {
		eventuallyGone(t, pid, time.Minute)
	}
	spec := Spec{Mode: Child, Fast: true}
	s := startStack(t, Options{DataDir: dir, Redis: spec, Postgres: spec, Kafka: spec})
	for _, b := range []*Backend{s.Redis, s.Postgres, s.Kafka} {
		t.Logf("%s at %s", b.Kind, b.URL)
	}
}

// withDir gives opt a directory. All tests that start a server come through here
// or reachableDir, which is where -short leaves them out.
func withDir(t *testing.T, opt Options) Options {
	t.Helper()
	opt.DataDir = reachableDir(t)
	return opt
}

// reachableDir is a temporary directory that other users may walk through, which
// t.TempDir isn't.
func reachableDir(t *testing.T) string {
	t.Helper()
	if testing.Short() {
		t.Skip("starts a real server, and -short was asked for")
	}
	dir, err := os.MkdirTemp("", "flashsale-devstack-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	return dir
}

func withTimeout(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}
