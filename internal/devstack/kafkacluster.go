package devstack

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
)

// KafkaBrokers is how many brokers a Kafka cluster has here: the fewest of which
// one can die without a word that was acknowledged being lost, or writes refused.
const KafkaBrokers = 3

// kafkaPorts is how many each has: for clients, for the controllers' quorum, and
// for the other brokers.
const kafkaPorts = 3

// kafkaCluster drives brokers that are all controllers too, so that one of three
// may die. Each has a server of its own; together they are one Backend.
type kafkaCluster struct {
	id      string // new storage is formatted with it
	members []*Backend
	ports   [][]int // of each member, fixed after the first successful start
	picked  []bool  // whose ports were given away
}

func newKafkaCluster(opt Options) (*Backend, error) {
	advertise := make([]string, KafkaBrokers)
	if opt.Kafka.Advertise != "" {
		advertise = strings.Split(opt.Kafka.Advertise, ",")
	}
	if len(advertise) != KafkaBrokers {
		return nil, fmt.Errorf("devstack: kafka: %d addresses to advertise for %d brokers", len(advertise), KafkaBrokers)
	}
	c := &kafkaCluster{picked: make([]bool, KafkaBrokers)}
	b := &Backend{
		Kind: fmt.Sprintf("child apache kafka %s, %d brokers", KafkaVersion, KafkaBrokers), Mode: Child, Durable: true, Dir: filepath.Join(opt.DataDir, "kafka"),
		Note: "acknowledged records survive the death of a broker, and of all their processes; they are on one machine all the same",
	}
	for i := range KafkaBrokers {
		m, err := newKafkaServer(opt, kafkaNode{dir: filepath.Join("kafka", strconv.Itoa(i+1)), id: i + 1, advertise: advertise[i], cluster: c})
		if err != nil {
			return nil, err
		}
		m.Note = ""
		id, err := kafkaClusterID(m.dataDir()) // one that a former run formatted
		if err != nil {
			return nil, fmt.Errorf("devstack: kafka: %w", err)
		}
		c.id, c.members = cmp.Or(c.id, id), append(c.members, m)
	}
	c.id = cmp.Or(c.id, newClusterID())
	b.driver, b.Members = clusterDriver{c, b}, c.members
	if opt.Ephemeral {
		b.remove = func() error { return os.RemoveAll(b.Dir) }
	}
	return b, nil
}

// voters is the quorum, as every member is told of it.
func (c *kafkaCluster) voters() string {
	all := make([]string, KafkaBrokers)
	for i := range all {
		all[i] = strconv.Itoa(i+1) + "@" + loopback(c.ports[i][1])
	}
	return strings.Join(all, ",")
}

// errPortTaken: all members know each other's ports, so one of them cannot take another alone.
var errPortTaken = errors.New("somebody else was faster to take a port of the cluster")

// portsOf gives a member the ports that the others know of, once.
func (c *kafkaCluster) portsOf(id int) func(int) ([]int, error) {
	return func(int) ([]int, error) {
		if c.picked[id-1] {
			return nil, errPortTaken
		}
		c.picked[id-1] = true
		return c.ports[id-1], nil
	}
}

// pick takes new ports for all.
func (c *kafkaCluster) pick() error {
	ports, err := freePorts(KafkaBrokers * kafkaPorts)
	if err != nil {
		return err
	}
	c.ports = nil
	for i, m := range c.members {
		c.ports = append(c.ports, ports[i*kafkaPorts:(i+1)*kafkaPorts])
		c.picked[i] = false
		m.URL, m.driver.(*server).ports = "", nil
	}
	return nil
}

// clusterDriver is the driver of the Backend that is the whole cluster.
type clusterDriver struct {
	*kafkaCluster
	b *Backend
}

func (c clusterDriver) start(ctx context.Context) (err error) {
	first := c.b.URL == ""
	for range startAttempts {
		if first {
			if err = c.pick(); err != nil {
				return fmt.Errorf("devstack: kafka: %w", err)
			}
		}
		if err = c.each(ctx, (*Backend).start); err == nil || !first || !errors.Is(err, errPortTaken) {
			break
		}
		err = errors.Join(err, c.kill())
	}
	if err != nil {
		return errors.Join(err, c.kill())
	}
	var urls []string
	for _, m := range c.members {
		urls = append(urls, m.URL)
	}
	c.b.settle(strings.Join(urls, ","), c.b.Kind)
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	return waitHealthy(ctx, func(ctx context.Context) error {
		for _, url := range urls {
			if _, brokers, err := kafkaMetadata(ctx, url); err != nil || len(brokers) != KafkaBrokers {
				return errors.Join(fmt.Errorf("the broker at %s knows of brokers %v", url, brokers), err)
			}
		}
		return nil
	})
}

func (c clusterDriver) stop() error {
	return c.each(context.Background(), func(m *Backend, _ context.Context) error { return m.Stop() })
}

func (c clusterDriver) kill() error {
	return c.each(context.Background(), func(m *Backend, _ context.Context) error { return m.Kill() })
}

func (c clusterDriver) signal(sig syscall.Signal) error {
	return c.each(context.Background(), func(m *Backend, _ context.Context) error { return m.signal(sig) })
}

// each does it to all members side by side: one alone waits for the others, so
// what fails for one ends the wait of all.
func (c clusterDriver) each(ctx context.Context, do func(*Backend, context.Context) error) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, m := range c.members {
		g.Go(func() error { return do(m, ctx) })
	}
	return g.Wait()
}
