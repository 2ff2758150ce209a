package reservation

import (
	"context"
	"errors"
	"io"
	"maps"
	"net"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/flashsale-engine/flashsale/engine"
	"github.com/flashsale-engine/flashsale/internal/devstack"
	"github.com/flashsale-engine/flashsale/internal/devstack/testenv"
)

// road is an address whose other end can be changed, as that of a service is
// when another server is promoted.
type road struct {
	net.Listener
	mu    sync.Mutex
	to    string
	conns []net.Conn
}

func newRoad(t *testing.T, to string) *road {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	mustOK(t, err)
	r := &road{Listener: l, to: to}
	t.Cleanup(func() { _ = l.Close(); r.lead("") })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			r.mu.Lock()
			to := r.to
			r.mu.Unlock()
			d, err := (&net.Dialer{Timeout: time.Second}).DialContext(context.Background(), "tcp", to)
			if err != nil {
				_ = c.Close()
				continue
			}
			r.mu.Lock()
			r.conns = append(r.conns, c, d)
			r.mu.Unlock()
			go func() { _, _ = io.Copy(d, c); _ = d.Close() }()
			go func() { _, _ = io.Copy(c, d); _ = c.Close() }()
		}
	}()
	return r
}

// lead has new connections lead elsewhere, and cuts those that are.
func (r *road) lead(to string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.to = to
	for _, c := range r.conns {
		_ = c.Close()
	}
	r.conns = nil
}

func hostOf(t testing.TB, b *devstack.Backend) string {
	u, err := url.Parse(b.URL)
	mustOK(t, err)
	return u.Host
}

// written counts the commands that a server has run which write, by name, and its
// scripts that ran to their end.
func written(t testing.TB, c *redis.Client) map[string]string {
	t.Helper()
	info, err := c.Info(context.Background(), "commandstats").Result()
	mustOK(t, err)
	out := map[string]string{}
	for line := range strings.Lines(info) {
		name, stats, _ := strings.Cut(strings.TrimSpace(line), ":")
		switch name = strings.TrimPrefix(name, "cmdstat_"); name {
		case "set", "hset", "hdel", "rpush", "ltrim", "lset", "xadd", "del", "unlink", "hmget":
			out[name], _, _ = strings.Cut(stats, ",")
		}
	}
	return out
}

// crowd holds, pays and claims without end, and knows what was acknowledged.
type crowd struct {
	mu     sync.Mutex
	acked  map[engine.ReservationID]engine.Hold
	frozen atomic.Int64 // refusals because of the lease's server
	stop   chan struct{}
	wg     sync.WaitGroup
}

func rush(g *Gate, s *engine.Sale) *crowd {
	c := &crowd{acked: map[engine.ReservationID]engine.Hold{}, stop: make(chan struct{})}
	for w := range uint64(16) {
		c.wg.Go(func() {
			for i := w; ; i += 16 {
				select {
				case <-c.stop:
					return
				default:
				}
				h, err := g.Hold(context.Background(), s, oneUnit(i))
				if err == nil && i%4 == 0 {
					if h, err = g.BeginPayment(context.Background(), s, h.ID, fenceNo(i+1)); err == nil && i%8 == 0 {
						h, _, err = g.Claim(context.Background(), s, h.ID, fenceNo(i+1), []byte("event"))
					}
				}
				var e *engine.Error
				if errors.As(err, &e) && e.Fields["lost"] == "server" {
					c.frozen.Add(1)
				}
				if err == nil {
					c.mu.Lock()
					c.acked[h.ID] = h
					c.mu.Unlock()
				}
			}
		})
	}
	return c
}

// until waits for a condition.
func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(); <-time.After(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("in vain: ", what)
		}
	}
}

func (c *crowd) has(n int) func() bool {
	return func() bool { c.mu.Lock(); defer c.mu.Unlock(); return len(c.acked) >= n }
}

