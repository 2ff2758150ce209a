package record

import (
	"bytes"
	"context"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/flashsale-engine/flashsale/engine"
)

// noting is one caller of Note.
type noting struct {
	id     engine.AttemptID
	lease  time.Time // zero: whoever has it
	p      engine.Payment
	reason string
}

// Note records what became of an attempt and ends its lease, if that is the one
// that the attempt carries, or if it carries none. CodeNotFound. Concurrent calls
// share one statement, and so one commit.
func (a *Attempts) Note(ctx context.Context, at engine.Attempt, p engine.Payment, reason string) error {
	return noteBy(ctx, &a.note, at, p, reason)
}

// NoteSettled is Note for the payments role. No buyer waits for it, and after a
// sale there is a capture to note for every order: it waits a moment for others.
func (a *Attempts) NoteSettled(ctx context.Context, at engine.Attempt, p engine.Payment, reason string) error {
	return noteBy(ctx, &a.settle, at, p, reason)
}

func noteBy(ctx context.Context, c *coalescer[noting, bool], at engine.Attempt, p engine.Payment, reason string) error {
	found, err := c.call(ctx, noting{at.ID, at.LeaseUntil, p, orElse(reason, p.DeclineCode)})
	if err == nil && !found {
		return engine.E(engine.CodeNotFound, "no payment attempt %s", at.ID)
	}
	return err
}

// noteAll writes a batch, and says of each whether its attempt is there. Notes
// of one attempt are written one after the other, in their order.
func (a *Attempts) noteAll(ctx context.Context, in []noting) ([]bool, error) {
	found := make([]bool, len(in))
	for left := everyIndex(len(in)); len(left) > 0; {
		var now, later []int
		seen := make(map[engine.AttemptID]bool, len(left))
		for _, i := range left {
			if seen[in[i].id] {
				later = append(later, i)
				continue
			}
			seen[in[i].id] = true
			now = append(now, i)
		}
		ids, err := a.noteOnce(ctx, in, now)
		if err != nil {
			return nil, err
		}
		for _, i := range now {
			found[i] = ids[in[i].id]
		}
		left = later
	}
	return found, nil
}

// noteSQL writes notes in their order, so that rows are locked in one order,
// whoever else notes them. Every right-hand side sees the row as it was: its state
// decides.
const noteSQL = `
	WITH n AS (
		SELECT *, string_to_array(moves, ' ') AS from_states
		FROM unnest($1::bytea[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::timestamptz[])
			AS n (id, state, moves, provider, ref, reason, action, url, lease))
	UPDATE payments p SET
		state        = CASE WHEN p.state = ANY (n.from_states) THEN n.state ELSE p.state END,
		provider     = CASE WHEN p.state = ANY (n.from_states) OR p.state = n.state AND p.provider = '' THEN coalesce(nullif(n.provider, ''), p.provider) ELSE p.provider END,
		provider_ref = CASE WHEN p.state = ANY (n.from_states) OR p.state = n.state AND p.provider_ref = '' THEN coalesce(nullif(n.ref, ''), p.provider_ref) ELSE p.provider_ref END,
		reason       = CASE WHEN p.state = ANY (n.from_states) THEN n.reason ELSE p.reason END,
		action_type  = CASE WHEN p.state = ANY (n.from_states) OR p.state = n.state THEN coalesce(nullif(n.action, ''), p.action_type) ELSE p.action_type END,
		action_url   = CASE WHEN p.state = ANY (n.from_states) OR p.state = n.state THEN coalesce(nullif(n.url, ''), p.action_url) ELSE p.action_url END,
		parked       = CASE WHEN p.state = ANY (n.from_states) THEN '' ELSE p.parked END,
		lease_until  = CASE WHEN n.lease IS NULL OR n.lease = p.lease_until THEN least(p.lease_until, clock_timestamp()) ELSE p.lease_until END,
		updated_at   = clock_timestamp()
	FROM n WHERE p.id = n.id
	RETURNING p.id`

// noteOnce writes notes of distinct attempts and gives the attempts that are there.
func (a *Attempts) noteOnce(ctx context.Context, in []noting, which []int) (map[engine.AttemptID]bool, error) {
	slices.SortFunc(which, func(i, j int) int { return bytes.Compare(in[i].id[:], in[j].id[:]) })
	var ids [][]byte
	var state, from, provider, ref, reason, action, url []string
	var lease []*time.Time
	for _, i := range which {
		n := in[i]
		ids, state, from = append(ids, n.id[:]), append(state, string(n.p.State)), append(from, reachedFrom[n.p.State])
		provider, ref, reason = append(provider, n.p.Provider), append(ref, n.p.Ref), append(reason, n.reason)
		action, url, lease = append(action, n.p.Action.Type), append(url, n.p.Action.URL), append(lease, timeOrNull(n.lease))
	}
	there := make(map[engine.AttemptID]bool, len(which))
	err := a.db.inOrder(ctx, func(rows pgx.Rows) error {
		var id []byte
		_, err := pgx.ForEachRow(rows, []any{&id}, func() error {
			there[engine.AttemptID(id)] = true
			return nil
		})
		return err
	}, noteSQL, ids, state, from, provider, ref, reason, action, url, lease)
	return there, err
}

func everyIndex(n int) []int {
	out := make([]int, n)
	for i := range out {
		out[i] = i
	}
	return out
}
