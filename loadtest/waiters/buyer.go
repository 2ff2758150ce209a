package waiters

import (
	"context"
	"fmt"
	"net/http"
	"time"
)

// The ends that a called waiter may come to.
const (
	shopping  = iota // not at an end
	left             // gave the ticket back before the opening
	absent           // had gone
	lapsed           // came when the lease was over
	passed           // admitted, and did not want a unit after all
	empty            // admitted, wanted one, and there was none until the end
	abandoned        // held a unit and walked away
	bought
	late // the hold had expired before they paid
	cut  // the run was over first
	endings
)

var endNames = [endings]string{"shopping", "left", "absent", "lapsed", "passed", "found_nothing", "abandoned", "bought", "too_late_to_pay", "cut_short"}

func (r *run) end(how int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ends[how]++
}

// claim is an answer to who asked to be admitted.
type claim struct {
	ticket, place int64
	sent, got     time.Time
	admitted      bool
	early         bool // a try to push in; a refusal is what it should get
}

// called sends somebody on their way, unless they have gone. The caller holds r.mu.
func (r *run) called(ctx context.Context, i int, ticket, place int64) {
	f := r.cfg.fate(i)
	switch {
	case f.leaves && ticket < r.n: // a hole
	case f.gone:
		r.ends[absent]++
	default:
		r.ends[shopping]++
		r.buyers.Go(func() {
			how := r.buyer(ctx, i, ticket, place, f)
			r.mu.Lock()
			defer r.mu.Unlock()
			r.ends[shopping]--
			r.ends[how]++
		})
	}
}

// pause waits, and says whether there is still something to wait for.
func (r *run) pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
	case <-r.soldOut:
	}
	return false
}

// buyer is the way of one whose place the public document shows as reached.
func (r *run) buyer(ctx context.Context, i int, ticket, place int64, f fate) int {
	tardy := f.tardy && ticket < r.n
	wait := min(f.look+f.react, r.cfg.Lease*3/5)
	if tardy {
		wait = r.cfg.Lease + 2*time.Second + f.look
	}
	if !r.pause(ctx, wait) {
		return r.interrupted(ctx)
	}
	token := r.token(i)
	a, err := r.join(ctx, i, token)
	if err != nil {
		return r.failed(ctx, i, "claiming", err)
	}
	if tardy && *a.body.Ticket != ticket { // another ticket, at the end
		r.late(ctx, i, a)
		return lapsed
	}
	admitted := a.body.Token != ""
	r.mu.Lock()
	r.claims = append(r.claims, claim{ticket, place, a.sent, a.got, admitted, false})
	if a.body.Place != nil {
		r.placed[*a.body.Ticket] = *a.body.Place
	}
	r.mu.Unlock()
	if !admitted {
		return lapsed // whether that is right is judged when the front's times are known
	}
	if !r.pause(ctx, f.shop) {
		return empty
	}
	if !f.interested {
		return passed
	}
	if i%50 == 0 {
		other := (i + 1) % r.cfg.Waiters
		r.mustRefuse(ctx, other, r.token(other), a.body.Token, "with another's admission")
	}
	id, how := r.reserve(ctx, i, token, a.body)
	if id == "" {
		return how
	}
	if !f.pays {
		return abandoned
	}
	if !sleep(ctx, f.pay) {
		return cut
	}
	return r.checkout(ctx, i, token, id)
}

// interrupted is the end of one for whom there was nothing left, or no time.
func (r *run) interrupted(ctx context.Context) int {
	if ctx.Err() != nil {
		return cut
	}
	return empty
}

func (r *run) failed(ctx context.Context, i int, what string, err error) int {
	if ctx.Err() == nil {
		r.contradict("%s, %s: %v", buyerID(i), what, err)
	}
	return cut
}

const wanted = `{"lines":[{"sku":"` + sku + `","quantity":1}]}`

// reserve tries for as long as the admission may be used.
func (r *run) reserve(ctx context.Context, i int, token string, admission reply) (id string, how int) {
	for try := 0; ; try++ {
		a := r.c.insist(ctx, ask{method: http.MethodPost, path: "/v1/sales/" + saleID + "/reservations", token: token, admission: admission.Token,
			key: fmt.Sprintf("%s-%d", buyerID(i), try), body: wanted}, r.repeat)
		switch {
		case a.status == http.StatusCreated && a.body.ID != "":
			return a.body.ID, shopping
		case a.body.Code == "sold_out":
		case a.body.Code == "admission_required" && a.got.After(admission.Expires.Add(-time.Second)):
			return "", empty
		default:
			return "", r.failed(ctx, i, "reserving", fmt.Errorf("%s", a))
		}
		if time.Now().After(admission.Expires) || !r.pause(ctx, max(2*time.Second/time.Duration(r.cfg.Hurry), 200*time.Millisecond)) {
			return "", empty
		}
	}
}

const payment = `{"payment_method":"pm_card_visa","contact":{"email":"someone@example.com"}}`

// checkout pays until it is known what came of it.
func (r *run) checkout(ctx context.Context, i int, token, id string) int {
	a := r.c.insist(ctx, ask{method: http.MethodPost, path: "/v1/reservations/" + id + "/checkout", token: token, key: buyerID(i) + "-pay", body: payment}, r.repeat)
	order := a.body.ID
	for a.status == http.StatusAccepted || a.status == http.StatusOK && (a.body.State == "paying" || a.body.State == "accepted") {
		if !sleep(ctx, 500*time.Millisecond) {
			return cut
		}
		a = r.c.insist(ctx, ask{method: http.MethodGet, path: "/v1/reservations/" + id, token: token}, r.repeat)
		order = id
	}
	switch {
	case a.body.State == "confirmed":
		r.mu.Lock()
		defer r.mu.Unlock()
		r.confirmed[order] = buyerID(i)
		return bought
	case a.body.Code == "reservation_expired", a.body.Code == "reservation_released", a.body.State == "expired", a.body.State == "released":
		return late
	}
	return r.failed(ctx, i, "paying", fmt.Errorf("%s", a))
}
