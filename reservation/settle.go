package reservation

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/flashsale-engine/flashsale/engine"
)

// settle ends what was between the lost shard and each of the others, and books
// what the lost one is given.
//
// Where another shard's journal says that units left for the lost one, they count
// as arrived: the new journal says so, whoever closes the entry finds that. Where
// units left the lost one and have not arrived, they never left: the other shard
// counts the lost one's transfers from a number that none of them had, and takes
// a late arrival for one that it has seen. So nothing is in flight from or to the
// lost shard, at the instant at which each other one is asked; from then on
// neither side can send the other anything before the new shard is open.
func (r *rebuild) settle(ctx context.Context, taken map[uint16]engine.Counters) (books, error) {
	s := r.s
	if s.Shards <= 1 {
		b := books{whole: true, units: make(map[uint16]int64, len(s.Items))}
		for _, it := range s.Items {
			b.units[it.No] = it.Stock
		}
		return b, nil
	}
	v, living, err := r.survey(ctx)
	if err != nil {
		return books{}, err
	}
	b := books{whole: living == s.Shards-1, units: map[uint16]int64{}, net: map[uint16]int64{}}
	b.moves = append(b.moves, "epoch", r.l.Epoch)
	for other := range v {
		if other == r.shard {
			continue
		}
		b.moves = append(b.moves, "out:"+strconv.Itoa(other), r.numbersFrom())
		if arrived := v[other].out[r.shard].number; arrived > 0 {
			b.moves = append(b.moves, "in:"+strconv.Itoa(other), arrived)
		}
	}
	if !b.whole {
		return b, nil // the last one closes the books
	}
	flying := v.flying()
	for _, it := range s.Items {
		units, net := it.Stock-flying[it.No], flying[it.No]
		for other := range v {
			units -= v[other].units[it.No].Stock
			net -= v[other].net[it.No]
		}
		b.units[it.No], b.net[it.No] = units, net
	}
	return b, nil
}

// numbersFrom is where the new shard begins to count what it sends: above every
// number of the generations before it.
func (r *rebuild) numbersFrom() int64 { return r.l.Epoch << 32 }

// survey reads the other shards, each after it was settled with the lost one,
// until their looks agree with each other. It counts those that are there. The
// lost one's side is filled in as it will be.
func (r *rebuild) survey(ctx context.Context) (v survey, living int, err error) {
	v = make(survey, r.s.Shards)
	ask := make([]int, 0, len(v))
	for shard := range v {
		v[shard] = slice{units: map[uint16]engine.Counters{}, net: map[uint16]int64{}, out: map[int]journal{}, in: map[int]int64{}}
		if shard != r.shard {
			ask = append(ask, shard)
		}
	}
	for range surveyTries {
		for _, shard := range ask {
			there, err := r.ask(ctx, v, shard)
			if err != nil {
				return nil, 0, err
			}
			if there {
				living++
			}
		}
		if living < r.s.Shards-1 {
			return v, living, nil // their sums do not matter yet
		}
		if ask = v.late(); len(ask) == 0 {
			return v, living, nil
		}
		living -= len(ask)
	}
	return nil, 0, unavailable(errors.New("units move between the other shards all the time"), "shard %d cannot be rebuilt just now", r.shard)
}

// ask settles one other shard; false: it is lost, too. One that does not answer
// may be there, and its units with it, so the rebuild has to wait for it.
func (r *rebuild) ask(ctx context.Context, v survey, shard int) (bool, error) {
	l, k := r.s.Lease(shard), keysOf(r.s.No, shard)
	for range askTries {
		reply, err := r.g.run(ctx, "settle", settleScript, k.forTransfer(), l, l.Epoch, r.shard, r.numbersFrom(), r.token)
		if err == nil {
			v[shard], err = readSlice(reply)
			if err != nil {
				return false, engine.Wrap(err, engine.CodeInternal, "shard %d of sale %d", shard, r.s.No)
			}
			v[r.shard].in[shard] = v[shard].out[r.shard].number
			v[r.shard].out[shard] = journal{number: r.numbersFrom()}
			return true, nil
		}
		if engine.CodeOf(err) != engine.CodeGateFrozen {
			return false, r.waits(shard, err)
		}
		found, err := r.quell(ctx, k, l)
		switch {
		case err != nil:
			return false, r.waits(shard, err)
		case found == otherStale:
			return false, frozen("shard %d has another lease by now", shard)
		case found == otherLost && shard < r.shard:
			return false, r.waits(shard, errors.New("it is lost, too, and comes first"))
		case found == otherLost:
			return false, nil
		}
	}
	return false, r.waits(shard, errors.New("it is frozen and opened all the time"))
}

// askTries bounds how often another shard may open between two looks.
const askTries = 3

// What lua/repair_quell.lua says.
const (
	otherLost = iota
	otherOpen
	otherStale
)

// quell ends a rebuild of another shard that is under way. Of several lost shards
// each waits for those of a lower number, so that there is one last one, which is
// given what the others were not.
func (r *rebuild) quell(ctx context.Context, k keys, l engine.GateLease) (int64, error) {
	k.all = k.all[:1]
	found, err := r.g.run(ctx, "quell", quellScript, k, l, l.Epoch)
	if engine.CodeOf(err) == engine.CodeGateFrozen {
		return otherLost, nil // its lease's server is gone
	}
	n, _ := found.(int64)
	return n, err
}

// waits: to settle changes nothing that counts, so what became of it need not be known.
func (r *rebuild) waits(shard int, err error) error {
	return unavailable(fmt.Errorf("%v", err), "shard %d cannot be rebuilt before shard %d answers", r.shard, shard) //nolint:errorlint // %v keeps ErrUnknown out
}
