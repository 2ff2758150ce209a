package waiters

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os/exec"
	"slices"
	"strings"

	"github.com/flashsale-engine/flashsale/scripts"
)

// judgePlaces has a stranger check the places: scripts/verify-places.py, which shares
// no code with the engine, from what was public. The commitment is the one that was
// read before the opening.
func (r *run) judgePlaces(ctx context.Context, out *Report, fail func(string, ...any)) {
	end := r.timeline[len(r.timeline)-1]
	for _, m := range r.timeline {
		if m.Commitment != r.before.Commitment || m.Seed != end.Seed || m.N == nil || *m.N != r.n {
			fail("commitment, seed or n have changed: %q %q %v", m.Commitment, m.Seed, m.N)
			return
		}
	}
	type claim struct {
		Ticket int64 `json:"ticket"`
		Place  int64 `json:"place"`
	}
	doc := struct {
		Sale       string  `json:"sale"`
		Commitment string  `json:"commitment"`
		Seed       string  `json:"seed"`
		N          int64   `json:"n"`
		Tickets    []claim `json:"tickets"`
	}{Sale: saleID, Commitment: r.before.Commitment, Seed: end.Seed, N: r.n}
	taken := map[int64]int64{}
	for _, ticket := range slices.Sorted(maps.Keys(r.placed)) {
		place := r.placed[ticket]
		if other, has := taken[place]; has {
			fail("tickets %d and %d have the same place %d", other, ticket, place)
		}
		taken[place] = ticket
		doc.Tickets = append(doc.Tickets, claim{ticket, place})
	}
	out.Fairness.Checked = len(doc.Tickets)
	out.Fairness.All = int64(len(doc.Tickets)) >= end.Joined
	raw, err := json.Marshal(doc)
	if err != nil {
		fail("places: %v", err)
		return
	}
	// The program as an argument: standard input is for the places.
	cmd := exec.CommandContext(ctx, "python3", "-c", scripts.VerifyPlaces)
	cmd.Stdin = strings.NewReader(string(raw))
	said, err := cmd.CombinedOutput()
	out.Fairness.Checker = strings.TrimSpace(string(said[max(0, len(said)-300):]))
	if err != nil {
		fail("the places were not confirmed: %s", fmt.Sprint(err, ": ", out.Fairness.Checker))
	}
}
