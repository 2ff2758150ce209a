package chaos

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/flashsale-engine/flashsale/api/buyertoken"
	"github.com/flashsale-engine/flashsale/loadtest"
)

const (
	probeSale  = "probe"
	probeEvery = 200 * time.Millisecond
	probeWaits = 3 * time.Second // for an answer
)

// probe is one who reserves a unit and pays for it, once, and notes how it went.
type probe struct {
	began          time.Time
	took           time.Duration
	reserve, order string // "" is well; else what came instead
}

func (p probe) ok() bool { return p.reserve == "" && p.order == "" }

// prober sends a probe every so often, whatever became of the others: what a
// buyer who came at that moment would have seen at the first try.
type prober struct {
	front, sale, run string
	client           *http.Client

	mu   sync.Mutex
	done []probe
	told []loadtest.Told
}

// watch probes until ctx ends.
func (p *prober) watch(ctx context.Context) {
	var all sync.WaitGroup
	defer all.Wait()
	t := time.NewTicker(probeEvery)
	defer t.Stop()
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			all.Go(func() { p.try(context.WithoutCancel(ctx), n) })
		}
	}
}

func (p *prober) try(ctx context.Context, n int) {
	buyer := fmt.Sprintf("probe-%s-%d", p.run, n)
	token, err := buyertoken.Mint([]byte(buyerKey), buyer, buyertoken.DefaultAudience, time.Hour)
	if err != nil {
		panic(err) // a constant key
	}
	out := probe{began: time.Now()}
	var reserved struct{ ID string }
	out.reserve = p.ask(ctx, "/v1/sales/"+p.sale+"/reservations", token, buyer, `{"lines":[{"sku":"P","quantity":1}]}`, &reserved)
	if out.reserve == "" {
		var order struct{ ID string }
		out.order = p.ask(ctx, "/v1/reservations/"+reserved.ID+"/checkout", token, buyer+"-pay", `{"payment_method":"pm_card_visa","contact":{"email":"p@example.com"}}`, &order)
		if out.order == "" {
			p.mu.Lock()
			p.told = append(p.told, loadtest.Told{Order: order.ID, Reservation: reserved.ID, Buyer: buyer, SKU: "P", Units: 1})
			p.mu.Unlock()
		}
	}
	out.took = time.Since(out.began)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done = append(p.done, out)
}

// ask posts and wants a 201; else it says what came.
func (p *prober) ask(ctx context.Context, path, token, key, body string, into any) string {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.front+path, bytes.NewReader([]byte(body)))
	if err != nil {
		return err.Error()
	}
	for k, v := range map[string]string{"Authorization": "Bearer " + token, "Idempotency-Key": key, "Content-Type": "application/json", "Prefer": "wait=2"} {
		req.Header.Set(k, v)
	}
	res, err := p.client.Do(req)
	if err != nil {
		return "no answer"
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		return "no answer"
	}
	if res.StatusCode != http.StatusCreated {
		var problem struct{ Code string }
		_ = json.Unmarshal(raw, &problem) // a body of another kind has no code
		if problem.Code == "" {
			return fmt.Sprint(res.StatusCode)
		}
		return fmt.Sprintf("%d %s", res.StatusCode, problem.Code)
	}
	if err := json.Unmarshal(raw, into); err != nil {
		return "malformed"
	}
	return ""
}

// steady is how many probes in a row must be well for things to be normal again.
const steady = 5

// normal says how long after a moment things were normal again, in reserving and
// in ordering: from the first of a row of probes that were all well.
func (p *prober) normal(after time.Time) (selling, ordering time.Duration, known bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var sold, ordered time.Time
	sells, orders := 0, 0
	row := func(n *int, at *time.Time, ok bool, began time.Time) {
		switch {
		case !ok:
			*n, *at = 0, time.Time{}
		case *n == 0:
			*n, *at = 1, began
		default:
			*n++
		}
	}
	slices.SortFunc(p.done, func(a, b probe) int { return a.began.Compare(b.began) })
	for _, d := range p.done {
		if d.began.Before(after) || sells >= steady && orders >= steady {
			continue
		}
		if sells < steady {
			row(&sells, &sold, d.reserve == "", d.began)
		}
		if orders < steady {
			row(&orders, &ordered, d.ok(), d.began)
		}
	}
	return sold.Sub(after), ordered.Sub(after), sells >= steady && orders >= steady
}

// seen counts what probes between two moments were told, apart from "well".
func (p *prober) seen(from, to time.Time) (total int64, told map[string]int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	told = map[string]int64{}
	for _, d := range p.done {
		if d.began.Before(from) || d.began.After(to) {
			continue
		}
		total++
		switch {
		case d.reserve != "":
			told["reserve "+d.reserve]++
		case d.order != "":
			told["checkout "+d.order]++
		}
	}
	return total, told
}

func (p *prober) orders() []loadtest.Told {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]loadtest.Told{}, p.told...)
}
