package api

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/flashsale-engine/flashsale/engine"
)

// failing is whatever the door asks, falling over.
type failing struct{}

func (failing) Event(string, []byte, func(string) string) (engine.ProviderEvent, error) {
	panic("secret")
}
func (failing) View(context.Context, string) (*engine.RoomView, error)          { panic("secret") }
func (failing) Join(context.Context, string, string) (engine.RoomTicket, error) { panic("secret") }
func (failing) Leave(context.Context, string, string) (string, error)           { panic("secret") }
func (failing) Ticket(context.Context, string, uint64) (engine.RoomTicket, error) {
	panic("secret")
}
func (failing) Demand(string, bool, time.Time) bool { panic("secret") }
func (failing) Give(string, string, bool, bool, time.Time) engine.Challenge {
	panic("secret")
}
func (failing) Check(context.Context, string, string, string, string, time.Time) (string, bool) {
	panic("secret")
}
func (failing) Keep(context.Context, engine.ProviderEvent) (bool, error) { panic("secret") }

func allFailing() *fake {
	return &fake{
		reserve:  func(context.Context, engine.ReserveRequest) (engine.Reservation, error) { panic("secret") },
		read:     func(string, engine.ReservationID) (engine.Reservation, error) { panic("secret") },
		release:  func(string, engine.ReservationID) (engine.Reservation, error) { panic("secret") },
		checkout: func(context.Context, engine.CheckoutRequest) (engine.CheckoutResult, error) { panic("secret") },
		order:    func(string, engine.ReservationID) (engine.Order, error) { panic("secret") },
		view:     func(string) (*engine.Sale, []engine.Counters, error) { panic("secret") },
		ready:    func() error { panic("secret") },
	}
}

func TestAPanicBehindAnyRouteIsOneRequestsFault(t *testing.T) {
	d := openTCP(t, allFailing(), usualWay, func(o *Options) {
		o.Webhooks, o.Rooms, o.Challenges = failing{}, failing{}, failing{}
		o.SaleCacheFor = -1
	})
	for i, r := range routeTable() {
		for _, m := range r.methods {
			order, id := testID.Order(), testID.String()
			switch i {
			case atHealth, atOpenAPI, atScript, atTypes, atPages, atBatch: // they ask nobody; the last has a test of its own
				continue
			}
			path := strings.NewReplacer("{sale}", "demo", "{provider}", "sandbox", "{ticket}", "7").Replace(r.pattern)
			body := ""
			if i == atOrder {
				id = order
			}
			path = strings.Replace(path, "{id}", id, 1)
			switch i {
			case atReservations:
				body = oneShoe
			case atCheckout:
				body = `{"payment_method":"pm_card_visa"}`
			case atWebhook:
				body = `{}`
			}
			t.Run(m.name+" "+r.pattern, func(t *testing.T) {
				a := d.do(m.name, path, body, nil)
				a.expect(t, 500, engine.CodeInternal)
				if strings.Contains(a.text, "secret") {
					t.Errorf("leaked: %s", a.text)
				}
			})
		}
	}
	d.do("GET", "/healthz", "", nil).expect(t, 200, "")
	if n := d.server.inFlight.Load(); n != 0 {
		t.Errorf("%d requests are still counted", n)
	}
}

func TestAPanicOnTheQuickWayEndsOneConnection(t *testing.T) {
	d := openTCP(t, &fake{}, func(o *Options) {
		o.SoldOut = func(string, string, string, int) error { panic("secret") }
	})
	d.server.names.keep("demo").refuse(d.clock.now().Unix())
	c := d.dial()
	c.say(shoeRequest(t, anyBuyer).String())
	if text, err := io.ReadAll(c.r); len(text) > 0 || err != nil && !errors.Is(err, io.EOF) {
		t.Errorf("%q, %v", text, err)
	}
	if log := d.log.String(); !strings.Contains(log, "panic=secret") {
		t.Errorf("log: %s", log)
	}
	other := d.dial()
	other.say("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
	other.expect(200, "ok")
	until(t, "the end of its connection", func() bool { return d.server.conns.Load() == 1 })
	if n := d.server.inFlight.Load(); n != 0 {
		t.Errorf("%d requests are still counted", n)
	}
}
