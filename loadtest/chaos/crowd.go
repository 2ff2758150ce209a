package chaos

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/flashsale-engine/flashsale/loadtest"
)

// buyers is one kind of buyer: at which sale, how they pay, how many of a hundred.
type buyers struct {
	sale, method string
	percent      float64
	abandon      float64
}

var mixed = []buyers{
	{"one", "pm_card_visa", 34, 0.1},
	{"three", "pm_card_visa", 34, 0.1},
	{"one", "pm_card_chargeDeclined", 8, 0},
	{"three", "pm_sandbox_timeoutAfterCharge", 8, 0},
	{"one", "pm_sandbox_errorAfterCharge", 8, 0},
	{"three", "pm_sandbox_slow", 8, 0},
}

// kinds are the buyers of this world.
func (w *world) kinds() []buyers {
	if w.cfg.Pay == 0 {
		return mixed
	}
	leave := 1 - w.cfg.Pay/w.cfg.Rate
	return []buyers{{"one", "pm_card_visa", 50, leave}, {"three", "pm_card_visa", 50, leave}}
}

// crowd is what the buyers saw.
type crowd struct {
	Arrivals   int64            `json:"arrivals"`
	Holds      int64            `json:"holds"`
	Confirmed  int64            `json:"confirmed"`
	SoldOut    int64            `json:"sold_out"`
	BuyerLimit int64            `json:"buyer_limit"`
	Declined   int64            `json:"declined"`
	Abandoned  int64            `json:"abandoned"`
	Expired    int64            `json:"expired"`
	Refused    int64            `json:"refused"`
	Failed     int64            `json:"failed"`
	Pending    int64            `json:"pending"`
	Unfinished int64            `json:"unfinished"`
	Dropped    int64            `json:"dropped"`
	Retries    int64            `json:"retries"`
	Answers    map[string]int64 `json:"answers"`  // all, by step, status and code
	Errors     map[string]int64 `json:"errors"`   // answers that a sale which goes well does not give
	Failures   map[string]int64 `json:"failures"` // what those who failed were told last

	told           []loadtest.Told
	contradictions []string
}

// come brings the crowd, and waits until every buyer has an answer that is
// final, or ctx ends.
func (w *world) come(ctx context.Context) (crowd, error) {
	c := crowd{Answers: map[string]int64{}, Errors: map[string]int64{}, Failures: map[string]int64{}}
	var mu sync.Mutex
	var all sync.WaitGroup
	var failed error
	for i, k := range w.kinds() {
		k.sale = w.named(k.sale)
		stock := map[string]int64{}
		var skus []string
		for _, s := range w.sales() {
			if s.id == k.sale {
				skus = s.skus
				for _, sku := range s.skus {
					stock[sku] = s.stock
				}
			}
		}
		rate := w.cfg.Rate * k.percent / 100
		all.Go(func() {
			r, err := loadtest.Run(ctx, loadtest.Config{API: w.front.url(), Sale: k.sale, SKUs: skus, BuyerKey: []byte(buyerKey), Run: fmt.Sprintf("chaos%d-%d", w.round, i),
				Rate: rate, Duration: w.cfg.Duration, Seed: w.cfg.Seed + uint64(i), Buyers: max(int(rate*w.cfg.Duration.Seconds()*0.8), 1), // some come twice
				PaymentMethod: k.method, Abandon: k.abandon, Hesitate: 300 * time.Millisecond, Wait: 2 * time.Second, Timeout: 4 * time.Second,
				MaxRetries: 1_000_000, MaxRetryAfter: time.Minute, PollFor: time.Hour, ReadBack: -1, Stock: stock, Limit: perBuyer, Connections: 512,
				Answered: func(o loadtest.Outcome) { w.heard(k.sale, o) }})
			mu.Lock()
			defer mu.Unlock()
			c.add(r)
			if err != nil && ctx.Err() == nil {
				failed = err
			}
		})
	}
	all.Wait()
	return c, failed
}

func (c *crowd) add(r loadtest.Report) {
	c.Arrivals += r.Arrivals
	c.Holds += r.Holds
	c.Confirmed += r.Confirmed
	c.SoldOut += r.SoldOut
	c.BuyerLimit += r.BuyerLimit
	c.Declined += r.Declined
	c.Abandoned += r.Abandoned
	c.Expired += r.Expired
	c.Refused += r.Refused
	c.Failed += r.Failed
	c.Pending += r.Pending
	c.Unfinished += r.Unfinished
	c.Dropped += r.Dropped
	c.Retries += r.Retries
	for _, a := range r.Answers {
		c.Answers[a.String()] += a.Count
	}
	for k, n := range r.Errors {
		c.Errors[k] += n
	}
	for k, n := range r.Failures {
		c.Failures[k] += n
	}
	c.told = append(c.told, r.Orders...)
	c.contradictions = append(c.contradictions, r.Contradictions...)
}

// most lists counts, the greatest first.
func most(counts map[string]int64) string {
	keys := slices.SortedFunc(maps.Keys(counts), func(a, b string) int { return cmp.Or(cmp.Compare(counts[b], counts[a]), cmp.Compare(a, b)) })
	out := ""
	for i, k := range keys {
		if i > 0 {
			out += ", "
		}
		out += fmt.Sprintf("%s × %d", k, counts[k])
	}
	return cmp.Or(out, "none")
}

// fresh is a client for those who look in: nobody's connection is kept
// over a fault.
func fresh(timeout time.Duration) *http.Client {
	return &http.Client{Timeout: timeout, Transport: &http.Transport{DisableKeepAlives: true}}
}
