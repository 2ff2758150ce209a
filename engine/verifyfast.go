package engine

import (
	"context"
	"fmt"
)

// Fast compares the counters alone: the gate's conservation, its stock and its
// sold units against the record's, the record's rows against the running sums of
// its ledger, and, where nothing is on its way, that the record has all that the
// gate has sold. It reads no order, hold, event or payment, so it costs
// milliseconds however many there are. What it finds it looks at again, as Verify does.
func (v *Verifier) Fast(ctx context.Context) (Verdict, error) { return v.until(ctx, v.glance) }

// glance is one look at the counters. What the gate had sold when it was read
// was in the outbox or beyond; the outbox, found empty after that, had handed all
// of it to the stream, up to the mark; and a record that has read past the mark
// has all of it, as orders or as refused ones. Each is read after the other.
func (v *Verifier) glance(ctx context.Context) (Verdict, error) {
	out := Verdict{Fast: true}
	sales, err := v.Sales(ctx)
	if err != nil {
		return out, err
	}
	first, err := v.briefs(ctx)
	if err != nil {
		return out, err
	}
	byNo := make(map[uint32]*Sale, len(sales))
	var quiet []quietSale
	for _, s := range sales {
		byNo[s.No] = s
		if s.Epoch == 0 || s.State == SaleClosed {
			continue
		}
		out.Checked.Sales++
		counters, idle, err := v.glanceAt(ctx, s, first[s.No], &out)
		if err != nil {
			return out, fmt.Errorf("sale %s: %w", s.ID, err)
		}
		if idle {
			quiet = append(quiet, quietSale{s, counters})
		}
	}
	mark, err := v.Stream.Mark(ctx)
	if err != nil {
		return out, err
	}
	left, err := v.Stream.Left(ctx, mark)
	if err != nil || left > 0 || len(quiet) == 0 {
		return out, err
	}
	last, err := v.briefs(ctx)
	for _, q := range quiet {
		for _, b := range last[q.sale.No] {
			if c, ok := q.counters[b.No]; ok && c.Sold > b.Sold+b.Refused {
				out.add("drift", CauseGateAhead, 1, at(q.sale, b.No), "the gate has sold %d, the record has %d and %d refused, and nothing is on its way", c.Sold, b.Sold, b.Refused)
			}
		}
	}
	return out, err
}

// quietSale is one whose outbox was empty, with its counters from before.
type quietSale struct {
	sale     *Sale
	counters map[uint16]Counters
}

func (v *Verifier) briefs(ctx context.Context) (map[uint32][]RecordBrief, error) {
	list, err := v.Record.Brief(ctx)
	out := map[uint32][]RecordBrief{}
	for _, b := range list {
		out[b.SaleNo] = append(out[b.SaleNo], b)
	}
	return out, err
}

// glanceAt compares one sale, and says whether its outbox was empty.
func (v *Verifier) glanceAt(ctx context.Context, s *Sale, briefs []RecordBrief, out *Verdict) (map[uint16]Counters, bool, error) {
	list, err := v.Gate.Counters(ctx, s)
	if err != nil {
		return nil, false, err
	}
	counters := make(map[uint16]Counters, len(list))
	for _, c := range list {
		counters[c.No] = c
	}
	for _, b := range briefs {
		at := at(s, b.No)
		out.Checked.SKUs++
		out.Checked.Orders += b.Sold
		if over := b.Sold - b.Stock; over > 0 {
			out.add("oversold", CauseOversold, int(over), at, "%d units of stock, %d sold", b.Stock, b.Sold)
		}
		if b.Sold != b.RunningSold || b.Stock != b.RunningStock {
			out.add("drift", CauseRecordSums, 1, at, "the record disagrees with itself: stock %d (ledger %d), sold %d (ledger %d)", b.Stock, b.RunningStock, b.Sold, b.RunningSold)
		}
		c, ok := counters[b.No]
		holdAgainst(at, b.Stock, b.Sold, c, ok, out)
		out.Checked.InFlight += int(max(0, c.Sold-b.Sold-b.Refused))
	}
	waiting, err := v.Outbox.Pending(ctx, s, 0, 1)
	return counters, len(waiting) == 0, err
}
