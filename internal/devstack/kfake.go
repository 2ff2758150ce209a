package devstack

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"github.com/twmb/franz-go/pkg/kfake"
)

// embeddedKafka drives franz-go's kfake in this process, with its log on disk.
// It knows groups, transactions and idempotent producers; it doesn't model
// replication.
type embeddedKafka struct {
	b    *Backend
	dir  string
	port int
	c    *kfake.Cluster
}

func newKfake(opt Options) *Backend {
	dir := filepath.Join(opt.DataDir, "kafka", "kfake")
	b := &Backend{
		Kind: "embedded kfake", Mode: Embedded, Durable: true, Dir: filepath.Dir(dir),
		Note: "a stand-in for Kafka, for trying things out: records survive the death of this process, not that of the machine",
	}
	b.driver = &embeddedKafka{b: b, dir: dir}
	if opt.Ephemeral {
		b.remove = func() error { return os.RemoveAll(b.Dir) }
	}
	return b
}

func (e *embeddedKafka) start(ctx context.Context) (err error) {
	if e.c != nil {
		return nil
	}
	if err := os.MkdirAll(e.dir, 0o700); err != nil {
		return fmt.Errorf("devstack: embedded kafka: %w", err)
	}
	for range startAttempts {
		port := e.port
		if port == 0 {
			ports, err := freePorts(1)
			if err != nil {
				return fmt.Errorf("devstack: embedded kafka: %w", err)
			}
			port = ports[0]
		}
		// Topics as on a real broker: made on demand only for a client that asks for it.
		e.c, err = kfake.NewCluster(kfake.NumBrokers(1), kfake.Ports(port), kfake.DataDir(e.dir),
			kfake.AllowAutoTopicCreation(), kfake.DefaultNumPartitions(1))
		if err == nil {
			e.port = port
			e.b.settle(loopback(port), e.b.Kind)
			break
		}
		e.c = nil
	}
	if err != nil {
		return fmt.Errorf("devstack: embedded kafka: %w", err)
	}
	return waitHealthy(ctx, func(ctx context.Context) error {
		_, _, err := kafkaMetadata(ctx, e.b.URL)
		return err
	})
}

func (e *embeddedKafka) stop() error {
	if e.c != nil {
		e.c.Close()
		e.c = nil
	}
	return nil
}

// kill can't be told from stop for something that lives in our own process.
func (e *embeddedKafka) kill() error               { return ErrUnsupported }
func (*embeddedKafka) signal(syscall.Signal) error { return ErrUnsupported }