// One server holds the lease and dies under load; another process comes in its
// place, with all of its data or with less. Under the old lease not one decision
// is made there, by whatever connection; with a new one all goes on.
func TestAnotherProcessThanTheLeasesDecidesNothing(t *testing.T) {
	type replacement func() map[string]string // and what the other has written before it is met
	for name, replace := range map[string]func(t *testing.T, a *devstack.Backend) (*devstack.Backend, replacement){
		"killed and restarted on its own data": func(t *testing.T, a *devstack.Backend) (*devstack.Backend, replacement) {
			return a, func() map[string]string {
				mustOK(t, a.Kill())
				mustOK(t, a.Restart(context.Background()))
				return map[string]string{} // what it reads from its log does not count
			}
		},
		"a replica that lags behind is promoted": func(t *testing.T, a *devstack.Backend) (*devstack.Backend, replacement) {
			b := testenv.OwnRedis(t)
			c := plain(t, b)
			host, port, err := net.SplitHostPort(hostOf(t, a))
			mustOK(t, err)
			mustOK(t, c.Do(t.Context(), "REPLICAOF", host, port).Err())
			until(t, "the replica follows", func() bool {
				info, _ := c.Info(context.Background(), "replication").Result()
				return strings.Contains(info, "master_link_status:up")
			})
			return b, func() map[string]string {
				mustOK(t, b.Pause()) // from here it lags
				ca := plain(t, a)
				keys := func() string { return written(t, ca)["xadd"] }
				was := keys()
				until(t, "claims that the replica has not seen", func() bool { return keys() != was })
				mustOK(t, a.Kill())
				mustOK(t, b.Continue())
				mustOK(t, c.Do(context.Background(), "REPLICAOF", "NO", "ONE").Err())
				return written(t, c)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			a := testenv.OwnRedis(t)
			next, replace := replace(t, a)
			way := newRoad(t, hostOf(t, a))
			var heard atomic.Int64
			g := openInside(t, "redis://"+way.Addr().String(), Options{Lost: func(_ uint32, _ int, what string) {
				if what == "server" {
					heard.Add(1)
				}
			}})
			s := bigSale(1_000_000)
			s.Shards = 1
			s = lease(t, g, s, 1)
			mustOK(t, g.Create(t.Context(), s))
			c := rush(g, s)
			until(t, "holds", c.has(500))
			before := replace()
			if len(before) > 0 {
				// It has the scripts already, for the sake of another sale.
				own := openInside(t, next.URL, Options{})
				busy := lease(t, own, bigSale(10), 1)
				mustOK(t, own.Create(t.Context(), busy))
				mustOK(t, second(own.Hold(t.Context(), busy, oneUnit(1))))
				before = written(t, plain(t, next))
			}
			way.lead(hostOf(t, next))
			until(t, "the crowd meets the other server", func() bool { return c.frozen.Load() > 200 })
			close(c.stop)
			c.wg.Wait()
			if after := written(t, plain(t, next)); !maps.Equal(after, before) {
				t.Errorf("the other server ran %v, and before that %v", after, before)
			}
			if heard.Load() == 0 {
				t.Error("nobody was told that the server is another")
			}
			var e *engine.Error
			if err := g.Inspect(t.Context(), s, 0); !errors.As(err, &e) || e.Fields["lost"] != "server" {
				t.Errorf("Inspect says %v", err)
			}

			mustOK(t, g.Freeze(t.Context(), s, 0))
			var holds []engine.Hold
			for _, h := range c.acked {
				holds = append(holds, h)
			}
			again := lease(t, g, s, 2)
			mustOK(t, g.Rebuild(t.Context(), again, 0, again.Lease(0), holds))
			mustOK(t, g.Inspect(t.Context(), again, 0))
			for _, h := range holds {
				if got, err := g.Find(t.Context(), again, h.ID); err != nil || got.State != h.State {
					t.Fatalf("%+v was %+v, %v", got, h, err)
				}
			}
			mustOK(t, second(g.Hold(t.Context(), again, oneUnit(1<<40))))
			if err := second(g.Hold(t.Context(), s, oneUnit(1<<41))); engine.CodeOf(err) != engine.CodeGateFrozen {
				t.Errorf("the old lease: %v", err)
			}
		})
	}
}

