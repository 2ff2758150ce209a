package engine

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"sync"
	"time"
)

// Extended says what ExtendHolds did.
type Extended struct {
	Until    time.Time `json:"until"`    // every hold lives so long now, or to its cap
	Live     int       `json:"live"`     // holds that were held or paying
	Extended int       `json:"extended"` // of them, that ended earlier before
	Capped   int       `json:"capped"`   // of them, that could not live so long
}

// extendAtOnce is how many holds are at the gate at once: it answers them by batches.
const extendAtOnce = 256

// ExtendHolds has nobody's hold end within the next d: what ends earlier lives until
// then, though not beyond the point from which a payment could still end within the
// hold's cap. It is for when buyers cannot pay for no fault of theirs.
//
// It is a time and not an addition, so that the same again adds nothing. The act is
// audited; repeated under its key it changes nothing, unless a crash came between the
// gate and the record. dry only counts.
func (l *Lifecycle) ExtendHolds(ctx context.Context, id string, d time.Duration, dry bool, act Act) (out Extended, err error) {
	if d < MinHoldTTL || d > MaxHoldCap {
		return out, E(CodeInvalidRequest, "seconds: %s is not between %s and %s", d, MinHoldTTL, MaxHoldCap).With("field", "seconds")
	}
	out.Until = l.Clock.Now().Add(d).UTC().Truncate(time.Millisecond)
	work := func(s *Sale) error {
		if s.Epoch == 0 || s.State == SaleClosed {
			return E(CodeSaleState, "sale %q is %s; it has no holds to extend", s.ID, s.State).With("state", string(s.State))
		}
		out = Extended{Until: out.Until}
		return l.extend(ctx, s, dry, &out)
	}
	if dry {
		s, err := l.Store.Get(ctx, id)
		if err == nil {
			err = work(s)
		}
		return out, err
	}
	act.Name = "extend holds"
	act.Reason = fmt.Sprintf("until %s: %s", out.Until.Format(time.RFC3339), act.Reason)
	if act.Key == "" {
		act.Key = rand.Text() // without one, an act that changes no term leaves no trace
	}
	_, err = l.Store.Change(ctx, id, act, work)
	return out, err
}

// extend goes through the sale's holds, the oldest first: so their new deadlines come
// to the gate in order, as its logs of what is due like them.
func (l *Lifecycle) extend(ctx context.Context, s *Sale, dry bool, out *Extended) error {
	var due []Hold
	err := l.Reader.Holds(ctx, s, func(h Hold) error {
		if h.State != Held && h.State != Paying {
			return nil
		}
		out.Live++
		if l.lastMoment(s, h).Before(out.Until) {
			out.Capped++
		}
		// When a paying hold is due by itself, the gate knows, and does not say.
		if h.State == Paying || h.ExpiresAt.Before(out.Until) {
			due = append(due, h)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if dry {
		out.Extended = len(due)
		return nil
	}
	slices.SortFunc(due, func(a, b Hold) int { return cmp.Compare(a.ID.Created, b.ID.Created) })
	var wg sync.WaitGroup
	var mu sync.Mutex
	room := make(chan struct{}, extendAtOnce)
	for _, h := range due {
		room <- struct{}{}
		mu.Lock()
		stop := err != nil
		mu.Unlock()
		if stop || ctx.Err() != nil {
			<-room
			break
		}
		wg.Go(func() {
			defer func() { <-room }()
			until := out.Until
			if last := l.lastMoment(s, h); last.Before(until) {
				until = last
			}
			now, failed := l.Holds.Extend(ctx, s, h.ID, until)
			if CodeOf(failed) == CodeNotFound {
				return // it has ended, and is forgotten
			}
			mu.Lock()
			defer mu.Unlock()
			if failed != nil {
				err = failed
			} else if !now.Replayed {
				out.Extended++
			}
		})
	}
	wg.Wait()
	if err == nil {
		err = ctx.Err()
	}
	return err
}

// lastMoment is until when a hold may wait to be paid for: a payment that begins then
// ends within the hold's cap.
func (l *Lifecycle) lastMoment(s *Sale, h Hold) time.Time {
	return h.ID.CreatedAt().Add(s.HoldCap - l.PaymentTimeout - PaymentMargin)
}
