package waiters

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// glance is what a watcher read about a ticket.
type glance struct {
	at    time.Time
	place int64
	state string
}

// estimate is how long a waiter was told that they would wait.
type estimate struct {
	at    time.Time
	place int64
	wait  time.Duration
}

// startWatchers lets waiters poll for themselves, and listen.
func (r *run) startWatchers(ctx context.Context, all *sync.WaitGroup) {
	dice := rand.New(rand.NewPCG(r.cfg.Seed, 0)) //nolint:gosec // whom to watch
	near := min(r.n, int64(2*r.cfg.Units))
	for k := range r.cfg.Watchers {
		among := r.n
		if k%2 == 0 { // half of them where something happens
			among = near
		}
		place := dice.Int64N(among)
		ticket := int64(r.shuffle.Ticket(uint64(place)))
		all.Go(func() { r.watch(ctx, k, ticket, place) })
	}
	for k := range r.cfg.Streams {
		all.Go(func() { r.listen(ctx, k) })
	}
}

// watch polls about one ticket. Now and then its owner tries to be admitted.
func (r *run) watch(ctx context.Context, k int, ticket, place int64) {
	dice := rand.New(rand.NewPCG(r.cfg.Seed, 1<<32+uint64(k))) //nolint:gosec // when to look
	asked := false
	for sleep(ctx, r.cfg.Poll/2+time.Duration(dice.Int64N(int64(r.cfg.Poll)))) {
		r.polls.Add(1)
		a := r.c.insist(ctx, ask{method: http.MethodGet, path: r.queue + "/" + strconv.FormatInt(ticket, 10)}, r.repeat)
		if ctx.Err() != nil {
			return
		}
		if a.status != http.StatusOK || a.body.Place == nil || *a.body.Place != place {
			r.contradict("ticket %d has place %d, and the answer is %s, place %v", ticket, place, a, a.body.Place)
			return
		}
		r.mu.Lock()
		r.placed[ticket] = place
		r.glances = append(r.glances, glance{a.got, place, a.body.State})
		if a.body.State == "waiting" && a.body.Wait != nil && !asked {
			asked = true
			r.estimates = append(r.estimates, estimate{a.got, place, time.Duration(*a.body.Wait * float64(time.Second))})
		}
		far := place > r.scanned+int64(r.cfg.Units/20)
		r.mu.Unlock()
		if i := int(r.holder[ticket].Load()) - 1; far && dice.Float64() < pushy && i >= 0 && !r.cfg.fate(i).leaves {
			r.push(ctx, i, ticket, place)
		}
	}
}

// push asks to be admitted, and to reserve, before it is one's turn.
func (r *run) push(ctx context.Context, i int, ticket, place int64) {
	token := r.token(i)
	a, err := r.join(ctx, i, token)
	if err != nil {
		r.failed(ctx, i, "pushing", err)
		return
	}
	if *a.body.Ticket != ticket {
		r.contradict("%s asks again and has ticket %d instead of %d", buyerID(i), *a.body.Ticket, ticket)
	}
	r.mu.Lock()
	r.claims = append(r.claims, claim{ticket, place, a.sent, a.got, a.body.Token != "", true})
	r.mu.Unlock()
	if a.body.Token == "" {
		r.mustRefuse(ctx, i, token, "", "without an admission")
	}
}

// mustRefuse tries to reserve with an admission that is no good.
func (r *run) mustRefuse(ctx context.Context, i int, token, admission, why string) {
	a := r.c.insist(ctx, ask{method: http.MethodPost, path: "/v1/sales/" + saleID + "/reservations", token: token, admission: admission, key: buyerID(i) + "-push", body: wanted}, r.repeat)
	if ctx.Err() != nil {
		return
	}
	if a.body.Code != "admission_required" && a.body.Code != "sold_out" { // which a node may say without looking at who asks
		r.contradict("%s reserves %s: %s", buyerID(i), why, a)
		return
	}
	r.turnedAway.Add(1)
}

// listen follows the event stream: the front must not go back in it.
func (r *run) listen(ctx context.Context, k int) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.e.api+r.queue+"/events", nil)
	if err != nil {
		r.contradict("%v", err)
		return
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		if ctx.Err() == nil {
			r.contradict("event stream %d: %v", k, err)
		}
		return
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		r.contradict("event stream %d: status %d", k, res.StatusCode)
		return
	}
	var front int64
	for s := bufio.NewScanner(res.Body); s.Scan(); {
		data, ok := strings.CutPrefix(s.Text(), "data:")
		if !ok {
			continue
		}
		var d document
		if err := d.event([]byte(data)); err != nil || d.Front < front {
			r.contradict("event stream %d: front %d after %d: %v", k, d.Front, front, err)
			return
		}
		front = d.Front
		r.mu.Lock()
		r.told = append(r.told, time.Since(d.Now).Seconds())
		r.mu.Unlock()
	}
	if ctx.Err() == nil && !r.over() {
		r.contradict("event stream %d ended", k)
	}
}

// over: the last unit was sold, or nobody is left.
func (r *run) over() bool {
	select {
	case <-r.soldOut:
		return true
	default:
		return false
	}
}

// askPlaces asks for places that nobody has been told yet, until there are as many
// as are to be checked.
func (r *run) askPlaces(ctx context.Context) {
	var next int64
	step := max(1, r.n/int64(r.cfg.Sample))
	var workers sync.WaitGroup
	for range min(r.cfg.Connections, 16) {
		workers.Go(func() {
			for ctx.Err() == nil {
				r.mu.Lock()
				ticket := next
				next += step
				r.mu.Unlock()
				if ticket >= r.n {
					return
				}
				a := r.c.insist(ctx, ask{method: http.MethodGet, path: r.queue + "/" + fmt.Sprint(ticket)}, r.repeat)
				if a.status != http.StatusOK || a.body.Place == nil {
					r.contradict("the place of ticket %d: %s", ticket, a)
					return
				}
				r.mu.Lock()
				r.placed[ticket] = *a.body.Place
				r.mu.Unlock()
			}
		})
	}
	workers.Wait()
}
