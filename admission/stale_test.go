package admission

import (
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/flashsale-engine/flashsale/engine"
)

// A node may have been asleep between reading a ticket and acting on it. Whatever it
// believed then, the scripts act on what is.
func TestScriptsRefuseStaleBeliefs(t *testing.T) {
	m := miniredis.RunT(t)
	q, err := Open(Options{URL: "redis://" + m.Addr(), CallTimeout: 30 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = q.Close() }()
	ctx, r, k := t.Context(), Room{Sale: 1, ID: "demo", Epoch: 1}, keysOf(Room{Sale: 1, ID: "demo", Epoch: 1})
	if err := q.Arm(ctx, r, Terms{Seed: Seed{1}, Lease: time.Minute, Use: time.Minute}); err != nil {
		t.Fatal(err)
	}
	buyer := engine.BuyerKey{1}
	for i := range byte(4) { // 1 keeps a ticket, the others give theirs back
		if _, err := q.Join(ctx, r, engine.BuyerKey{i + 1}); err != nil {
			t.Fatal(err)
		}
	}
	for i := range byte(3) {
		if s, err := q.Leave(ctx, r, engine.BuyerKey{i + 2}); err != nil || s != Outside {
			t.Fatal(s, err)
		}
	}
	refused := func(x *redis.Script, ticket, place, n int) {
		t.Helper()
		a, err := q.ask(ctx, r, x, k.of(buyer), buyer[:], ticket, place, n)
		if err != nil || a.rest[0] != int64(answerChanged) {
			t.Fatalf("%+v, %v", a, err)
		}
	}
	refused(leaveScript, 0, 0, 0) // believes that the room is open
	if err := q.Start(ctx, r, time.UnixMilli(1)); err != nil {
		t.Fatal(err)
	}
	refused(leaveScript, 0, -1, -1) // believes that it is not
	for _, x := range []*redis.Script{claimScript, rejoinScript, leaveScript} {
		refused(x, 1, 0, 4) // another ticket
		refused(x, 0, 0, 3) // another N
	}
	spare := func(want ...string) {
		t.Helper()
		got, err := q.client.LRange(ctx, k.all[4], 0, -1).Result()
		if err != nil || len(got) != len(want) || len(want) > 0 && got[0] != want[0] {
			t.Fatalf("spare are %v, want %v; %v", got, want, err)
		}
	}
	lay := func(args ...any) {
		t.Helper()
		if _, err := q.ask(ctx, r, holesScript, k, args...); err != nil {
			t.Fatal(err)
		}
	}
	lay(3, 1, 9) // another N
	spare("1", "2", "3")
	lay(4, 1, 0)
	lay(4, 1, 0) // again: it must not take the next one's turn
	spare("2", "3")
	if _, err := q.Advance(ctx, r, Step{To: 4}); err != nil {
		t.Fatal(err)
	}
	spare()
}
