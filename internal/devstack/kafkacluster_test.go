package devstack

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

func TestOnlyAKafkaChildHasSeveralBrokers(t *testing.T) {
	wantError(t, only("kafka", Spec{Mode: Child, Brokers: 2}), "2 brokers", "1 or 3")
	wantError(t, only("kafka", Spec{Brokers: 3}), "mode auto")
	wantError(t, only("kafka", Spec{Mode: Child, Brokers: 3, Advertise: "127.0.0.1:1"}), "1 addresses to advertise for 3 brokers")
}

// One cluster for all that is asked of it: three JVMs are dear.
func TestAKafkaClusterKeepsWhatItAcknowledgedWhenALeaderDies(t *testing.T) {
	t.Parallel()
	ctx := withTimeout(t, 2*time.Minute)
	b := startStack(t, withDir(t, only("kafka", Spec{Mode: Child, Brokers: KafkaBrokers}))).Kafka
	if len(b.Members) != KafkaBrokers || len(SplitBrokers(b.URL)) != KafkaBrokers {
		t.Fatalf("%d members at %s", len(b.Members), b.URL)
	}
	cl, err := kgo.NewClient(kgo.SeedBrokers(SplitBrokers(b.URL)...))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	const topic = "kept"
	if _, err := kadm.NewClient(cl).CreateTopic(ctx, 1, -1, nil, topic); err != nil {
		t.Fatal(err)
	}
	before := placeOf(ctx, t, b.URL, topic, func(p KafkaPartition) bool { return len(p.InSync) == KafkaBrokers })

	// Nobody dies: another leads all the same.
	if n, err := MoveKafkaLeaders(ctx, b.URL); err != nil || n == 0 {
		t.Fatalf("%d leaders moved, %v", n, err)
	}
	led := placeOf(ctx, t, b.URL, topic, func(p KafkaPartition) bool { return p.Leader >= 0 && p.Leader != before.Leader })

	write := func(ctx context.Context, value string) error { return WriteKafka(ctx, b.URL, topic, 0, value) }
	if err := write(ctx, "first"); err != nil {
		t.Fatal(err)
	}
	killed := time.Now()
	if err := b.Members[led.Leader-1].Kill(); err != nil {
		t.Fatal(err)
	}
	after := placeOf(ctx, t, b.URL, topic, func(p KafkaPartition) bool { return p.Leader >= 0 && p.Leader != led.Leader })
	t.Logf("broker %d leads %v after broker %d was killed", after.Leader, time.Since(killed).Round(time.Millisecond), led.Leader)
	if err := write(ctx, "second"); err != nil {
		t.Errorf("with one of three away: %v", err)
	}

	// Two are away: what the third takes alone is not acknowledged.
	other := slices.IndexFunc(b.Members, func(m *Backend) bool { return m != b.Members[after.Leader-1] && m != b.Members[led.Leader-1] })
	if err := b.Members[other].Pause(); err != nil {
		t.Fatal(err)
	}
	if err := write(withTimeout(t, 1500*time.Millisecond), "third"); err == nil || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("with two of three away: %v; want no answer", err)
	}
	if err := errors.Join(b.Members[other].Continue(), b.Members[led.Leader-1].Restart(ctx)); err != nil {
		t.Fatal(err)
	}
	if err := write(ctx, "fourth"); err != nil {
		t.Errorf("with all back: %v", err)
	}
	got, err := kafkaGet(ctx, b.URL)
	values := strings.Split(got, ",")
	if err != nil || !strings.HasPrefix(got, "first,second,") || !slices.Contains(values, "fourth") {
		t.Errorf("read %q, %v; want every record that was acknowledged", got, err)
	}
}

// placeOf waits until the partition is as asked.
func placeOf(ctx context.Context, t *testing.T, url, topic string, as func(KafkaPartition) bool) (found KafkaPartition) {
	t.Helper()
	err := waitHealthy(ctx, func(ctx context.Context) error {
		all, err := KafkaPartitions(ctx, url)
		if err != nil {
			return err
		}
		for _, p := range all {
			if p.Topic == topic && as(p) {
				found = p
				return nil
			}
		}
		return fmt.Errorf("of all partitions, none is as wanted: %+v", all)
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}
