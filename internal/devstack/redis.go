package devstack

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

const redisMissing = "redis-server is not installed: run `make deps`, or install your system's redis-server package"

func newRedis(opt Options) (*Backend, error) {
	spec := opt.Redis
	path, err := exec.LookPath("redis-server")
	if spec.Mode == Auto {
		spec.Mode = Child
		if err != nil {
			spec.Mode = Embedded
		}
	}
	switch spec.Mode {
	case External:
		ropt, err := redis.ParseURL(spec.URL)
		if err != nil {
			return nil, fmt.Errorf("devstack: redis: URL: %w", err)
		}
		check := func(ctx context.Context) error { _, err := redisInfo(ctx, ropt); return err }
		return &Backend{URL: spec.URL, Kind: "external", Mode: External, Durable: true, driver: external{"redis", check}}, nil
	case Embedded:
		return newMiniredis(opt), nil
	}
	if err != nil {
		return nil, fmt.Errorf("devstack: %s (%w)", redisMissing, err)
	}
	return newRedisServer(opt, path, redisNode{name: "redis"})
}

// redisNode is what a Redis of a cluster has that another has not.
type redisNode struct {
	name    string
	cluster bool
}

func (n redisNode) arguments(ports []int) []string {
	if !n.cluster {
		return nil
	}
	return []string{"--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf", "--cluster-port", strconv.Itoa(ports[1]),
		"--cluster-node-timeout", strconv.FormatInt(clusterPatience.Milliseconds(), 10), "--cluster-replica-validity-factor", "0",
		"--repl-diskless-sync-delay", "0"}
}

func newRedisServer(opt Options, path string, n redisNode) (*Backend, error) {
	s, err := newServer(opt, n.name)
	if err != nil {
		return nil, err
	}
	if opt.Redis.Disk > 0 {
		s.disk = &disk{mib: opt.Redis.Disk}
	}
	b := &Backend{
		Kind: "child redis-server", Mode: Child, Durable: true, Dir: s.dir, driver: s,
	}
	// Not everysec: while a background fsync runs it holds writes back and answers
	// all the same, so that even a kill of the process loses what was acknowledged.
	fsync := "always"
	if opt.Redis.Fast {
		fsync, b.Note = "no", "the last writes are lost if the machine (not just the process) dies: appendfsync no"
	}
	s.nports, s.stopSig, s.ready = 1, stopSignal(opt, syscall.SIGTERM), 30*time.Second
	if n.cluster {
		s.nports = 2 // its own port for the cluster's bus
	}
	s.command = func(ports []int) command {
		return command{path: path, args: append([]string{
			"--port", strconv.Itoa(ports[0]), "--bind", "127.0.0.1", "--dir", s.data, "--daemonize", "no",
			"--appendonly", "yes", "--appendfsync", fsync, "--save", "",
		}, n.arguments(ports)...)}
	}
	s.check = func(ctx context.Context, pid int, ports []int) error {
		info, err := redisInfo(ctx, &redis.Options{Addr: loopback(ports[0])})
		if err != nil {
			return err
		}
		if info["process_id"] != strconv.Itoa(pid) {
			return fmt.Errorf("port %d answers, but as process %s instead of %d", ports[0], info["process_id"], pid)
		}
		b.settle("redis://"+loopback(ports[0])+"/0", "child redis-server "+info["redis_version"])
		return nil
	}
	if opt.Ephemeral {
		b.remove = func() error { return os.RemoveAll(s.dir) }
	}
	return b, nil
}

// redisInfo asks for INFO server, and that the data is loaded.
func redisInfo(ctx context.Context, opt *redis.Options) (map[string]string, error) {
	// go-redis logs every failed dial, and a server that is starting has many.
	probe, err := (&net.Dialer{}).DialContext(ctx, cmp.Or(opt.Network, "tcp"), opt.Addr)
	if err != nil {
		return nil, err
	}
	_ = probe.Close()
	o := *opt
	o.MaxRetries, o.DialerRetries, o.PoolSize = -1, 1, 1
	o.DisableIdentity = true
	// It minds a deadline at most, never a cancellation: keep each try short.
	o.ContextTimeoutEnabled, o.ReadTimeout = true, 500*time.Millisecond
	o.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	c := redis.NewClient(&o)
	defer c.Close()
	text, err := c.Info(ctx, "server").Result()
	if err != nil {
		return nil, fmt.Errorf("redis at %s: %w", o.Addr, err)
	}
	info := make(map[string]string)
	for lines := bufio.NewScanner(strings.NewReader(text)); lines.Scan(); {
		if k, v, ok := strings.Cut(lines.Text(), ":"); ok {
			info[k] = v
		}
	}
	if info["redis_version"] == "" {
		return nil, errors.New("redis: INFO names no version")
	}
	if err := c.Ping(ctx).Err(); err != nil { // INFO answers while data is loading
		return nil, fmt.Errorf("redis at %s: %w", o.Addr, err)
	}
	return info, nil
}

// newServer prepares the folders of a child: <DataDir>/<name> for log and pid
// file, data below it.
func newServer(opt Options, name string) (*server, error) {
	dir := filepath.Join(opt.DataDir, name)
	s := &server{name: name, dir: dir, data: filepath.Join(dir, "data"), log: opt.Log, pick: freePorts}
	if err := os.MkdirAll(dir, 0o711); err != nil { //nolint:gosec // search permission, for a Postgres run as another user
		return nil, fmt.Errorf("devstack: %s: %w", name, err)
	}
	if name != "postgres" { // which makes its own, for its own user
		if err := os.MkdirAll(s.data, 0o700); err != nil {
			return nil, fmt.Errorf("devstack: %s: %w", name, err)
		}
	}
	return s, nil
}

// stopSignal is polite unless the data is thrown away anyway.
func stopSignal(opt Options, polite syscall.Signal) syscall.Signal {
	if opt.Ephemeral {
		return syscall.SIGKILL
	}
	return polite
}
