// Package redisdb is what the rooms that keep state at Redis share: how the driver
// is set up, how scripts are put together, and what an error of it proves.
package redisdb

import (
	"embed"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// dialTimeout is short: a node that does not take a connection at once is away.
const dialTimeout = time.Second

// Connect prepares the driver for redis://user:password@host:port/db, rediss:// for
// TLS; with one or more addr=host:port in the query, a Redis Cluster. Nothing is
// asked of Redis yet. The driver retries nothing by itself, because whether a
// repeated call is safe is known elsewhere.
func Connect(at string, callTimeout time.Duration, poolSize int) (redis.UniversalClient, error) {
	u, err := url.Parse(at)
	if err != nil {
		return nil, errors.New("URL does not parse") // the cause would spell the password
	}
	if u.Query().Has("addr") {
		c, err := redis.ParseClusterURL(at)
		if err != nil {
			return nil, fmt.Errorf("URL: %w", err)
		}
		c.MaxRedirects, c.MaxRetries, c.ClusterStateReloadInterval = 3, -1, time.Second
		c.DialTimeout, c.DialerRetries, c.ReadTimeout, c.WriteTimeout = dialTimeout, 1, callTimeout, callTimeout
		c.PoolSize, c.ContextTimeoutEnabled, c.DisableIdentity = poolSize, true, true
		c.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
		return redis.NewClusterClient(c), nil
	}
	c, err := redis.ParseURL(at)
	if err != nil {
		return nil, fmt.Errorf("URL: %w", err)
	}
	c.MaxRetries = -1
	c.DialTimeout, c.DialerRetries, c.ReadTimeout, c.WriteTimeout = dialTimeout, 1, callTimeout, callTimeout
	c.PoolSize, c.PoolTimeout, c.ContextTimeoutEnabled, c.DisableIdentity = poolSize, callTimeout, true, true
	c.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	return redis.NewClient(c), nil
}

// Parts puts a script together from lua/NAME.lua of files, which are embedded.
func Parts(files embed.FS, names ...string) string {
	var b strings.Builder
	for _, name := range names {
		text, err := files.ReadFile("lua/" + name + ".lua")
		if err != nil {
			panic(err) // embedded: cannot be missing
		}
		b.Write(text)
		b.WriteByte('\n')
	}
	return b.String()
}

// refusals are Redis' own, made before a script's first write.
var refusals = []string{
	"LOADING", "READONLY", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "MOVED", "ASK", "OOM", "MISCONF", "NOREPLICAS", "BUSY", "NOAUTH", "NOPERM", "NOSCRIPT", "ERR max number of clients",
}

// Refused says whether what Redis answered is a refusal of its own, after which
// nothing has been done.
func Refused(answer string) bool {
	for _, p := range refusals {
		if strings.HasPrefix(answer, p) {
			return true
		}
	}
	return false
}

// NotSent says whether an error proves that Redis never saw the command.
func NotSent(err error) bool {
	var dial *net.OpError
	return errors.As(err, &dial) && dial.Op == "dial" ||
		errors.Is(err, redis.ErrPoolTimeout) || errors.Is(err, redis.ErrPoolExhausted) || errors.Is(err, redis.ErrClosed)
}
