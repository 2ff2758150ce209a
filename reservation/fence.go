package reservation

import (
	"context"
	"crypto/sha1" //nolint:gosec // Redis names scripts so; nothing secret hangs on it
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/flashsale-engine/flashsale/engine"
)

// This file keeps a call from being decided by a server that is not the one of
// its lease, without asking the server each time.
//
// A Redis process keeps scripts by the digest of their text, in its memory only:
// since Redis 7 they are neither written to disk nor sent to replicas. The text
// that runs under a lease begins with the name of the lease's server, so each
// server knows it by another digest, and is given it only after it has said, on
// that very connection, that it is that server. Whatever else a connection may
// lead to, a process that was restarted, a replica that was promoted or another
// node behind the same address, answers NOSCRIPT and has decided nothing.
// docs/adr/014 has the reasoning, and what it cannot see.

// script is a part of the gate that runs inside Redis.
type script struct {
	text  string
	plain string   // the digest under leases without a server
	named sync.Map // server → digest
}

func newScript(text string) *script { return &script{text: text, plain: digestOf(text)} }

func digestOf(text string) string {
	sum := sha1.Sum([]byte(text)) //nolint:gosec // see the import
	return hex.EncodeToString(sum[:])
}

// source gives the text that runs under leases of a server; "": of any.
func (x *script) source(server string) string {
	if server == "" {
		return x.text
	}
	return "-- only for server " + server + "\n" + x.text
}

func (x *script) digest(server string) string {
	if server == "" {
		return x.plain
	}
	if d, ok := x.named.Load(server); ok {
		return d.(string) //nolint:forcetypeassert // nothing else is stored
	}
	d := digestOf(x.source(server))
	x.named.Store(server, d)
	return d
}

// errOtherServer says that a shard is with another server than its lease.
var errOtherServer = errors.New("another server than the lease's decides for the shard")

// trustFor bounds how long a server is believed to be what it was. A process that
// was made a replica and promoted again keeps its scripts, though its data may be
// another's: it answers READONLY meanwhile, which ends all trust in it at once, and
// who has not called it for so long asks first. A look costs Redis 50 µs.
const trustFor = 500 * time.Millisecond

var errDoubted = errors.New("the server is to be asked first")

// trusts says whether a server has said lately that it is the one of this name.
func (g *Gate) trusts(server string, now time.Time) bool {
	if server == "" || server == unnamed {
		return true // it has no name to lose
	}
	at, ok := g.trusted.Load(server)
	return ok && now.Sub(at.(time.Time)) < trustFor //nolint:forcetypeassert // nothing else is stored
}

// doubt ends the trust in a server after an error that is no answer of a script.
func (g *Gate) doubt(server string, err error) {
	if server != "" && !redis.HasErrorPrefix(err, "FROZEN") && !redis.HasErrorPrefix(err, "CONSERVATION") {
		g.trusted.Delete(server)
	}
}

// introduce runs a script on the server of a shard's lease, and gives it the
// script if it has to. It is looked at on the connection on which it decides, so
// it is the same process; errOtherServer if it is another one than the lease's.
func (g *Gate) introduce(ctx context.Context, x *script, k keys, l engine.GateLease, args ...any) (any, error) {
	if l.Server == "" {
		return g.client.Eval(ctx, x.text, k.all, args...).Result()
	}
	var v any
	began := time.Now()
	err := g.onServer(ctx, k, func(c *redis.Conn, server string) (err error) {
		if server != l.Server {
			return errOtherServer
		}
		g.trusted.Store(server, began)
		v, err = c.EvalSha(ctx, x.digest(l.Server), k.all, args...).Result()
		if !redis.HasErrorPrefix(err, "NOSCRIPT") {
			return err
		}
		if err := c.ScriptLoad(ctx, x.source(l.Server)).Err(); err != nil {
			return notReached(err)
		}
		v, err = c.EvalSha(ctx, x.digest(l.Server), k.all, args...).Result()
		return err
	})
	return v, err
}

// onServer takes a connection to whoever decides for a shard now, and its name.
func (g *Gate) onServer(ctx context.Context, k keys, f func(c *redis.Conn, server string) error) error {
	var at *redis.Client
	switch client := g.client.(type) {
	case *redis.Client:
		at = client
	case *redis.ClusterClient:
		var err error
		if at, err = client.MasterForKey(ctx, k.sale); err != nil {
			return fmt.Errorf("%w: %w", errNoMaster, err)
		}
	default:
		return fmt.Errorf("reservation: a client of type %T", client)
	}
	c := at.Conn()
	defer func() { _ = c.Close() }() // back into the pool
	info, err := c.Info(ctx).Result()
	if err != nil {
		return notReached(err)
	}
	server, err := serverName(info)
	if err != nil {
		return err
	}
	return f(c, server)
}

var (
	errNoMaster = errors.New("no master of the shard is known")
	errReplica  = errors.New("the server of the shard is a replica")
	errOldRedis = errors.New("the gate needs Redis 7 or later: an older one hands scripts to its replicas, so a promoted replica could not be told from its master")
	errNotAsked = errors.New("the server did not say who it is")
)

// notReached marks a failure before anything was decided.
func notReached(err error) error { return fmt.Errorf("%w: %w", errNotAsked, err) }

// unnamed is the name of a server that gives itself none, as embedded ones do
// not: two of them cannot be told apart, and a new one is known only by its
// missing keys.
const unnamed = "unnamed"

// leastRedis is the first major version whose scripts stay where they were loaded.
const leastRedis = 7

// serverName names a process of Redis by its INFO: the id that it gave itself
// when it started, and how many bytes it has taken in from masters since. A
// master takes in none, so its name stays; one that was made a replica, loaded
// another's data and was promoted again has another name. master_replid would
// not do: it changes when the first replica attaches, and again an hour after
// the last has left.
func serverName(info string) (string, error) {
	field := map[string]string{}
	for line := range strings.Lines(info) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			field[name] = value
		}
	}
	id := field["run_id"]
	if id == "" {
		return unnamed, nil
	}
	major, _, _ := strings.Cut(field["redis_version"], ".")
	if n, err := strconv.Atoi(major); err != nil || n < leastRedis {
		return "", fmt.Errorf("%w: it is %q", errOldRedis, field["redis_version"])
	}
	if field["role"] != "master" {
		return "", errReplica
	}
	return id + "." + field["total_net_repl_input_bytes"], nil
}

// failed gives the error of a call its code, and lets whoever repairs the gate
// hear of a shard that is lost.
func (g *Gate) failed(k keys, err error) error {
	what, err := coded(k, err)
	if g.opt.Lost != nil && engine.CodeOf(err) == engine.CodeGateFrozen {
		g.opt.Lost(k.saleNo, k.shard, what)
	}
	return err
}

// coded gives an error its code; of a lost shard, what is lost.
func coded(k keys, err error) (what string, _ error) {
	var known *engine.Error
	switch {
	case errors.As(err, &known):
		return "keys", err
	case errors.Is(err, errOtherServer):
		return "server", lost("server", "another server decides for shard %d of the sale than the one of its lease", k.shard)
	case errors.Is(err, errOldRedis):
		return "", unavailable(err, "Redis is too old for the gate")
	case errors.Is(err, errReplica), errors.Is(err, errNoMaster), errors.Is(err, errNotAsked):
		return "", unavailable(err, "the shard's server cannot be asked")
	}
	return "keys", classify(err)
}

// lost says what a shard lacks of what its lease promises.
func lost(what, format string, args ...any) error {
	e := engine.E(engine.CodeGateFrozen, format, args...).After(retryAfter)
	return e.With("lost", what)
}
