package admission

import (
	"cmp"
	"context"
	"errors"
	"strconv"
	"time"
)

// Step is one move of the front, decided on what somebody read.
type Step struct {
	From  int64 // where the front was read to be; if it is elsewhere by now, it stays
	To    int64 // where it is to be; at most as many places as tickets were given out
	Rate  float64
	Reach int64
	Limit Limit

	// Runner moves the front, and nobody else does for as long as Lease. "": anybody may.
	Runner string
	Lease  time.Duration
}

// ErrRunsElsewhere says that another node moves the front, and that this one did not.
var ErrRunsElsewhere = errors.New("admission: another node moves the front")

// Advance moves the front, counts whose lease is over, and publishes what the pace
// says. It must be called even if the front stays. Several callers cannot add up:
// a step from where the front no longer is moves nothing. ErrRunsElsewhere.
func (q *Queue) Advance(ctx context.Context, r Room, s Step) (Status, error) {
	k := keysOf(r)
	for {
		a, err := q.ask(ctx, r, advanceScript, k, s.From, s.To, strconv.FormatFloat(s.Rate, 'g', -1, 64), s.Reach, string(s.Limit), s.Runner, s.Lease.Milliseconds())
		if err != nil {
			return Status{}, err
		}
		if len(a.rest) == 0 {
			return Status{}, garbled(a.rest)
		}
		var p parts
		switch mine := p.number(a.rest[0]); {
		case p.err != nil:
			return Status{}, p.err
		case mine == 0:
			return Status{}, ErrRunsElsewhere
		case len(a.rest) == 1:
			return q.Status(ctx, r)
		}
		// Tickets were given back before the opening, and nobody knew their places.
		args := []any{a.n}
		for _, v := range a.rest[1:] {
			ticket := p.integer(v)
			place, err := q.place(ctx, r, a.n, uint64(ticket))
			if err != nil || p.err != nil {
				return Status{}, cmp.Or(p.err, err)
			}
			args = append(args, ticket, place)
		}
		if _, err := q.ask(ctx, r, holesScript, k, args...); err != nil {
			return Status{}, err
		}
	}
}
