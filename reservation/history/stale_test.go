package history_test

import (
	"testing"
	"time"

	"github.com/flashsale-engine/flashsale/internal/devstack/testenv"
)

// Nodes may repeat "sold out" for a while from what they know. Such an answer
// must be one that the gate would have given within the stated bound, to this
// buyer; everything else stays linearizable.
func TestWhatNodesKnowOfSoldOutIsNeverOlderThanItsBound(t *testing.T) {
	h := crowd{url: testenv.Redis(t), operations: 25_000, sessions: 48, ttl: 60 * time.Millisecond, soldOutFor: 30 * time.Millisecond}.run(t)
	prove(t, h)
}
