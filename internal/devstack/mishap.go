package devstack

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// What can be done to a backend beyond Kill and Pause: by chaos runs, whose
// package holds no drivers.

// RedisDo sends one command to the Redis at url, and gives the reply as text.
func RedisDo(ctx context.Context, url string, args ...any) (string, error) {
	o, err := redis.ParseURL(url)
	if err != nil {
		return "", fmt.Errorf("devstack: redis: URL: %w", err)
	}
	o.MaxRetries, o.DialerRetries, o.PoolSize, o.DisableIdentity, o.ContextTimeoutEnabled = -1, 1, 1, true, true
	o.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	c := redis.NewClient(o)
	defer c.Close()
	v, err := c.Do(ctx, args...).Result()
	if err != nil {
		return "", fmt.Errorf("devstack: redis: %v: %w", args[0], err)
	}
	return fmt.Sprint(v), nil
}

// TearAOF cuts bytes off the end of the append-only file of a Redis that is
// down: what a machine leaves that lost power before the last writes were on the
// disk. It gives how many were cut.
func (b *Backend) TearAOF(bytes int64) (int64, error) {
	file, err := b.incrementalAOF()
	if err != nil {
		return 0, err
	}
	st, err := os.Stat(file)
	if err != nil {
		return 0, err
	}
	bytes = min(bytes, st.Size())
	return bytes, os.Truncate(file, st.Size()-bytes)
}

// DropAOF removes everything that a Redis that is down would come back with.
func (b *Backend) DropAOF() error { return os.RemoveAll(filepath.Join(b.dataDir(), "appendonlydir")) }

// incrementalAOF is the newest file that Redis appends to.
func (b *Backend) incrementalAOF() (string, error) {
	files, err := filepath.Glob(filepath.Join(b.dataDir(), "appendonlydir", "*.incr.aof"))
	if err != nil || len(files) == 0 {
		return "", errors.Join(fmt.Errorf("devstack: no append-only file in %s", b.dataDir()), err)
	}
	slices.Sort(files)
	return files[len(files)-1], nil
}

func (b *Backend) dataDir() string {
	if s, ok := b.driver.(*server); ok {
		return s.data
	}
	return filepath.Join(b.Dir, "data")
}

// PostgresRows gives what a query selects, every value as text.
func PostgresRows(ctx context.Context, url, query string, args ...any) (out [][]string, err error) {
	c, err := pgx.Connect(ctx, url)
	if err != nil {
		return nil, fmt.Errorf("devstack: postgres: %w", err)
	}
	defer c.Close(context.WithoutCancel(ctx))
	rows, err := c.Query(ctx, query, args...)
	if err != nil {
		return nil, fmt.Errorf("devstack: postgres: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		values, err := rows.Values()
		if err != nil {
			return nil, fmt.Errorf("devstack: postgres: %w", err)
		}
		row := make([]string, len(values))
		for i, v := range values {
			row[i] = fmt.Sprint(v)
		}
		out = append(out, row)
	}
	return out, rows.Err()
}

// HoldLocks runs statements in a transaction that stays open, with the locks it
// took, until release is called: a session that competes for rows.
func HoldLocks(ctx context.Context, url string, statements ...string) (release func() error, err error) {
	c, err := pgx.Connect(ctx, url)
	if err != nil {
		return nil, fmt.Errorf("devstack: postgres: %w", err)
	}
	text := "BEGIN; " + strings.Join(statements, "; ")
	if _, err := c.Exec(ctx, text); err != nil {
		return nil, errors.Join(fmt.Errorf("devstack: postgres: %w", err), c.Close(context.WithoutCancel(ctx)))
	}
	return func() error { return c.Close(context.WithoutCancel(ctx)) }, nil
}
