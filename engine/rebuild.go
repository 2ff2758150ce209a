package engine

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"time"
)

// Rebuilder brings back shards whose gate was lost. Everything that makes a
// rebuild safe lies in the order of its steps; docs/adr/015 walks through what
// happens when the process dies between any two of them.
//
// Three things hold throughout:
//
//   - A shard that was lost decides nothing: each call to the gate carries the
//     lease's epoch and server, and a server that has neither says frozen.
//   - Once Raise has committed, no payment begins under an older epoch: the record
//     checks the epoch in the statement that notes the attempt. So whatever may
//     still be claimed from an old gate, by a node that has not heard yet or on a
//     server that was replaced, belongs to an order or to an unfinished attempt,
//     and both are read after that.
//   - The gate takes a rebuild of a higher epoch only, and the record lets one
//     rebuilder at a time pass. One that comes late finds one or the other closed.
type Rebuilder struct {
	Gate   GateRepair
	Record RebuildRecord
	Stream EpochStream
	Clock  Clock
	Log    *slog.Logger
	// Drain is how long one try waits for order writers that come no nearer to the
	// marks. The shard stays frozen, and is tried again. Default 30 s.
	Drain time.Duration
	// Done hears of each rebuild that succeeded; nil: nobody does.
	Done func(Rebuilt)
}

// RebuildRecord is the record's side of a rebuild. Whoever does not have the
// rebuild's lease any more is told CodeGateFrozen.
type RebuildRecord interface {
	// Take makes the caller the only rebuilder of a shard for some time, and notes
	// the shard as frozen. It says false, and changes nothing, if another one is at
	// it, if the shard is not as s says (read the sale anew), or if it is halted and
	// the keeper asks. A halt is audited here.
	Take(ctx context.Context, s *Sale, shard int, why Cause, d time.Duration) (RebuildLease, bool, error)
	// Keep renews the lease; with 0 it gives it back.
	Keep(ctx context.Context, l RebuildLease, d time.Duration) error
	// Raise gives the shard an epoch above all of the sale's, on a server, audited,
	// and gives the sale as it is then.
	Raise(ctx context.Context, l RebuildLease, server string) (*Sale, error)
	// Live visits, at one instant, what of the shard the record knows to be taken: the
	// confirmed orders of its buyers as accepted holds, and unfinished attempts
	// that may have a hold as paying ones, the first begun first. One that does not
	// know its lines (it was begun by an older program) has none.
	Live(ctx context.Context, l RebuildLease, s *Sale, visit func(Hold)) error
	// Reopen notes that the gate is back, with the report, and how long it was frozen.
	Reopen(ctx context.Context, l RebuildLease, r Rebuilt) (time.Duration, error)
}

// EpochStream marks in the stream where an epoch ends.
type EpochStream interface {
	// MarkEpoch writes a record to every partition and gives the positions after
	// them, once every in-sync replica has them.
	MarkEpoch(ctx context.Context, s *Sale, shard int, epoch int64) (Mark, error)
	// Left says how many places of the stream in front of a mark the record has not
	// read yet.
	Left(ctx context.Context, m Mark) (int64, error)
}

// RebuildLease is the right to rebuild one shard. The token tells it from
// earlier and later ones.
type RebuildLease struct {
	Sale  *Sale
	Shard int
	Token int64
	Cause Cause
}

// Cause is why a shard is rebuilt, and by whom.
type Cause struct {
	Lost   string // server, terms, keys, epoch; unfinished: an earlier rebuild was not; operator: nothing was lost
	Actor  string
	Reason string // an operator's
}

// The causes that are not what GateRepair.Inspect says.
const (
	CauseUnfinished = "unfinished"
	CauseOperator   = "operator"
	CauseHalted     = "halted" // an operator has frozen it, and only an operator's rebuild opens it
)

// Rebuilt says what a rebuild did.
type Rebuilt struct {
	Sale     string        `json:"sale"`
	Shard    int           `json:"shard"`
	Cause    string        `json:"cause"`
	Was      int64         `json:"epoch_before"`
	Epoch    int64         `json:"epoch"`
	Server   string        `json:"server"`
	Accepted int           `json:"accepted"`   // orders
	Paying   int           `json:"paying"`     // unfinished attempts
	Kept     int           `json:"kept"`       // holds that the gate still remembered
	Lost     int           `json:"lost"`       // those that no longer fitted; what the gate has forgotten nobody can count
	Drained  time.Duration `json:"drained_ns"` // of that: waited for the order writers
	Frozen   time.Duration `json:"frozen_ns"`
}

const (
	rebuildLease = 6 * time.Second // a rebuilder that died is replaced after it
	drainPause   = 10 * time.Millisecond
	defaultDrain = 30 * time.Second
)

// ErrElsewhere says that a shard is not the caller's to rebuild: another node is
// at it, or has done it, and the caller's snapshot of the sale is old.
var ErrElsewhere = errors.New("another node rebuilds the shard, or has")

// KeeperActor is who rebuilds what nobody has told it to.
const KeeperActor = "keeper"

// Halt freezes one shard and leaves it so: nothing is decided until an operator has it
// rebuilt. The record notes that, audited, before the gate hears of it: so a keeper
// never takes for lost what was halted. Repeatable, after any error too.
func (b *Rebuilder) Halt(ctx context.Context, s *Sale, shard int, why Cause) error {
	why.Lost = CauseHalted
	lease, taken, err := b.Record.Take(ctx, s, shard, why, rebuildLease)
	if err != nil {
		return err
	}
	if !taken {
		return ErrElsewhere
	}
	ctx, leave := b.keep(ctx, lease)
	defer leave()
	return b.Gate.Freeze(ctx, s, shard)
}

