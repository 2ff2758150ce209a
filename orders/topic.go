package orders

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// EnsureTopic makes the topic if it is not there. One that is keeps its
// partitions and settings. With three replicas or more, a write needs two.
func EnsureTopic(ctx context.Context, brokers []string, topic string, partitions, replication int, opts ...kgo.Opt) error {
	if topic == "" {
		topic = DefaultTopic
	}
	client, err := kgo.NewClient(append(clientOptions(brokers), opts...)...)
	if err != nil {
		return fmt.Errorf("orders: Kafka client: %w", err)
	}
	defer client.Close()
	settings := map[string]*string{}
	if replication >= 3 {
		two := "2"
		settings["min.insync.replicas"] = &two
	}
	_, err = kadm.NewClient(client).CreateTopic(ctx, int32(partitions), int16(replication), settings, topic)
	if err != nil && !errors.Is(err, kerr.TopicAlreadyExists) {
		return fmt.Errorf("orders: create topic %s: %w", topic, err)
	}
	return nil
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
