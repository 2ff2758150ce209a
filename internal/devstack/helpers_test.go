package devstack

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/redis/go-redis/v9"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if os.Getenv(helperEnv) != "" {
		os.Exit(helper())
	}
	// The client of a Redis that was killed looks once a second if it may give up.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/redis/go-redis/v9/internal/pool.(*ConnPool).tryDial"))
}

var off = Spec{Mode: Off}

// only asks for one backend, in the given mode.
func only(name string, spec Spec) Options {
	o := Options{Redis: off, Postgres: off, Kafka: off}
	switch name {
	case "redis":
		o.Redis = spec
	case "postgres":
		o.Postgres = spec
	case "kafka":
		o.Kafka = spec
	}
	return o
}

// one returns the single backend of a stack started with only.
func one(s *Stack) *Backend {
	for _, b := range []*Backend{s.Redis, s.Postgres, s.Kafka} {
		if b != nil {
			return b
		}
	}
	return nil
}

func startStack(t *testing.T, opt Options) *Stack {
	t.Helper()
	s, err := Start(t.Context(), opt)
	if err != nil {
		t.Fatalf("Start: %v", err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return s
}

// client is the little the tests need to know of a backend: does it keep a value?
type client struct {
	put func(ctx context.Context, url, value string) error
	get func(ctx context.Context, url string) (string, error)
}

var clients = map[string]client{
	"redis":    {redisPut, redisGet},
	"postgres": {pgPut, pgGet},
	"kafka":    {kafkaPut, kafkaGet},
}

func redisClient(url string) *redis.Client {
	opt, err := redis.ParseURL(url)
	if err != nil {
		panic(err)
	}
	opt.MaxRetries, opt.ContextTimeoutEnabled = -1, true
	return redis.NewClient(opt)
}

func redisPut(ctx context.Context, url, value string) error {
	c := redisClient(url)
	defer c.Close()
	return c.Set(ctx, "k", value, 0).Err()
}

func redisGet(ctx context.Context, url string) (string, error) {
	c := redisClient(url)
	defer c.Close()
	return c.Get(ctx, "k").Result()
}

func pgPut(ctx context.Context, url, value string) error {
	c, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	defer c.Close(ctx)
	if _, err := c.Exec(ctx, "CREATE TABLE IF NOT EXISTS kept (v text)"); err != nil {
		return err
	}
	_, err = c.Exec(ctx, "INSERT INTO kept VALUES ($1)", value)
	return err
}

func pgGet(ctx context.Context, url string) (v string, err error) {
	c, err := pgx.Connect(ctx, url)
	if err != nil {
		return "", err
	}
	defer c.Close(ctx)
	return v, c.QueryRow(ctx, "SELECT string_agg(v, ',') FROM kept").Scan(&v)
}

func kafkaPut(ctx context.Context, url, value string) error {
	cl, err := kgo.NewClient(kgo.SeedBrokers(SplitBrokers(url)...), kgo.AllowAutoTopicCreation(), kgo.RequiredAcks(kgo.AllISRAcks()))
	if err != nil {
		return err
	}
	defer cl.Close()
	return cl.ProduceSync(ctx, &kgo.Record{Topic: "kept", Value: []byte(value)}).FirstErr()
}

func kafkaGet(ctx context.Context, url string) (string, error) {
	cl, err := kgo.NewClient(kgo.SeedBrokers(SplitBrokers(url)...), kgo.ConsumeTopics("kept"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		return "", err
	}
	defer cl.Close()
	fetches := cl.PollFetches(ctx)
	if err := fetches.Err(); err != nil {
		return "", err
	}
	var values []string
	for _, r := range fetches.Records() {
		values = append(values, string(r.Value))
	}
	return strings.Join(values, ","), nil
}

// pidOf reads the pid a backend's server was started with.
func pidOf(t *testing.T, b *Backend) int {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(b.Dir, "devstack.pid"))
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

// eventuallyGone fails unless the process ends within d. A zombie counts as gone:
// it runs no code and holds no file, and its new parent may be slow to reap it.
func eventuallyGone(t *testing.T, pid int, d time.Duration) {
	t.Helper()
	for end := time.Now().Add(d); ; time.Sleep(5 * time.Millisecond) {
		if syscall.Kill(pid, 0) == syscall.ESRCH || zombie(pid) {
			return
		}
		if time.Now().After(end) {
			break
		}
	}
	cmdline, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	t.Errorf("process %d is still there: %q", pid, cmdline)
}

func zombie(pid int) bool {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, rest, _ := strings.Cut(string(text), ") ")
	return strings.HasPrefix(rest, "Z")
}
