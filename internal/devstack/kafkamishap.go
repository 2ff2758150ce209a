package devstack

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// What can be done to a Kafka cluster beyond Kill and Pause, and asked of it.

// KafkaPartition is where a partition lives.
type KafkaPartition struct {
	Topic     string
	Partition int32
	Leader    int32 // -1: none
	Replicas  []int32
	InSync    []int32
}

// KafkaPartitions lists the partitions of all topics, Kafka's own among them.
func KafkaPartitions(ctx context.Context, url string) ([]KafkaPartition, error) {
	cl, err := kafkaClient(url)
	if err != nil {
		return nil, err
	}
	defer cl.Close()
	return kafkaPartitions(ctx, cl)
}

func kafkaClient(url string) (*kgo.Client, error) {
	cl, err := kgo.NewClient(kgo.SeedBrokers(SplitBrokers(url)...), kgo.DialTimeout(time.Second), kgo.RequestTimeoutOverhead(2*time.Second),
		kgo.MetadataMinAge(50*time.Millisecond))
	if err != nil {
		return nil, fmt.Errorf("devstack: kafka: %w", err)
	}
	return cl, nil
}

func kafkaPartitions(ctx context.Context, cl *kgo.Client) (out []KafkaPartition, err error) {
	req := kmsg.NewPtrMetadataRequest() // no topics named: all
	resp, err := req.RequestWith(ctx, cl)
	if err != nil {
		return nil, fmt.Errorf("devstack: kafka: metadata: %w", err)
	}
	for _, t := range resp.Topics {
		for _, p := range t.Partitions {
			out = append(out, KafkaPartition{*t.Topic, p.Partition, p.Leader, p.Replicas, p.ISR})
		}
	}
	return out, nil
}

// MoveKafkaLeaders has every partition led by another of its in-sync replicas: the
// list of its replicas is turned until one of those stands first, and the first is
// elected. It gives how many have moved. Nobody is stopped for it.
func MoveKafkaLeaders(ctx context.Context, url string) (moved int, err error) {
	cl, err := kafkaClient(url)
	if err != nil {
		return 0, err
	}
	defer cl.Close()
	all, err := kafkaPartitions(ctx, cl)
	if err != nil {
		return 0, err
	}
	turn, elect := kmsg.NewPtrAlterPartitionAssignmentsRequest(), kmsg.NewPtrElectLeadersRequest()
	for _, p := range all {
		order := successors(p)
		if len(order) == 0 {
			continue
		}
		to := kmsg.NewAlterPartitionAssignmentsRequestTopicPartition()
		to.Partition, to.Replicas = p.Partition, order
		if n := len(turn.Topics); n == 0 || turn.Topics[n-1].Topic != p.Topic {
			t, e := kmsg.NewAlterPartitionAssignmentsRequestTopic(), kmsg.NewElectLeadersRequestTopic()
			t.Topic, e.Topic = p.Topic, p.Topic
			turn.Topics, elect.Topics = append(turn.Topics, t), append(elect.Topics, e)
		}
		n := len(turn.Topics) - 1
		turn.Topics[n].Partitions = append(turn.Topics[n].Partitions, to)
		elect.Topics[n].Partitions = append(elect.Topics[n].Partitions, p.Partition)
	}
	if len(turn.Topics) == 0 {
		return 0, errors.New("devstack: kafka: no partition has another replica in sync")
	}
	turned, err := turn.RequestWith(ctx, cl)
	if err == nil {
		err = kerr.ErrorForCode(turned.ErrorCode)
	}
	if err != nil {
		return 0, fmt.Errorf("devstack: kafka: turn the replicas: %w", err)
	}
	elected, err := elect.RequestWith(ctx, cl)
	if err == nil {
		err = kerr.ErrorForCode(elected.ErrorCode)
	}
	if err != nil {
		return 0, fmt.Errorf("devstack: kafka: elect leaders: %w", err)
	}
	for _, t := range elected.Topics {
		for _, p := range t.Partitions {
			if p.ErrorCode == 0 {
				moved++
			}
		}
	}
	return moved, nil
}

// successors is the partition's replicas in such an order that one stands first
// which is in sync and does not lead; nil if there is none.
func successors(p KafkaPartition) []int32 {
	at := slices.Index(p.Replicas, p.Leader)
	for i := 1; i < len(p.Replicas); i++ {
		next := (at + i) % len(p.Replicas)
		if at >= 0 && slices.Contains(p.InSync, p.Replicas[next]) {
			return slices.Concat(p.Replicas[next:], p.Replicas[:next])
		}
	}
	return nil
}
