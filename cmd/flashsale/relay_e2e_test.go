package main

import (
	"fmt"
	"testing"
	"time"
)

// A node dies between its claim and its publish: the units are sold at the gate,
// the event is in the outbox, and nobody but another node's relay knows. What is
// promised is two seconds; what is asserted leaves room for a loaded machine.
func TestARelayRescuesWhatAKilledNodeHadClaimed(t *testing.T) {
	for _, point := range []string{"claim.after", "publish.before"} {
		t.Run(point, func(t *testing.T) {
			r := newRig(t)
			rest := r.serve("--roles", "relay,writer,reaper,payments")
			rest.sale("drop", 10, 1, "4m")
			p := r.serve("--roles", "api", "--fault", "kill@"+point+"#1")
			tok := token(t, "ada")
			id := p.held(t, tok, "drop", "k").text("id")
			go p.checkout(tok, id, "pay", "pm_card_visa") // nobody answers
			select {
			case err := <-p.done:
				p.done <- err
			case <-time.After(patience):
				t.Fatal("the node never got there")
			}
			died := time.Now()
			for r.query("SELECT count(*) FROM orders WHERE state = 'confirmed'") != 1 {
				if time.Since(died) > patience {
					t.Fatalf("no order %s after the kill\n%s", patience, rest.stderr)
				}
				<-time.After(5 * time.Millisecond)
			}
			took := time.Since(died)
			t.Logf("%s: the order appeared %s after the node was killed", point, took.Round(time.Millisecond))
			if took > 20*time.Second {
				t.Errorf("%s, not about two seconds", took)
			}
			eventually(t, "it is captured", func() (bool, string) {
				n := r.query("SELECT count(*) FROM payments WHERE state = 'captured'")
				return n == 1, fmt.Sprint(n)
			})
			rest.mustBeClean(t)
		})
	}
}
