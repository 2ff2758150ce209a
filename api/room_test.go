package api

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/flashsale-engine/flashsale/engine"
)

func TestWhoHoldsStockIsNotTurnedAwayByWhoDoesNot(t *testing.T) {
	const most = 8
	for name, quick := range map[string]bool{"the usual way": false, "the quick way": true} {
		t.Run(name, func(t *testing.T) {
			g, f := newGateKeeper()
			d := open(t, f, func(o *Options) {
				o.MaxInFlight = most
				if !quick {
					o.ReserveThen = nil
				}
			})
			var crowd sync.WaitGroup
			answers := make(chan answer, most)
			for i := range most - most/4 { // as many as may ask for stock at once
				crowd.Go(func() {
					answers <- d.do("POST", reservePath, oneShoe, map[string]string{"Idempotency-Key": fmt.Sprint("k", i)})
				})
				<-g.entered
			}
			impatient := time.AfterFunc(time.Minute, func() { close(g.leave) }) // if one more is let in, fail rather than hang

			a := d.do("POST", reservePath, oneShoe, nil)
			a.expect(t, 503, engine.CodeOverloaded)
			if a.header.Get("Retry-After") != "1" {
				t.Error("a newcomer is not told when to come back")
			}
			d.do("GET", "/v1/sales/demo", "", nil).expect(t, 503, engine.CodeOverloaded)
			d.do("GET", "/healthz", "", nil).expect(t, 200, "")

			d.do("GET", reservationPath, "", nil).expect(t, 200, "")
			d.do("POST", reservationPath+"/checkout", `{"payment_method":"pm_card_visa","contact":{"email":"a@example.com"}}`, nil).expect(t, 201, "")
			d.do("DELETE", reservationPath, "", nil).expect(t, 200, "")
			d.do("GET", "/v1/orders/"+paid(anyBuyer).ID.Order(), "", nil).expect(t, 200, "")

			if !impatient.Stop() {
				t.Fatal("somebody who holds nothing took a holder's place")
			}
			if asked := f.quick.Load() > 0; asked != quick {
				t.Errorf("asked the quick way: %v", asked)
			}
			close(g.leave)
			crowd.Wait()
			close(answers)
			for a := range answers {
				a.expect(t, 201, "")
			}
			d.do("GET", "/v1/sales/demo", "", nil).expect(t, 200, "")
			if n := d.server.inFlight.Load(); n != 0 {
				t.Errorf("%d requests are still counted", n)
			}
		})
	}
}

func TestHoldersMayFillANodeAndAreThenToldSo(t *testing.T) {
	entered, leave := make(chan struct{}), make(chan struct{})
	d := open(t, &fake{checkout: func(ctx context.Context, r engine.CheckoutRequest) (engine.CheckoutResult, error) {
		entered <- struct{}{}
		<-leave
		return engine.CheckoutResult{}, engine.E(engine.CodePaymentDeclined, "no")
	}}, func(o *Options) { o.MaxInFlight = 2 })
	pay := func() answer {
		return d.do("POST", reservationPath+"/checkout", `{"payment_method":"pm_card_visa","contact":{"email":"a@example.com"}}`, nil)
	}
	var both sync.WaitGroup
	for range 2 {
		both.Go(func() { pay().expect(t, 402, engine.CodePaymentDeclined) })
		<-entered
	}
	d.do("GET", reservationPath, "", nil).expect(t, 503, engine.CodeOverloaded)
	close(leave)
	both.Wait()
}

func TestEveryClassHasRoom(t *testing.T) {
	for most := 1; most < 40; most++ {
		h, n, b := holders.room(most), newcomers.room(most), browsers.room(most)
		if b < 1 || n < b || h < n || h != int64(most) {
			t.Errorf("of %d: holders %d, newcomers %d, browsers %d", most, h, n, b)
		}
		if most >= 4 && h == n {
			t.Errorf("of %d nothing is kept for who holds stock", most)
		}
	}
	for _, r := range routeTable() {
		if r.pattern == "" {
			t.Error("a route without a pattern")
		}
		if r.rank == supervisors && r.pattern != "/healthz" && r.pattern != "/readyz" {
			t.Errorf("%s is answered whatever else goes on", r.pattern)
		}
	}
}
