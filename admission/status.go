package admission

import (
	"context"
	"encoding/hex"
	"strconv"
	"sync"
	"time"
)

// State is a room's.
type State string

// A room's states.
const (
	Armed  State = "armed"  // the pre-queue: who joins is shuffled at the opening
	Opened State = "open"   // places are known, and the front moves
	Closed State = "closed" // nobody is admitted any more
)

// Status is a room's public document and its counters. A waiter needs nothing
// else to know where they stand: their place follows from seed, N and ticket.
type Status struct {
	Now        time.Time // by Redis' clock
	State      State
	Commitment string
	Seed       string // hexadecimal; empty before the opening
	N          int64  // tickets that were shuffled; -1 before the opening
	OpensAt    time.Time
	OpenedAt   time.Time
	Front      int64   // places below it have been reached
	Rate       float64 // places per second that the front moves now
	Reach      int64   // places from here on are beyond what stock can reach; -1: not known
	Limit      Limit   // what holds the front back
	Joined     int64   // tickets given out
	Claimed    int64   // buyers admitted
	Left       int64   // tickets given back
	Lapsed     int64   // places reached whose lease ended with nobody claiming or leaving
	Holed      int64   // places reached whose tickets were given back, before or after

	Inside int64 // buyers admitted who have taken none yet, and still may
	Took   int64 // admitted buyers who took units
	Units  int64 // that they took
	Passed int64 // admitted buyers whose admission ended without

	Runner string    // who moves the front
	Runs   time.Time // until when nobody else does
}

// Waiting is how many are in the room: not admitted, gone or lapsed. Those who just
// closed their browser are among them until their lease is over.
func (s Status) Waiting() int64 { return s.Joined - s.Claimed - s.Left - s.Lapsed }

// Called is how many were reached and may still claim.
func (s Status) Called() int64 { return s.Front - s.Claimed - s.Lapsed - s.Holed }

// Status reads a room.
func (q *Queue) Status(ctx context.Context, r Room) (s Status, err error) {
	a, err := q.ask(ctx, r, statusScript, keysOf(r))
	if err != nil {
		return s, err
	}
	var p parts
	f := p.want(a, 17)
	s = Status{
		Now: a.now, State: a.state, N: a.n, Joined: a.joined, Front: a.front,
		Commitment: p.text(f[0]), Seed: p.text(f[1]), OpenedAt: when(p.integer(f[2])), OpensAt: when(p.integer(f[3])),
		Claimed: p.integer(f[4]), Left: p.integer(f[5]), Lapsed: p.integer(f[6]),
		Reach: p.integer(f[8]), Limit: Limit(p.text(f[9])), Holed: p.integer(f[10]),
		Inside: p.integer(f[11]), Took: p.integer(f[12]), Units: p.integer(f[13]), Passed: p.integer(f[14]), Runner: p.text(f[15]), Runs: when(p.integer(f[16])),
	}
	if s.Rate, err = strconv.ParseFloat(p.text(f[7]), 64); err != nil {
		p.err = garbled(f[7])
	}
	return s, p.err
}

// integer reads a number that came as text.
func (p *parts) integer(v any) int64 {
	n, err := strconv.ParseInt(p.text(v), 10, 64)
	if err != nil {
		p.err = garbled(v)
	}
	return n
}

// when is a time in milliseconds, of which 0 is none.
func when(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}

// opened is what places follow from. It does not change while its room is the same,
// unless Redis lost the opening: so whoever uses it says for which N.
type opened struct {
	seed     Seed
	n        int64
	shuffles sync.Pool
}

// place computes a ticket's place in a room that has been opened with n.
func (q *Queue) place(ctx context.Context, r Room, n int64, ticket uint64) (int64, error) {
	o, err := q.openedWith(ctx, r, n)
	if err != nil {
		return 0, err
	}
	s, _ := o.shuffles.Get().(*Shuffle)
	if s == nil {
		s = NewShuffle(o.seed, uint64(n))
	}
	defer o.shuffles.Put(s)
	return int64(s.Place(ticket)), nil
}

func (q *Queue) openedWith(ctx context.Context, r Room, n int64) (*opened, error) {
	q.mu.Lock()
	o := q.opened[r]
	q.mu.Unlock()
	if o != nil && o.n == n {
		return o, nil
	}
	s, err := q.Status(ctx, r)
	if err != nil {
		return nil, err
	}
	b, err := hex.DecodeString(s.Seed)
	if err != nil || len(b) != len(Seed{}) || s.N != n || Commitment(r.ID, Seed(b)) != s.Commitment {
		return nil, garbled(s)
	}
	o = &opened{n: n, seed: Seed(b)}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.opened[r] = o
	return o, nil
}
