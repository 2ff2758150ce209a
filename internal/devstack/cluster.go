package devstack

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
	"golang.org/x/sync/errgroup"
)

// The shape of a cluster: nodes 0 to 2 begin as masters, 3 to 5 as the replica
// of the node three before it. After a failover it is the cluster that knows.
const (
	clusterMasters = 3
	clusterNodes   = 2 * clusterMasters
	clusterSlots   = 16384
	// clusterPatience is when a node that does not answer is failed over. Below a
	// second, a machine under test load fails over what is alive.
	clusterPatience = 2 * time.Second
)

// RedisCluster is a Redis Cluster of six processes on loopback.
type RedisCluster struct {
	// URL names every node: redis://host:port?addr=host:port&addr=…
	URL string
	// Nodes are the processes, to kill, pause and restart one by one.
	Nodes []*Backend

	lock   *os.File
	remove string
}

// StartRedisCluster brings up a cluster in about a second and returns when every
// node agrees that it serves all slots. On error nothing is left running. Of opt
// it uses DataDir, Ephemeral, Log and Redis.Fast; like every child its processes
// die with this one.
func StartRedisCluster(ctx context.Context, opt Options) (*RedisCluster, error) {
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	path, err := exec.LookPath("redis-server")
	if err != nil {
		return nil, fmt.Errorf("devstack: %s (%w)", redisMissing, err)
	}
	dir, err := openDataDir(&opt)
	if err != nil {
		return nil, err
	}
	c := &RedisCluster{lock: dir.lock}
	if dir.remove {
		c.remove = dir.dataDir
	}
	g, gctx := errgroup.WithContext(ctx)
	for i := range clusterNodes {
		b, err := newRedisServer(opt, path, redisNode{name: "redis-" + strconv.Itoa(i), cluster: true})
		if err != nil {
			return nil, errors.Join(err, c.Close())
		}
		c.Nodes = append(c.Nodes, b)
		g.Go(func() error { return b.start(gctx) })
	}
	err = g.Wait()
	if err == nil {
		err = c.form(ctx)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("devstack: redis cluster: %w", err), c.Close())
	}
	c.URL = "redis://" + c.addr(0) + "?"
	for i := 1; i < clusterNodes; i++ {
		c.URL += "addr=" + c.addr(i) + "&"
	}
	c.URL = strings.TrimSuffix(c.URL, "&")
	return c, nil
}

// Patience says after how long a node that does not answer is failed over: 2 s at
// first, and again after a restart of the node. Every node must be up.
func (c *RedisCluster) Patience(ctx context.Context, d time.Duration) error {
	for i := range c.Nodes {
		node := c.client(i)
		err := node.ConfigSet(ctx, "cluster-node-timeout", strconv.FormatInt(d.Milliseconds(), 10)).Err()
		if err = errors.Join(err, node.Close()); err != nil {
			return fmt.Errorf("devstack: redis cluster: node %d: %w", i, err)
		}
	}
	return nil
}

// client speaks to one node alone.
func (c *RedisCluster) client(i int) *redis.Client {
	return redis.NewClient(&redis.Options{Addr: c.addr(i), MaxRetries: -1, DisableIdentity: true,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}})
}

// addr is a node's host:port.
func (c *RedisCluster) addr(i int) string {
	return strings.TrimSuffix(strings.TrimPrefix(c.Nodes[i].URL, "redis://"), "/0")
}

// form makes a cluster of the nodes, unless they have been one before.
func (c *RedisCluster) form(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	node := make([]*redis.Client, clusterNodes)
	ids := make([]string, clusterNodes)
	for i := range node {
		node[i] = c.client(i)
		defer func() { _ = node[i].Close() }()
		var err error
		if ids[i], err = node[i].ClusterMyID(ctx).Result(); err != nil {
			return err
		}
	}
	info, err := node[0].ClusterInfo(ctx).Result()
	if err != nil {
		return err
	}
	if strings.Contains(info, "cluster_slots_assigned:0") {
		if err := c.introduce(ctx, node, ids); err != nil {
			return err
		}
	}
	return waitHealthy(ctx, func(ctx context.Context) error {
		for i := range node {
			if info, err := node[i].ClusterInfo(ctx).Result(); err != nil || !strings.Contains(info, "cluster_state:ok") {
				return fmt.Errorf("node %d is not in a cluster that serves: %w", i, err)
			}
			list, err := node[i].ClusterNodes(ctx).Result()
			if err != nil || strings.Count(list, "slave") != clusterNodes-clusterMasters {
				return fmt.Errorf("node %d does not see every replica: %w", i, err)
			}
			if role, err := node[i].Info(ctx, "replication").Result(); err != nil || strings.Contains(role, "master_link_status:down") {
				return fmt.Errorf("replica %d has not caught up: %w", i, err)
			}
		}
		return nil
	})
}

func (c *RedisCluster) introduce(ctx context.Context, node []*redis.Client, ids []string) error {
	for i := range clusterMasters {
		first, last := i*clusterSlots/clusterMasters, (i+1)*clusterSlots/clusterMasters-1
		if err := node[i].ClusterAddSlotsRange(ctx, first, last).Err(); err != nil {
			return err
		}
		// Different epochs from the start spare the masters an argument.
		if err := node[i].Do(ctx, "CLUSTER", "SET-CONFIG-EPOCH", i+1).Err(); err != nil {
			return err
		}
	}
	host := func(i int) (ip, port, bus string, err error) {
		ip, port, _ = strings.Cut(c.addr(i), ":")
		v, err := node[i].ConfigGet(ctx, "cluster-port").Result()
		return ip, port, v["cluster-port"], err
	}
	ip, port, bus, err := host(0)
	if err != nil {
		return err
	}
	for i := 1; i < clusterNodes; i++ {
		if err := node[i].Do(ctx, "CLUSTER", "MEET", ip, port, bus).Err(); err != nil {
			return err
		}
	}
	for i := clusterMasters; i < clusterNodes; i++ {
		err := waitHealthy(ctx, func(ctx context.Context) error { // until it has heard of its master
			return node[i].ClusterReplicate(ctx, ids[i-clusterMasters]).Err()
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// Close stops every node and waits for it.
func (c *RedisCluster) Close() error {
	var g errgroup.Group
	for _, b := range c.Nodes {
		g.Go(b.close)
	}
	err := g.Wait()
	if c.remove != "" {
		err = errors.Join(err, os.RemoveAll(filepath.Clean(c.remove)))
	}
	if c.lock != nil {
		err = errors.Join(err, c.lock.Close())
	}
	return err
}
