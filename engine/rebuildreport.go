package engine

import "context"

// GateReport is how one shard's gate stands.
type GateReport struct {
	Sale   *Sale
	Shard  int
	Lost   string // what Inspect says is lost; "": nothing, or see Away
	Away   error  // the gate could not be asked
	Server string // who decides for the shard now; "": nobody could be asked

	Accepted, Paying, Held int // what a rebuild would begin with; Held as the gate knows it, -1: it cannot be asked
}

// Taken counts what the record knows to be taken of a shard.
type Taken interface {
	Taken(ctx context.Context, s *Sale, shard int) (accepted, paying int, err error)
}

// Report says how one shard stands.
func (b *Rebuilder) Report(ctx context.Context, s *Sale, shard int) GateReport {
	out := GateReport{Sale: s, Shard: shard}
	err := b.Gate.Inspect(ctx, s, shard)
	if out.Lost = LostWhat(err); out.Lost == "" {
		out.Away = err
	}
	out.Server, err = b.Gate.Server(ctx, s, shard)
	if out.Away == nil && err != nil {
		out.Away = err
	}
	return out
}

// DryRun is Report with what a rebuild would begin with. It changes nothing.
func (b *Rebuilder) DryRun(ctx context.Context, s *Sale, shard int, taken Taken, gate GateReader) (out GateReport, err error) {
	out = b.Report(ctx, s, shard)
	if out.Accepted, out.Paying, err = taken.Taken(ctx, s, shard); err != nil {
		return out, err
	}
	if out.Lost != "" || out.Away != nil {
		out.Held = -1 // what is left is known once it is frozen
		return out, nil
	}
	return out, gate.Holds(ctx, s, func(h Hold) error {
		if h.State == Held && s.Home(h.ID.Buyer) == shard {
			out.Held++
		}
		return nil
	})
}