// Rebuild brings one shard back. It may be called at any time and again after
// any error: a shard that is whole is frozen for a moment and comes back as it was.
func (b *Rebuilder) Rebuild(ctx context.Context, s *Sale, shard int, why Cause) (Rebuilt, error) {
	out := Rebuilt{Sale: s.ID, Shard: shard, Cause: why.Lost, Was: s.Lease(shard).Epoch}
	lease, taken, err := b.Record.Take(ctx, s, shard, why, rebuildLease)
	if err != nil {
		return out, err
	}
	if !taken {
		return out, ErrElsewhere
	}
	out.Cause = lease.Cause.Lost
	ctx, leave := b.keep(ctx, lease)
	defer leave()

	// From here nothing is decided on the server that has the shard now. One that
	// had it before is out of reach, and stopped by the next step but one.
	if err := b.Gate.Freeze(ctx, s, shard); err != nil {
		return out, err
	}
	if out.Server, err = b.Gate.Server(ctx, s, shard); err != nil {
		return out, err
	}
	// From here no payment begins under an older epoch, whoever gave the hold.
	s, err = b.Record.Raise(ctx, lease, out.Server)
	if err != nil {
		return out, err
	}
	out.Epoch = s.Lease(shard).Epoch
	// Whatever was published before is in front of the marks. What was claimed and
	// comes behind them has an unfinished attempt, which keeps its units.
	raised := b.Clock.Now()
	if err := b.drain(ctx, s, shard, out.Epoch); err != nil {
		return out, err
	}
	out.Drained = b.Clock.Now().Sub(raised)
	plan, err := b.plan(ctx, lease, s)
	if err != nil {
		return out, err
	}
	if err := b.write(ctx, s, shard, plan); err != nil {
		return out, err
	}
	// The gate is open. If this note is lost, the shard is rebuilt once more.
	out.Accepted, out.Paying, out.Kept, out.Lost = plan.accepted, plan.paying, plan.kept, plan.lost
	if out.Frozen, err = b.Record.Reopen(ctx, lease, out); err != nil {
		return out, err
	}
	b.Log.InfoContext(ctx, "a gate is back", "sale", out.Sale, "shard", shard, "cause", out.Cause, "epoch", out.Epoch, "server", out.Server,
		"frozen", out.Frozen, "drained", out.Drained, "accepted", out.Accepted, "paying", out.Paying, "kept", out.Kept, "lost", out.Lost)
	if b.Done != nil {
		b.Done(out)
	}
	return out, nil
}

// keep renews the lease in the background; the context it gives ends when that
// fails for good. leave gives the lease back, so that the next try need not wait.
func (b *Rebuilder) keep(ctx context.Context, l RebuildLease) (_ context.Context, leave func()) {
	work, cancel := context.WithCancel(ctx)
	go func() {
		tick := time.NewTicker(rebuildLease / 3)
		defer tick.Stop()
		for {
			select {
			case <-work.Done():
				return
			case <-tick.C:
			}
			if err := b.Record.Keep(work, l, rebuildLease); CodeOf(err) == CodeGateFrozen {
				cancel()
				return
			}
		}
	}()
	return work, func() {
		cancel()
		end, stop := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer stop()
		if err := b.Record.Keep(end, l, 0); err != nil && CodeOf(err) != CodeGateFrozen {
			b.Log.WarnContext(ctx, "a rebuild's lease could not be given back; it ends by itself", "sale", l.Sale.ID, "shard", l.Shard, "err", err)
		}
	}
}

// drain marks the epoch's end in the stream and waits until the record is there.
func (b *Rebuilder) drain(ctx context.Context, s *Sale, shard int, epoch int64) error {
	marks, err := b.Stream.MarkEpoch(ctx, s, shard, epoch)
	if err != nil {
		return err
	}
	wait := b.Drain
	if wait <= 0 {
		wait = defaultDrain
	}
	// Another try would put its marks further behind, so a slow writer is waited for
	// as long as it gets on.
	deadline, least := b.Clock.Now().Add(wait), int64(math.MaxInt64)
	for {
		left, err := b.Stream.Left(ctx, marks)
		if left == 0 || err != nil {
			return err
		}
		now := b.Clock.Now()
		if left < least {
			deadline, least = now.Add(wait), left
		}
		if !now.Before(deadline) {
			return E(CodeUnavailable, "the order writers have read nothing for %s, and have %d places of the stream before them to the epoch's mark; the shard stays frozen", wait, left)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(drainPause):
		}
	}
}

// plan puts together what the shard will hold.
func (b *Rebuilder) plan(ctx context.Context, l RebuildLease, s *Sale) (*rebuildPlan, error) {
	p := newRebuildPlan(s)
	if err := b.Record.Live(ctx, l, s, p.live); err != nil {
		return nil, err
	}
	err := b.Gate.Remains(ctx, s, l.Shard, func(h Hold) error { p.remains(h); return nil })
	p.close()
	return p, err
}

// write has the gate take the plan. With several shards only the gate knows how
// many units this one has; if the holds take more, the newest go, twice as many each time.
func (b *Rebuilder) write(ctx context.Context, s *Sale, shard int, p *rebuildPlan) error {
	for drop := 1; ; drop *= 2 {
		err := b.Gate.Rebuild(ctx, s, shard, s.Lease(shard), p.holds())
		if CodeOf(err) != CodeSoldOut || !p.drop(drop) {
			return err
		}
	}
}
