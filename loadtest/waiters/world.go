package waiters

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/flashsale-engine/flashsale/internal/devstack"
	"github.com/flashsale-engine/flashsale/loadtest/stage"
)

const (
	buyerKey   = stage.BuyerKey
	adminToken = stage.AdminToken
)

// engineUnderTest is what the crowd comes to.
type engineUnderTest struct {
	api, admin string
	parts      map[string]string                        // what runs, for people
	memory     func(ctx context.Context) (int64, error) // used_memory of Redis
	cpu        func() map[string]time.Duration          // processor time so far, by part
}

// newWorld starts everything that there is in production, on this machine.
func newWorld(ctx context.Context, cfg Config) (*engineUnderTest, func(), error) {
	s, stop, err := stage.Start(ctx, stage.Options{Self: cfg.Self, Env: cfg.Env, Kafka: cfg.Kafka, Log: cfg.Log})
	if err != nil {
		return nil, nil, err
	}
	return &engineUnderTest{api: s.API, admin: s.Admin, parts: s.Parts, cpu: s.CPU,
		memory: func(ctx context.Context) (int64, error) { return usedMemory(ctx, s.Redis) }}, stop, nil
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