// plain is a connection of a test's own.
func plain(t testing.TB, b *devstack.Backend) *redis.Client {
	t.Helper()
	o, err := redis.ParseURL(b.URL)
	mustOK(t, err)
	o.MaxRetries = 10
	c := redis.NewClient(o)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func TestAServersNameChangesWithWhatItMayHaveForgottenOnly(t *testing.T) {
	a, b := testenv.OwnRedis(t), testenv.OwnRedis(t)
	ca, cb := plain(t, a), plain(t, b)
	name := func(c *redis.Client) string {
		info, err := c.Info(t.Context()).Result()
		mustOK(t, err)
		n, err := serverName(info)
		mustOK(t, err)
		return n
	}
	follow := func(c *redis.Client, of *devstack.Backend) {
		host, port, err := net.SplitHostPort(hostOf(t, of))
		mustOK(t, err)
		mustOK(t, c.ConfigSet(t.Context(), "repl-diskless-sync-delay", "0").Err())
		mustOK(t, c.Do(t.Context(), "REPLICAOF", host, port).Err())
		until(t, "it follows", func() bool {
			info, _ := c.Info(context.Background(), "replication").Result()
			return strings.Contains(info, "master_link_status:up")
		})
	}
	first, other := name(ca), name(cb)
	if first == other {
		t.Fatal("two servers of one name")
	}
	mustOK(t, ca.Set(t.Context(), "k", "v", 0).Err())
	follow(cb, a)
	if name(ca) != first {
		t.Error("a replica that attaches changes its master's name")
	}
	if info, err := cb.Info(t.Context()).Result(); err != nil {
		t.Error(err)
	} else if _, err := serverName(info); !errors.Is(err, errReplica) {
		t.Errorf("a replica has a name: %v", err)
	}
	mustOK(t, cb.Do(t.Context(), "REPLICAOF", "NO", "ONE").Err())
	promoted := name(cb)
	if promoted == other {
		t.Error("a promoted replica has the name that it had before it took another's data")
	}
	mustOK(t, cb.Set(t.Context(), "k", "w", 0).Err())
	follow(ca, b)
	mustOK(t, ca.Do(t.Context(), "REPLICAOF", "NO", "ONE").Err())
	if name(ca) == first {
		t.Error("a master that was a replica meanwhile has its old name")
	}
	if name(cb) != promoted {
		t.Error("a replica that left changes its master's name")
	}
	mustOK(t, a.Kill())
	mustOK(t, a.Restart(t.Context()))
	if name(ca) == first {
		t.Error("a restart keeps the name")
	}
}

func TestAnOlderRedisIsRefusedByName(t *testing.T) {
	for info, want := range map[string]error{
		"redis_version:6.2.14\r\nrun_id:aa\r\nrole:master\r\n":   errOldRedis,
		"redis_version:7.0.0\r\nrun_id:aa\r\nrole:slave\r\n":     errReplica,
		"redis_version:8.2.1\r\nrun_id:aa\r\nrole:master\r\n":    nil,
		"# Clients\r\nconnected_clients:1\r\n":                   nil,
		"redis_version:unstable\r\nrun_id:aa\r\nrole:master\r\n": errOldRedis,
	} {
		if _, err := serverName(info); !errors.Is(err, want) {
			t.Errorf("%q: %v", info, err)
		}
	}
}

// A master that was a replica for a while has its scripts still, and data that may
// lack what it had acknowledged. Nobody who called it meanwhile, or who has not
// called it for a while, believes it to be what it was.
func TestAMasterThatWasAReplicaMeanwhileDecidesNothing(t *testing.T) {
	for name, idle := range map[string]bool{"called meanwhile": false, "not called for a while": true} {
		t.Run(name, func(t *testing.T) {
			a, b := testenv.OwnRedis(t), testenv.OwnRedis(t)
			g := openInside(t, a.URL, Options{})
			s := lease(t, g, bigSale(10), 1)
			mustOK(t, g.Create(t.Context(), s))
			ca, cb := plain(t, a), plain(t, b)
			mustOK(t, cb.ConfigSet(t.Context(), "repl-diskless-sync-delay", "0").Err())
			keys := []string{keysOf(s.No, 0).sale, keysOf(s.No, 0).sku} // what a lagging copy may have
			for _, k := range keys {
				dump, err := ca.Dump(t.Context(), k).Result()
				mustOK(t, err)
				mustOK(t, cb.Restore(t.Context(), k, 0, dump).Err())
			}
			mustOK(t, second(g.Hold(t.Context(), s, oneUnit(1)))) // is what it forgets
			host, port, err := net.SplitHostPort(hostOf(t, b))
			mustOK(t, err)
			mustOK(t, ca.Do(t.Context(), "REPLICAOF", host, port).Err())
			until(t, "it follows", func() bool {
				info, _ := ca.Info(context.Background(), "replication").Result()
				return strings.Contains(info, "master_link_status:up")
			})
			if idle {
				<-time.After(trustFor) // the clock's own span: nothing else to wait for
			} else if err := second(g.Hold(t.Context(), s, oneUnit(2))); engine.CodeOf(err) != engine.CodeUnavailable {
				t.Errorf("a replica says %v", err)
			}
			mustOK(t, ca.Do(t.Context(), "REPLICAOF", "NO", "ONE").Err())
			before := written(t, ca)
			for i := range uint64(20) {
				var e *engine.Error
				if err := second(g.Hold(t.Context(), s, oneUnit(3+i))); !errors.As(err, &e) || e.Fields["lost"] != "server" {
					t.Fatalf("the master that was a replica says %v", err)
				}
			}
			if after := written(t, ca); !maps.Equal(after, before) {
				t.Errorf("it ran %v, before that %v", after, before)
			}
		})
	}
}
