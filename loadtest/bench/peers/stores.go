package peers

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

func readFull(r *http.Request, b []byte) (int, error) { return io.ReadFull(r.Body, b) }

// redisStore calls script A once per reservation.
type redisStore struct {
	c   *redis.Client
	sha string
}

// Client opens Redis the way that the ways and the benchmark itself use it.
func Client(url string, pool int) (*redis.Client, error) {
	o, err := redis.ParseURL(url)
	if err != nil {
		return nil, err
	}
	o.PoolSize, o.DisableIdentity = pool, true
	// A repeated call would take a second unit: patient, and once.
	o.MaxRetries, o.ReadTimeout, o.PoolTimeout = -1, 20*time.Second, 20*time.Second
	o.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	return redis.NewClient(o), nil
}

func newRedisStore(ctx context.Context, url string) (store, func(), error) {
	c, err := Client(url, 64)
	if err != nil {
		return nil, nil, err
	}
	sha, err := c.ScriptLoad(ctx, ScriptA).Result()
	if err != nil {
		return nil, nil, errors.Join(err, c.Close())
	}
	return &redisStore{c, sha}, func() { _ = c.Close() }, nil
}

// Prefix is where a sale's keys are.
func Prefix(sale string) string { return "{" + sale + "}:" }

func (s *redisStore) reserve(ctx context.Context, h hold) (time.Time, error) {
	p := Prefix(h.sale)
	out, err := s.c.EvalSha(ctx, s.sha, []string{p + "r:" + h.id, p + "buyers", p + "stock:" + h.sku, p + "expiry"},
		h.id, h.buyer, strconv.Itoa(h.quantity), Limit, Life.Milliseconds()).Int64Slice()
	switch {
	case err != nil:
		return time.Time{}, err
	case len(out) != 3:
		return time.Time{}, fmt.Errorf("script A answers %v", out)
	case out[0] == 0:
		return time.Time{}, errSoldOut
	case out[0] < 0:
		return time.Time{}, errLimit
	}
	return time.UnixMilli(out[2]), nil
}

// Schema is what the Postgres ways need; a sale's rows are the benchmark's to make.
const Schema = `
CREATE TABLE IF NOT EXISTS peer_stock (sale text NOT NULL, sku text NOT NULL, available bigint NOT NULL CHECK (available >= 0), PRIMARY KEY (sale, sku));
CREATE TABLE IF NOT EXISTS peer_holds (id text PRIMARY KEY, sale text NOT NULL, sku text NOT NULL, buyer text NOT NULL, key text NOT NULL, quantity int NOT NULL, expires timestamptz NOT NULL);
CREATE INDEX IF NOT EXISTS peer_holds_expiry ON peer_holds (expires);`

// postgresStore keeps the count in a row. Both ways leave the limit per buyer
// out: it would only make them slower.
type postgresStore struct {
	pool *pgxpool.Pool
	lock bool
}

// Connections to Postgres: on a hot row more only wait for each other; with 32
// instead of 8 the usual way makes a third less (docs/performance.md).
const connections = 8

func newPostgresStore(ctx context.Context, url string, lock bool) (store, func(), error) {
	c, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, nil, err
	}
	c.MaxConns, c.MinConns = connections, connections
	pool, err := pgxpool.NewWithConfig(ctx, c)
	if err != nil {
		return nil, nil, err
	}
	return &postgresStore{pool, lock}, pool.Close, nil
}

func (s *postgresStore) reserve(ctx context.Context, h hold) (time.Time, error) {
	until := time.Now().Add(Life)
	if !s.lock {
		tag, err := s.pool.Exec(ctx, `WITH taken AS (UPDATE peer_stock SET available = available - $4 WHERE sale = $1 AND sku = $2 AND available >= $4 RETURNING sku)
			INSERT INTO peer_holds (id, sale, sku, buyer, key, quantity, expires) SELECT $5, $1, $2, $3, $6, $4, $7 FROM taken`,
			h.sale, h.sku, h.buyer, h.quantity, h.id, h.key, until)
		if err == nil && tag.RowsAffected() == 0 {
			err = errSoldOut
		}
		return until, err
	}
	err := pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		var available int
		if err := tx.QueryRow(ctx, `SELECT available FROM peer_stock WHERE sale = $1 AND sku = $2 FOR UPDATE`, h.sale, h.sku).Scan(&available); err != nil {
			return err
		}
		if available < h.quantity {
			return errSoldOut
		}
		if _, err := tx.Exec(ctx, `INSERT INTO peer_holds (id, sale, sku, buyer, key, quantity, expires) VALUES ($1, $2, $3, $4, $5, $6, $7)`,
			h.id, h.sale, h.sku, h.buyer, h.key, h.quantity, until); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, `UPDATE peer_stock SET available = available - $3 WHERE sale = $1 AND sku = $2`, h.sale, h.sku, h.quantity)
		return err
	})
	return until, err
}
