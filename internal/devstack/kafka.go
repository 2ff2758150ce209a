package devstack

import (
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// KafkaVersion is the Apache Kafka that scripts/kafka/pom.xml fetches.
const KafkaVersion = "4.1.1"

const (
	kafkaMissing = "the jars of Apache Kafka " + KafkaVersion + " are not there: run `make deps`, or set FLASHSALE_KAFKA_LIBS to the libs folder of a Kafka"
	javaMissing  = "java is not installed: run `make deps`, or install a Java 17 (or newer) runtime"
)

func newKafka(opt Options) (*Backend, error) {
	switch opt.Kafka.Mode {
	case External:
		brokers := SplitBrokers(opt.Kafka.URL)
		if len(brokers) == 0 {
			return nil, errors.New("devstack: kafka: the URL names no broker")
		}
		check := func(ctx context.Context) error { _, err := kafkaCluster(ctx, brokers...); return err }
		return &Backend{URL: strings.Join(brokers, ","), Kind: "external", Mode: External, Durable: true, driver: external{"kafka", check}}, nil
	case Child:
		return newKafkaServer(opt)
	}
	return newKfake(opt), nil
}

// SplitBrokers turns Backend.URL of a Kafka into seed brokers.
func SplitBrokers(url string) []string {
	return strings.FieldsFunc(url, func(r rune) bool { return r == ',' || r == ' ' })
}

// kafkaLibs finds the folder with Kafka's jars: the one named by the environment,
// or the cache that scripts/deps.sh fills.
func kafkaLibs() (string, error) {
	dir := os.Getenv("FLASHSALE_KAFKA_LIBS")
	if dir == "" {
		cache := os.Getenv("XDG_CACHE_HOME")
		if cache == "" {
			home, err := os.UserHomeDir()
			if err != nil {
				return "", fmt.Errorf("%s (%w)", kafkaMissing, err)
			}
			cache = filepath.Join(home, ".cache")
		}
		dir = filepath.Join(cache, "flashsale", "kafka-"+KafkaVersion)
	}
	if jars, _ := filepath.Glob(filepath.Join(dir, "kafka_2.13-*.jar")); len(jars) == 0 {
		return "", fmt.Errorf("%s (looked in %s)", kafkaMissing, dir)
	}
	return dir, nil
}

func newKafkaServer(opt Options) (*Backend, error) {
	java, err := exec.LookPath("java")
	if err != nil {
		return nil, fmt.Errorf("devstack: kafka: %s (%w)", javaMissing, err)
	}
	libs, err := kafkaLibs()
	if err != nil {
		return nil, fmt.Errorf("devstack: kafka: %w", err)
	}
	s, err := newServer(opt, "kafka")
	if err != nil {
		return nil, err
	}
	b := &Backend{
		Kind: "child apache kafka " + KafkaVersion, Mode: Child, Durable: true, Dir: s.dir, driver: s,
		Note: "one broker, no replica: records survive its death, the last ones not that of the machine",
	}
	properties := filepath.Join(s.dir, "server.properties")
	run := func(args ...string) command {
		// C1 only and the serial collector: the JVM is up in half the time on a
		// small machine, and a development broker never gets warm enough to miss C2.
		jvm := []string{"-Xmx512m", "-XX:-UsePerfData", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Dlog4j2.level=WARN", "-cp", filepath.Join(libs, "*")}
		return command{path: java, args: append(jvm, args...), dir: s.data, logPath: filepath.Join(s.dir, "format.log")}
	}
	var cluster string
	s.nports, s.stopSig, s.ready = 2, stopSignal(opt, syscall.SIGTERM), 90*time.Second
	s.prepare = func(ctx context.Context) (err error) {
		cluster, err = formatKafka(ctx, s.data, properties, run)
		return err
	}
	s.command = func([]int) command { return run("kafka.Kafka", properties) }
	s.configure = func(ports []int) error {
		return os.WriteFile(properties, []byte(kafkaProperties(s.data, ports, opt.Kafka.Advertise)), 0o600)
	}
	s.check = func(ctx context.Context, _ int, ports []int) error {
		id, err := kafkaCluster(ctx, loopback(ports[0]))
		if err != nil {
			return err
		}
		if id != cluster {
			return fmt.Errorf("port %d answers, but as cluster %s instead of %s", ports[0], id, cluster)
		}
		b.settle(loopback(ports[0]), b.Kind)
		return nil
	}
	if opt.Ephemeral {
		b.remove = func() error { return os.RemoveAll(s.dir) }
	}
	return b, nil
}

// formatKafka gives new storage its cluster id, or reads the one it has.
func formatKafka(ctx context.Context, data, properties string, run func(...string) command) (string, error) {
	meta := filepath.Join(data, "meta.properties")
	if text, err := os.ReadFile(meta); err == nil {
		for line := range strings.Lines(string(text)) {
			if id, ok := strings.CutPrefix(line, "cluster.id="); ok {
				return strings.TrimSpace(id), nil
			}
		}
		return "", fmt.Errorf("%s names no cluster.id: the storage is damaged, remove %s to start empty", meta, data)
	}
	// Formatting needs a valid configuration, but the ports in it don't matter yet.
	if err := os.WriteFile(properties, []byte(kafkaProperties(data, []int{firstPort, firstPort + 1}, "")), 0o600); err != nil {
		return "", err
	}
	id := newClusterID()
	if err := runToEnd(ctx, run("kafka.tools.StorageTool", "format", "-t", id, "-c", properties)); err != nil {
		return "", fmt.Errorf("format the storage: %w", err)
	}
	return id, nil
}

// newClusterID makes what `kafka-storage random-uuid` makes, without a JVM: a
// UUID in URL-safe base64, which must not begin with a dash.
func newClusterID() string {
	for {
		u := uuid.New()
		if id := base64.RawURLEncoding.EncodeToString(u[:]); id[0] != '-' {
			return id
		}
	}
}

func kafkaProperties(data string, ports []int, advertise string) string {
	broker, controller := loopback(ports[0]), loopback(ports[1])
	return strings.Join([]string{
		"process.roles=broker,controller",
		"node.id=1",
		"controller.quorum.voters=1@" + controller,
		"listeners=PLAINTEXT://" + broker + ",CONTROLLER://" + controller,
		"advertised.listeners=PLAINTEXT://" + cmp.Or(advertise, broker),
		"controller.listener.names=CONTROLLER",
		"listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
		"inter.broker.listener.name=PLAINTEXT",
		"log.dirs=" + data,
		// One broker: internal topics have one copy, and few partitions, because
		// creating the usual 50 is most of the wait of a first consumer group.
		"offsets.topic.replication.factor=1",
		"offsets.topic.num.partitions=4",
		"transaction.state.log.replication.factor=1",
		"transaction.state.log.min.isr=1",
		"transaction.state.log.num.partitions=4",
		"share.coordinator.state.topic.replication.factor=1",
		"share.coordinator.state.topic.min.isr=1",
		"group.initial.rebalance.delay.ms=0",
		// A broker killed and restarted may not register again before its old
		// session has run out: 9 s by default.
		"broker.session.timeout.ms=2000",
		"broker.heartbeat.interval.ms=400",
		"",
	}, "\n")
}

// kafkaCluster asks for metadata and returns the cluster id, once there is a
// broker that may be produced to.
func kafkaCluster(ctx context.Context, brokers ...string) (string, error) {
	// The overhead bounds the wait for the first answer on a new connection, which
	// minds neither ctx nor DialTimeout: a mute port would hold us for 10 s.
	cl, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.RequestRetries(0),
		kgo.DialTimeout(time.Second), kgo.RequestTimeoutOverhead(time.Second))
	if err != nil {
		return "", err
	}
	defer cl.Close()
	req := kmsg.NewPtrMetadataRequest()
	req.Topics = []kmsg.MetadataRequestTopic{}
	resp, err := req.RequestWith(ctx, cl)
	if err != nil {
		return "", fmt.Errorf("kafka at %s: %w", strings.Join(brokers, ","), err)
	}
	if len(resp.Brokers) == 0 || resp.ClusterID == nil {
		return "", errors.New("kafka answers, but has no broker yet")
	}
	return *resp.ClusterID, nil
}
