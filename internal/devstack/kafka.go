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
	"slices"
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
		check := func(ctx context.Context) error { _, _, err := kafkaMetadata(ctx, brokers...); return err }
		return &Backend{URL: strings.Join(brokers, ","), Kind: "external", Mode: External, Durable: true, driver: external{"kafka", check}}, nil
	case Child:
		if opt.Kafka.Brokers > 1 {
			return newKafkaCluster(opt)
		}
		return newKafkaServer(opt, kafkaNode{dir: "kafka", id: 1, advertise: opt.Kafka.Advertise})
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

// kafkaNode is one broker, alone or of a cluster.
type kafkaNode struct {
	dir       string // below the data directory
	id        int    // from 1
	advertise string
	cluster   *kafkaCluster // nil: alone
}

func newKafkaServer(opt Options, n kafkaNode) (*Backend, error) {
	java, err := exec.LookPath("java")
	if err != nil {
		return nil, fmt.Errorf("devstack: kafka: %s (%w)", javaMissing, err)
	}
	libs, err := kafkaLibs()
	if err != nil {
		return nil, fmt.Errorf("devstack: kafka: %w", err)
	}
	s, err := newServer(opt, n.dir)
	if err != nil {
		return nil, err
	}
	b := &Backend{
		Kind: "child apache kafka " + KafkaVersion, Mode: Child, Durable: true, Dir: s.dir, driver: s,
		Note: "one broker, no replica: records survive its death, the last ones not that of the machine",
	}
	heap := "-Xmx512m"
	s.nports, s.stopSig, s.ready = 2, stopSignal(opt, syscall.SIGTERM), 2*time.Minute
	if n.cluster != nil {
		heap, s.nports, s.pick = "-Xmx256m", kafkaPorts, n.cluster.portsOf(n.id)
	}
	properties := filepath.Join(s.dir, "server.properties")
	run := func(args ...string) command {
		// C1 only and the serial collector: the JVM is up in half the time on a
		// small machine, and a development broker never gets warm enough to miss C2.
		jvm := []string{heap, "-XX:-UsePerfData", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Dlog4j2.level=WARN", "-cp", filepath.Join(libs, "*")}
		return command{path: java, args: append(jvm, args...), dir: s.data, logPath: filepath.Join(s.dir, "format.log")}
	}
	configure := func(ports []int) error {
		return os.WriteFile(properties, []byte(kafkaProperties(s.data, ports, n)), 0o600)
	}
	var cluster string
	s.prepare = func(ctx context.Context) (err error) {
		if cluster, err = kafkaClusterID(s.data); cluster != "" || err != nil {
			return err
		}
		// Formatting needs a valid configuration, but the ports in it don't matter yet.
		if err := configure([]int{firstPort, firstPort + 1, firstPort + 2}); err != nil {
			return err
		}
		cluster = newClusterID()
		if n.cluster != nil {
			cluster = n.cluster.id
		}
		if err := runToEnd(ctx, run("kafka.tools.StorageTool", "format", "-t", cluster, "-c", properties)); err != nil {
			return fmt.Errorf("format the storage: %w", err)
		}
		return nil
	}
	s.command = func([]int) command { return run("kafka.Kafka", properties) }
	s.configure = configure
	s.check = func(ctx context.Context, _ int, ports []int) error {
		id, brokers, err := kafkaMetadata(ctx, loopback(ports[0]))
		if err != nil {
			return err
		}
		if id != cluster || !slices.Contains(brokers, int32(n.id)) {
			return fmt.Errorf("port %d answers, but as cluster %s with brokers %v instead of broker %d of %s", ports[0], id, brokers, n.id, cluster)
		}
		b.settle(loopback(ports[0]), b.Kind)
		return nil
	}
	if opt.Ephemeral {
		b.remove = func() error { return os.RemoveAll(s.dir) }
	}
	return b, nil
}

// kafkaClusterID reads the cluster that a storage belongs to; "" if it is new.
func kafkaClusterID(data string) (string, error) {
	meta := filepath.Join(data, "meta.properties")
	text, err := os.ReadFile(meta)
	if err != nil {
		return "", nil //nolint:nilerr // not there: it is new
	}
	for line := range strings.Lines(string(text)) {
		if id, ok := strings.CutPrefix(line, "cluster.id="); ok {
			return strings.TrimSpace(id), nil
		}
	}
	return "", fmt.Errorf("%s names no cluster.id: the storage is damaged, remove %s to start empty", meta, data)
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

func kafkaProperties(data string, ports []int, n kafkaNode) string {
	broker, controller := loopback(ports[0]), loopback(ports[1])
	voters, copies, enough := "1@"+controller, 1, 1
	listeners, internal := "PLAINTEXT://"+broker+",CONTROLLER://"+controller, "PLAINTEXT"
	advertised := "PLAINTEXT://" + cmp.Or(n.advertise, broker)
	if n.cluster != nil {
		// Brokers copy from each other past whatever stands between them and clients.
		internal, voters, copies, enough = "INTERNAL", n.cluster.voters(), KafkaBrokers, KafkaBrokers-1
		between := ",INTERNAL://" + loopback(ports[len(ports)-1])
		listeners, advertised = listeners+between, advertised+between
	}
	return strings.Join([]string{
		"process.roles=broker,controller",
		fmt.Sprintf("node.id=%d", n.id),
		"controller.quorum.voters=" + voters,
		"listeners=" + listeners,
		"advertised.listeners=" + advertised,
		"controller.listener.names=CONTROLLER",
		"listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,INTERNAL:PLAINTEXT",
		"inter.broker.listener.name=" + internal,
		"log.dirs=" + data,
		fmt.Sprintf("default.replication.factor=%d", copies),
		fmt.Sprintf("min.insync.replicas=%d", enough),
		// Internal topics have few partitions, because creating the usual 50 is most
		// of the wait of a first consumer group.
		fmt.Sprintf("offsets.topic.replication.factor=%d", copies),
		"offsets.topic.num.partitions=4",
		fmt.Sprintf("transaction.state.log.replication.factor=%d", copies),
		fmt.Sprintf("transaction.state.log.min.isr=%d", enough),
		"transaction.state.log.num.partitions=4",
		fmt.Sprintf("share.coordinator.state.topic.replication.factor=%d", copies),
		fmt.Sprintf("share.coordinator.state.topic.min.isr=%d", enough),
		"group.initial.rebalance.delay.ms=0",
		// A broker killed and restarted may not register again before its old
		// session has run out: 9 s by default.
		"broker.session.timeout.ms=2000",
		"broker.heartbeat.interval.ms=400",
		"",
	}, "\n")
}

// kafkaMetadata gives the cluster's id and its brokers, once there is one that
// may be produced to.
func kafkaMetadata(ctx context.Context, seeds ...string) (id string, brokers []int32, err error) {
	// The overhead bounds the wait for the first answer on a new connection, which
	// minds neither ctx nor DialTimeout: a mute port would hold us for 10 s.
	cl, err := kgo.NewClient(kgo.SeedBrokers(seeds...), kgo.RequestRetries(0),
		kgo.DialTimeout(time.Second), kgo.RequestTimeoutOverhead(time.Second))
	if err != nil {
		return "", nil, err
	}
	defer cl.Close()
	req := kmsg.NewPtrMetadataRequest()
	req.Topics = []kmsg.MetadataRequestTopic{}
	resp, err := req.RequestWith(ctx, cl)
	if err != nil {
		return "", nil, fmt.Errorf("kafka at %s: %w", strings.Join(seeds, ","), err)
	}
	if len(resp.Brokers) == 0 || resp.ClusterID == nil {
		return "", nil, errors.New("kafka answers, but has no broker yet")
	}
	for _, b := range resp.Brokers {
		brokers = append(brokers, b.NodeID)
	}
	return *resp.ClusterID, brokers, nil
}
