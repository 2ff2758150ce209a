package waiters

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/flashsale-engine/flashsale/internal/devstack"
	"github.com/flashsale-engine/flashsale/loadtest/bench"
)

const (
	buyerKey      = "crowd-crowd-crowd-crowd-crowd-32"
	adminToken    = "crowd-admin-token"
	startPatience = 2 * time.Minute
)

// engineUnderTest is what the crowd comes to.
type engineUnderTest struct {
	api, admin string
	parts      map[string]string                        // what runs, for people
	memory     func(ctx context.Context) (int64, error) // used_memory of Redis
	cpu        func() map[string]time.Duration          // processor time so far, by part
}

// newWorld starts everything that there is in production, on this machine.
func newWorld(ctx context.Context, cfg Config) (_ *engineUnderTest, stop func(), err error) {
	var order []func()
	stop = func() {
		for i := len(order) - 1; i >= 0; i-- {
			order[i]()
		}
	}
	defer func() {
		if err != nil {
			stop()
		}
	}()
	ctx, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	dir, err := os.MkdirTemp("", "flashsale-crowd-")
	if err != nil {
		return nil, nil, err
	}
	order = append(order, func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o711); err != nil { //nolint:gosec // search permission, for a Postgres run as another user
		return nil, nil, err
	}
	child, kafka := devstack.Spec{Mode: devstack.Child}, devstack.Spec{Mode: devstack.Embedded}
	if cfg.Kafka {
		kafka = child
	}
	stack, err := devstack.Start(ctx, devstack.Options{DataDir: filepath.Join(dir, "stack"), Ephemeral: true, Redis: child, Postgres: child, Kafka: kafka, Log: cfg.Log})
	if err != nil {
		return nil, nil, err
	}
	order = append(order, func() { _ = stack.Close() })
	ports, err := devstack.FreePorts(3)
	if err != nil {
		return nil, nil, err
	}
	at := func(i int) string { return "127.0.0.1:" + strconv.Itoa(ports[i]) }
	pids := map[string]int{"redis": stack.Redis.PID(), "postgres": stack.Postgres.PID(), "kafka": stack.Kafka.PID()}
	for _, p := range []struct {
		name, ready string
		args        []string
	}{
		{"sandbox", "http://" + at(0) + "/healthz", []string{"sandbox", "--listen", at(0)}},
		{"server", "http://" + at(2) + "/readyz", []string{"--log-level", "warn", "serve", "--roles", "api,relay,writer,reaper,payments", "--listen", at(1), "--admin-listen", at(2), "--redis-url", stack.Redis.URL, "--postgres-url", stack.Postgres.URL,
			"--kafka-brokers", stack.Kafka.URL, "--partitions", "3", "--replication", "1", "--admin-token", adminToken, "--buyer-key", buyerKey, "--payment-url", "http://" + at(0)}},
	} {
		proc, err := devstack.StartProcess(cfg.Self[0], append(cfg.Self[1:len(cfg.Self):len(cfg.Self)], p.args...), cfg.Env, filepath.Join(dir, p.name+".log"))
		if err != nil {
			return nil, nil, err
		}
		order = append(order, func() { _ = proc.Stop(10 * time.Second) })
		pids[p.name] = proc.PID()
		if err := awaitReady(ctx, proc, p.ready); err != nil {
			return nil, nil, fmt.Errorf("waiters: %s: %w\n%s", p.name, err, proc.LogTail())
		}
	}
	e := &engineUnderTest{api: "http://" + at(1), admin: "http://" + at(2), parts: map[string]string{"redis": stack.Redis.Kind, "postgres": stack.Postgres.Kind, "kafka": stack.Kafka.Kind}}
	e.memory = func(ctx context.Context) (int64, error) { return usedMemory(ctx, stack.Redis.URL) }
	e.cpu = func() map[string]time.Duration {
		out := map[string]time.Duration{"crowd": bench.CPUOf(os.Getpid())}
		for name, pid := range pids {
			if pid > 0 {
				out[name] = bench.CPUOf(pid)
			}
		}
		return out
	}
	return e, stop, nil
}

func awaitReady(ctx context.Context, p *devstack.Process, url string) error {
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		if res, err := http.DefaultClient.Do(req); err == nil {
			_ = res.Body.Close()
			if res.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-p.Done():
			return errors.New("it ended before it was ready")
		case <-ctx.Done():
			return errors.New("it does not become ready")
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func usedMemory(ctx context.Context, url string) (int64, error) {
	text, err := devstack.RedisDo(ctx, url, "INFO", "memory")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(text) {
		if n, ok := strings.CutPrefix(strings.TrimSpace(line), "used_memory:"); ok {
			return strconv.ParseInt(n, 10, 64)
		}
	}
	return 0, errors.New("waiters: Redis does not say how much memory it uses")
}
