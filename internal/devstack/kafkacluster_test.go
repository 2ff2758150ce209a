package devstack

import (
	"slices"
	"testing"
)

// What a cluster does is tested where it is used, in orders: three JVMs are dear.

func TestOnlyAKafkaChildHasSeveralBrokers(t *testing.T) {
	wantError(t, only("kafka", Spec{Mode: Child, Brokers: 2}), "2 brokers", "1 or 3")
	wantError(t, only("kafka", Spec{Brokers: 3}), "mode auto")
	wantError(t, only("kafka", Spec{Mode: Child, Brokers: 3, Advertise: "127.0.0.1:1"}), "1 addresses to advertise for 3 brokers")
}

func TestALeaderIsFollowedByAnotherThatIsInSync(t *testing.T) {
	for _, c := range []struct {
		p    KafkaPartition
		want []int32
	}{
		{KafkaPartition{Leader: 1, Replicas: []int32{1, 2, 3}, InSync: []int32{3, 1, 2}}, []int32{2, 3, 1}},
		{KafkaPartition{Leader: 1, Replicas: []int32{1, 2, 3}, InSync: []int32{1, 3}}, []int32{3, 1, 2}},
		{KafkaPartition{Leader: 3, Replicas: []int32{1, 2, 3}, InSync: []int32{2, 3}}, []int32{2, 3, 1}},
		{KafkaPartition{Leader: 1, Replicas: []int32{1, 2, 3}, InSync: []int32{1}}, nil},
		{KafkaPartition{Leader: 1, Replicas: []int32{1}, InSync: []int32{1}}, nil},
		{KafkaPartition{Leader: -1, Replicas: []int32{1, 2, 3}}, nil},
	} {
		if got := successors(c.p); !slices.Equal(got, c.want) {
			t.Errorf("%+v: %v, want %v", c.p, got, c.want)
		}
	}
}
