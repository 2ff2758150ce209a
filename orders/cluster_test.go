package orders_test

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

	"github.com/flashsale-engine/flashsale/engine"
	"github.com/flashsale-engine/flashsale/internal/devstack"
	"github.com/flashsale-engine/flashsale/internal/devstack/testenv"
	"github.com/flashsale-engine/flashsale/orders"
)

// One cluster for all that is asked of it: three JVMs are dear.
func TestThreeBrokersKeepWhatTheyAcknowledgedWhenALeaderDies(t *testing.T) {
	t.Parallel()
	b := testenv.OwnKafkaCluster(t)
	brokers := devstack.SplitBrokers(b.URL)
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	// As a cluster is that nobody has thought about: one copy is enough for it.
	if _, err := admin.AlterBrokerConfigs(t.Context(), []kadm.AlterConfig{{Name: "min.insync.replicas", Value: kadm.StringPtr("1")}}); err != nil {
		t.Fatal(err)
	}
	// Brokers hear of settings and topics one after the other.
	wantUnfit := func(topic string, replication int, parts ...string) {
		t.Helper()
		var unfit []string
		var err error
		until(t, fmt.Sprintf("%s with %d replicas is unfit for %q", topic, replication, parts), func() bool {
			unfit, err = orders.Unfit(t.Context(), brokers, topic, 1, replication)
			return err == nil && slices.EqualFunc(unfit, parts, strings.Contains)
		})
	}
	wantUnfit("not.made.yet", -1)
	wantUnfit("not.made.yet", 1, "has 1 replica")
	wantUnfit("not.made.yet", 2, "min.insync.replicas=1")
	wantUnfit("not.made.yet", 9, "cannot be made")
	if _, err := admin.CreateTopic(t.Context(), 1, 3, map[string]*string{"min.insync.replicas": kadm.StringPtr("3"), "unclean.leader.election.enable": kadm.StringPtr("true")}, "careless"); err != nil {
		t.Fatal(err)
	}
	wantUnfit("careless", -1, "min.insync.replicas=3 of 3", "unclean.leader.election.enable=true")

	r := newRig(t, brokers, testenv.Postgres(t), 1, 10)
	wantUnfit(r.topic, -1)
	made := r.place(b.URL, func(p devstack.KafkaPartition) bool { return len(p.InSync) == devstack.KafkaBrokers })
	settings, err := admin.DescribeTopicConfigs(t.Context(), r.topic)
	if err != nil || len(settings) != 1 || len(made.Replicas) != 3 || !slices.ContainsFunc(settings[0].Configs, func(c kadm.Config) bool {
		return c.Key == "min.insync.replicas" && c.MaybeValue() == "2"
	}) {
		t.Fatalf("the topic is at %+v, with %+v, %v; want three replicas, of which two are needed", made, settings, err)
	}

	// Nobody dies, and another leads.
	if n, err := devstack.MoveKafkaLeaders(t.Context(), b.URL); err != nil || n == 0 {
		t.Fatalf("%d leaders moved, %v", n, err)
	}
	led := r.place(b.URL, func(p devstack.KafkaPartition) bool { return p.Leader >= 0 && p.Leader != made.Leader })
	p := r.producer()
	acknowledged := func(what string) {
		t.Helper()
		e := r.accept(1, 0)
		until(t, what+" is acknowledged", func() bool { return p.Publish(t.Context(), e) == nil })
	}
	acknowledged("an event of all three")

	killed, member := time.Now(), func(id int32) *devstack.Backend { return b.Members[id-1] }
	if err := member(led.Leader).Kill(); err != nil {
		t.Fatal(err)
	}
	after := r.place(b.URL, func(p devstack.KafkaPartition) bool { return p.Leader >= 0 && p.Leader != led.Leader })
	t.Logf("broker %d leads %v after broker %d was killed", after.Leader, time.Since(killed).Round(time.Millisecond), led.Leader)
	acknowledged("an event of the two that are left")

	// Two are away: what the third takes alone is not acknowledged, and not lost.
	other := member(6 - led.Leader - after.Leader)
	if err := other.Pause(); err != nil {
		t.Fatal(err)
	}
	alone := r.accept(1, 0)
	soon, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	if err := p.Publish(soon, alone); !errors.Is(err, engine.ErrUnknown) {
		t.Errorf("with two of three away: %v; want not known", err)
	}
	if err := errors.Join(other.Continue(), member(led.Leader).Restart(t.Context())); err != nil {
		t.Fatal(err)
	}
	until(t, "what one took alone is acknowledged", func() bool { return p.Publish(t.Context(), alone) == nil })
	start(t, r.writer(nil).Run)
	until(t, "three orders", func() bool { return r.count(`SELECT count(*) FROM orders`) == 3 })
	r.balanced()
}

// place waits until the only partition of the rig's topic is as asked.
func (r *rig) place(url string, as func(devstack.KafkaPartition) bool) (found devstack.KafkaPartition) {
	r.t.Helper()
	until(r.t, fmt.Sprintf("the partition of %s is as wanted", r.topic), func() bool {
		ctx, cancel := context.WithTimeout(r.t.Context(), 5*time.Second)
		defer cancel()
		all, err := devstack.KafkaPartitions(ctx, url)
		i := slices.IndexFunc(all, func(p devstack.KafkaPartition) bool { return p.Topic == r.topic && as(p) })
		if err != nil || i < 0 {
			return false
		}
		found = all[i]
		return true
	})
	return found
}
