package orders

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// EnsureTopic makes the topic if it is not there. One that is keeps its
// partitions and settings. With three replicas or more, whether that is said here
// or is the broker's default (-1), a write needs two of them, unless the broker
// asks for more.
func EnsureTopic(ctx context.Context, brokers []string, topic string, partitions, replication int, opts ...kgo.Opt) error {
	if topic == "" {
		topic = DefaultTopic
	}
	client, err := kgo.NewClient(append(clientOptions(brokers), opts...)...)
	if err != nil {
		return fmt.Errorf("orders: Kafka client: %w", err)
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	would, err := wouldBe(ctx, admin, topic, partitions, replication)
	if err == nil {
		settings := map[string]*string{}
		if would.replicas >= 3 && would.needed < 2 {
			settings[minInsync] = kadm.StringPtr("2")
		}
		_, err = admin.CreateTopic(ctx, int32(partitions), int16(replication), settings, topic)
	}
	if err != nil && !errors.Is(err, kerr.TopicAlreadyExists) {
		return fmt.Errorf("orders: create topic %s: %w", topic, err)
	}
	return nil
}

// Settings of a topic on which acks=all rests.
const (
	minInsync = "min.insync.replicas"
	unclean   = "unclean.leader.election.enable"
)

// safety is how well a topic keeps what it acknowledged.
type safety struct {
	replicas int  // of its partitions, the fewest
	needed   int  // how many must have a record before it is acknowledged; 0: not known
	unclean  bool // one that was not in sync may come to lead
}

func (s *safety) set(name, value string) {
	switch name {
	case minInsync:
		s.needed, _ = strconv.Atoi(value) // 0: not known
	case unclean:
		s.unclean = value == "true"
	}
}

// wouldBe asks what the broker would make of a topic, and makes none. The error is
// kerr.TopicAlreadyExists if there is one.
func wouldBe(ctx context.Context, admin *kadm.Client, topic string, partitions, replication int) (s safety, err error) {
	all, err := admin.ValidateCreateTopics(ctx, int32(partitions), int16(replication), nil, topic)
	if err != nil {
		return s, err
	}
	made, err := all.On(topic, nil)
	if err == nil {
		err = made.Err
	}
	// The message says which setting, where the error alone names a rule.
	if err != nil && made.ErrMessage != "" {
		err = fmt.Errorf("%w: %s", err, made.ErrMessage)
	}
	s.replicas = int(made.ReplicationFactor)
	for name, c := range made.Configs {
		s.set(name, c.MaybeValue())
	}
	return s, err
}

// is asks how a topic that is there was made.
func is(ctx context.Context, admin *kadm.Client, topic string) (s safety, err error) {
	topics, err := admin.ListTopics(ctx, topic)
	if err == nil {
		err = topics.Error()
	}
	if err != nil {
		return s, err
	}
	for _, p := range topics[topic].Partitions {
		if n := len(p.Replicas); s.replicas == 0 || n < s.replicas {
			s.replicas = n
		}
	}
	all, err := admin.DescribeTopicConfigs(ctx, topic)
	if err != nil {
		return s, err
	}
	c, err := all.On(topic, nil)
	if err == nil {
		err = c.Err
	}
	for _, c := range c.Configs {
		s.set(c.Key, c.MaybeValue())
	}
	return s, err
}

// Unfit lists what of the topic, as it is or as EnsureTopic would make it, may
// cost events that Kafka acknowledged, or keep it from acknowledging any, each in
// a sentence; none: nothing was found.
func Unfit(ctx context.Context, brokers []string, topic string, partitions, replication int, opts ...kgo.Opt) ([]string, error) {
	if topic == "" {
		topic = DefaultTopic
	}
	client, err := kgo.NewClient(append(clientOptions(brokers), opts...)...)
	if err != nil {
		return nil, fmt.Errorf("orders: Kafka client: %w", err)
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	s, err := wouldBe(ctx, admin, topic, partitions, replication)
	switch {
	case errors.Is(err, kerr.TopicAlreadyExists):
		if s, err = is(ctx, admin, topic); err != nil {
			return nil, fmt.Errorf("orders: topic %s: %w", topic, err)
		}
	case err != nil:
		return []string{fmt.Sprintf("topic %s cannot be made: %v", topic, err)}, nil
	case s.replicas >= 3 && s.needed < 2:
		s.needed = 2
	}
	return s.unfit(topic), nil
}

func (s safety) unfit(topic string) (out []string) {
	switch {
	case s.replicas <= 0 || s.needed <= 0:
		out = append(out, fmt.Sprintf("Kafka does not show how topic %s is made; see to replication factor 3 and %s=2", topic, minInsync))
	case s.replicas == 1:
		out = append(out, fmt.Sprintf("topic %s has 1 replica: nothing is published while its broker is away, and what it acknowledged is lost with its disk; use 3 brokers, replication factor 3 and %s=2", topic, minInsync))
	case s.needed < 2:
		out = append(out, fmt.Sprintf("topic %s: %s=%d: a single broker may acknowledge what is lost with it; set 2", topic, minInsync, s.needed))
	case s.needed >= s.replicas:
		out = append(out, fmt.Sprintf("topic %s: %s=%d of %d replicas: nothing is published while a single broker is away", topic, minInsync, s.needed, s.replicas))
	}
	if s.unclean {
		out = append(out, fmt.Sprintf("topic %s: %s=true: a broker that has not all events may come to lead, and the others forget them; set false", topic, unclean))
	}
	return out
}

// Refused says that Kafka will have none of who asks, whenever they ask: rights
// that are missing, or a topic that cannot be.
func Refused(err error) bool {
	for _, no := range []error{kerr.TopicAuthorizationFailed, kerr.ClusterAuthorizationFailed, kerr.SaslAuthenticationFailed, kerr.InvalidTopicException, kerr.InvalidPartitions, kerr.InvalidConfig, kerr.PolicyViolation} {
		if errors.Is(err, no) {
			return true
		}
	}
	return false
}

// Ping says whether a broker answers.
func Ping(ctx context.Context, brokers []string, opts ...kgo.Opt) error {
	client, err := kgo.NewClient(append(clientOptions(brokers), opts...)...)
	if err != nil {
		return fmt.Errorf("orders: Kafka client: %w", err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	return client.Ping(ctx)
}
