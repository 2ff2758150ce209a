// Package stage starts everything that there is in production on this machine, for a
// load test that needs an engine of its own: Redis, Postgres and Kafka, the sandbox
// provider, and one node with all roles.
package stage

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/flashsale-engine/flashsale/internal/devstack"
	"github.com/flashsale-engine/flashsale/loadtest/bench"
)

// The secrets of a stage, which lives for minutes, on loopback.
const (
	BuyerKey   = "stage-stage-stage-stage-stage-32"
	AdminToken = "stage-admin-token"
)

const startPatience = 2 * time.Minute

// Options say what to start.
type Options struct {
	Self  []string // the program: what `serve` and `sandbox` are appended to
	Env   []string // of the processes; nil: ours
	Kafka bool     // a real Kafka instead of the stand-in
	Serve []string // further flags of the node
	Log   *slog.Logger
}

// Stage is what runs.
type Stage struct {
	API, Admin, Sandbox string
	Redis               string                          // its URL
	Parts               map[string]string               // what runs, for people
	CPU                 func() map[string]time.Duration // processor time so far, by part; the caller's is "crowd"
}

// Start starts it. On an error nothing is left running.
func Start(ctx context.Context, o Options) (_ *Stage, stop func(), err error) {
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
	dir, err := os.MkdirTemp("", "flashsale-stage-")
	if err != nil {
		return nil, nil, err
	}
	order = append(order, func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o711); err != nil { //nolint:gosec // search permission, for a Postgres run as another user
		return nil, nil, err
	}
	child, kafka := devstack.Spec{Mode: devstack.Child}, devstack.Spec{Mode: devstack.Embedded}
	if o.Kafka {
		kafka = child
	}
	stack, err := devstack.Start(ctx, devstack.Options{DataDir: filepath.Join(dir, "stack"), Ephemeral: true, Redis: child, Postgres: child, Kafka: kafka, Log: o.Log})
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
		{"server", "http://" + at(2) + "/readyz", append([]string{"--log-level", "warn", "serve", "--roles", "api,relay,writer,reaper,payments", "--listen", at(1), "--admin-listen", at(2), "--redis-url", stack.Redis.URL, "--postgres-url", stack.Postgres.URL,
			"--kafka-brokers", stack.Kafka.URL, "--partitions", "3", "--replication", "1", "--admin-token", AdminToken, "--buyer-key", BuyerKey, "--payment-url", "http://" + at(0)}, o.Serve...)},
	} {
		proc, err := devstack.StartProcess(o.Self[0], append(o.Self[1:len(o.Self):len(o.Self)], p.args...), o.Env, filepath.Join(dir, p.name+".log"))
		if err != nil {
			return nil, nil, err
		}
		order = append(order, func() { _ = proc.Stop(10 * time.Second) })
		pids[p.name] = proc.PID()
		if err := awaitReady(ctx, proc, p.ready); err != nil {
			return nil, nil, fmt.Errorf("stage: %s: %w\n%s", p.name, err, proc.LogTail())
		}
	}
	s := &Stage{API: "http://" + at(1), Admin: "http://" + at(2), Sandbox: "http://" + at(0), Redis: stack.Redis.URL,
		Parts: map[string]string{"redis": stack.Redis.Kind, "postgres": stack.Postgres.Kind, "kafka": stack.Kafka.Kind}}
	s.CPU = func() map[string]time.Duration {
		out := map[string]time.Duration{"crowd": bench.CPUOf(os.Getpid())}
		for name, pid := range pids {
			if pid > 0 {
				out[name] = bench.CPUOf(pid)
			}
		}
		return out
	}
	return s, stop, nil
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
