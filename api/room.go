package api

import (
	"time"

	"github.com/flashsale-engine/flashsale/engine"
)

// Who goes first when a node has as much to do as it can. All requests share one
// count, MaxInFlight; but who has nothing yet may use a part of it only, so the
// rest is always there for those who hold stock: to pay, to look, to give back.
// A crowd that only looks gets less than one that would buy.

// rank is a class of requests, the first one first.
type rank int

const (
	supervisors rank = iota // probes: answered whatever else goes on
	holders                 // their requests are about something they have
	newcomers               // who ask for stock
	browsers                // who look
	rankCount
)

var rankNames = [rankCount]string{"supervisors", "holders", "newcomers", "browsers"}

// room says how many requests may be under way, of all ranks together, for one
// of this rank to be let in.
func (r rank) room(most int) int64 {
	switch r {
	case newcomers:
		return int64(most - most/4)
	case browsers:
		return int64(most - most/2)
	}
	return int64(most)
}

// turnedAway is the refusal of who found no room. It is written before anything
// else is done for a request.
func turnedAway(r rank) error {
	if r == holders {
		return engine.E(engine.CodeOverloaded, "this node works on as many requests as it can").After(time.Second)
	}
	return engine.E(engine.CodeOverloaded, "this node works on as many requests as it can; what is left is for buyers who hold stock").After(time.Second)
}
