package api

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/flashsale-engine/flashsale/engine"
)

// lobby is a waiting room as the engine's seam has it.
type lobby struct {
	mu     sync.Mutex
	view   engine.RoomView
	ticket engine.RoomTicket
	err    error
	calls  []string
}

func (l *lobby) hear(format string, args ...any) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.calls = append(l.calls, fmt.Sprintf(format, args...))
	return l.err
}

func (l *lobby) set(edit func(l *lobby)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	edit(l)
}

func (l *lobby) View(_ context.Context, sale string) (*engine.RoomView, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil || sale != "demo" {
		return nil, engine.E(engine.CodeNotFound, "no room")
	}
	v := l.view
	return &v, nil
}

func (l *lobby) Join(_ context.Context, sale, buyer string) (engine.RoomTicket, error) {
	return l.ticket, l.hear("join %s %s", sale, buyer)
}

func (l *lobby) Leave(_ context.Context, sale, buyer string) (string, error) {
	return engine.TicketLeft, l.hear("leave %s %s", sale, buyer)
}

func (l *lobby) Ticket(_ context.Context, sale string, n uint64) (engine.RoomTicket, error) {
	return l.ticket, l.hear("ticket %s %d", sale, n)
}

func openRoom() *lobby {
	at := time.Date(2026, 11, 27, 9, 0, 0, 0, time.UTC)
	return &lobby{
		view: engine.RoomView{Sale: "demo", State: "open", Commitment: strings.Repeat("ab", 32), Seed: strings.Repeat("cd", 32), N: 0, OpensAt: at, OpenedAt: at, Front: 3,
			Rate: 1.5, Reach: -1, Limit: "ramp", Joined: 9, Lease: 30 * time.Second, Now: at.Add(time.Second)},
		ticket: engine.RoomTicket{Sale: "demo", Number: 7, Place: -1, State: engine.TicketWaiting, Position: -1, Wait: -1, New: true},
	}
}

func with(l *lobby) func(*Options) { return func(o *Options) { o.Rooms = l } }

func TestTheRoomIsACacheableDocument(t *testing.T) {
	l := openRoom()
	d := open(t, &fake{}, with(l))
	a := d.do("GET", "/v1/sales/demo/queue", "", header{"Authorization": ""})
	a.expect(t, 200, "")
	tag := a.header.Get("ETag")
	if !strings.HasPrefix(tag, `W/"`) || a.header.Get("Cache-Control") != "public, max-age=1" || a.body["n"] != 0.0 || a.body["reach"] != nil || a.body["lease_seconds"] != 30.0 {
		t.Errorf("%v %s", a.header, a.text)
	}
	l.set(func(l *lobby) { l.view.Now = l.view.Now.Add(time.Hour); l.view.Inside = 5 }) // nothing that the document says
	if a := d.do("GET", "/v1/sales/demo/queue", "", header{"If-None-Match": tag}); a.status != 304 {
		t.Errorf("%d %s", a.status, a.text)
	}
	l.set(func(l *lobby) { l.view.Front++; l.view.Reach = 0 })
	if a := d.do("GET", "/v1/sales/demo/queue", "", header{"If-None-Match": tag}); a.status != 200 || a.body["front"] != 4.0 || a.body["reach"] != 0.0 {
		t.Errorf("%d %s", a.status, a.text)
	}
	l.set(func(l *lobby) {
		l.view.State, l.view.N, l.view.Seed, l.view.OpensAt, l.view.OpenedAt = "armed", -1, "", time.Time{}, time.Time{}
	})
	if a := d.do("GET", "/v1/sales/demo/queue", "", nil); a.body["n"] != nil || a.body["seed"] != nil || a.body["opens_at"] != nil {
		t.Errorf("%s", a.text)
	}
	for _, path := range []string{"/v1/sales/other/queue", "/v1/sales/Bad!/queue", "/v1/sales/demo/queue/", "/v1/sales/demo/queue/x", "/v1/sales/demo/queue/-1", "/v1/sales/demo/queue/+1",
		"/v1/sales/demo/queue/99999999999", "/v1/sales/demo/queue/1/2", "/v1/sales/demo/queues", "/v1/sales//queue"} {
		d.do("GET", path, "", nil).expect(t, 404, engine.CodeNotFound)
	}
	open(t, &fake{}).do("GET", "/v1/sales/demo/queue", "", nil).expect(t, 404, engine.CodeNotFound)
}

func TestABuyerJoinsIsAdmittedAndLeaves(t *testing.T) {
	l := openRoom()
	d := open(t, &fake{}, with(l))
	bare := header{"Idempotency-Key": "", "Content-Type": ""}
	a := d.do("POST", "/v1/sales/demo/queue", "", bare)
	if a.expect(t, 201, ""); a.text != `{"sale":"demo","ticket":7,"state":"waiting"}`+"\n" || a.header.Get("Cache-Control") != "no-store" {
		t.Errorf("%v %s", a.header, a.text)
	}
	l.ticket = engine.RoomTicket{Sale: "demo", Number: 7, Place: 2, State: engine.TicketAdmitted, Token: "adm_x", Expires: l.view.Now}
	if a := d.do("POST", "/v1/sales/demo/queue", "", bare); a.status != 200 || a.body["token"] != "adm_x" || a.body["expires_at"] != "2026-11-27T09:00:01.000Z" || a.body["place"] != 2.0 || a.body["position"] != 0.0 {
		t.Errorf("%d %s", a.status, a.text)
	}
	l.ticket = engine.RoomTicket{Sale: "demo", Number: 7, Place: 20, State: engine.TicketUnreachable, Position: 17, Wait: -1}
	if a := d.do("GET", "/v1/sales/demo/queue/7", "", header{"Authorization": ""}); a.status != 200 || a.body["waitlist"] != true || a.body["wait_seconds"] != nil || a.header.Get("Cache-Control") != "public, max-age=1" {
		t.Errorf("%d %s", a.status, a.text)
	}
	l.ticket.State, l.ticket.Wait = engine.TicketWaiting, 1500*time.Millisecond
	if a := d.do("GET", "/v1/sales/demo/queue/7", "", nil); a.body["wait_seconds"] != 2.0 || a.body["waitlist"] != nil {
		t.Errorf("%s", a.text)
	}
	if a := d.do("DELETE", "/v1/sales/demo/queue", "", nil); a.status != 200 || a.body["state"] != "left" {
		t.Errorf("%d %s", a.status, a.text)
	}
	d.do("POST", "/v1/sales/demo/queue", "", header{"Authorization": ""}).expect(t, 401, engine.CodeUnauthenticated)
	d.do("PUT", "/v1/sales/demo/queue", "", nil).expect(t, 405, engine.CodeMethodNotAllowed)
	l.err = engine.E(engine.CodeSaleNotOpen, "the waiting room is closed")
	d.do("POST", "/v1/sales/demo/queue", "", bare).expect(t, 409, engine.CodeSaleNotOpen)
	l.err = engine.E(engine.CodeGateFrozen, "lost").After(time.Second)
	if a := d.do("POST", "/v1/sales/demo/queue", "", bare); a.status != 503 || a.header.Get("Retry-After") != "1" {
		t.Errorf("%d %v", a.status, a.header)
	}
	if want := "join demo " + anyBuyer; l.calls[0] != want {
		t.Errorf("%q", l.calls)
	}
}

func TestAnEventStreamTellsWhatChanges(t *testing.T) {
	l := openRoom()
	d := openTCP(t, &fake{}, with(l), func(o *Options) { o.MaxStreams = 1; o.WriteTimeout = time.Second })
	next, rest := d.events(t, "/v1/sales/demo/queue/events")
	if v := next(); v["front"] != 3.0 {
		t.Errorf("%v", v)
	}
	d.do("GET", "/v1/sales/demo/queue/events", "", nil).expect(t, 503, engine.CodeOverloaded)
	l.set(func(l *lobby) { l.view.Now = l.view.Now.Add(time.Second) }) // that alone is no news
	began := time.Now()
	time.AfterFunc(2500*time.Millisecond, func() { l.set(func(l *lobby) { l.view.Front = 8 }) })
	if v := next(); v["front"] != 8.0 || time.Since(began) < 2*time.Second { // beyond the write time-out, too
		t.Errorf("%v after %s", v, time.Since(began))
	}
	l.set(func(l *lobby) { l.view.State = "closed" })
	if v := next(); v["state"] != "closed" {
		t.Errorf("%v", v)
	}
	if more := rest(); more != "" {
		t.Errorf("it goes on: %q", more)
	}
}

func TestASalesEventsTellWhatChanges(t *testing.T) {
	var mu sync.Mutex
	sale := *testSale
	f := &fake{view: func(id string) (*engine.Sale, []engine.Counters, error) {
		if id != "demo" {
			return nil, nil, engine.E(engine.CodeNotFound, "no such sale")
		}
		mu.Lock()
		defer mu.Unlock()
		now := sale
		return &now, []engine.Counters{{No: 0, Stock: 100, Available: 100}}, nil
	}}
	d := openTCP(t, f)
	next, rest := d.events(t, "/v1/sales/demo/events")
	if v := next(); v["state"] != "open" || v["now"] != stamp(d.clock.now()) {
		t.Errorf("%v", v)
	}
	for _, state := range []engine.SaleState{engine.SalePaused, engine.SaleClosed} {
		d.clock.pass(time.Second) // which alone is no news
		mu.Lock()
		sale.State = state
		mu.Unlock()
		if v := next(); v["state"] != string(state) || v["now"] != stamp(d.clock.now()) {
			t.Errorf("%v, want %s", v, state)
		}
	}
	if more := rest(); more != "" {
		t.Errorf("it goes on: %q", more)
	}
	d.do("HEAD", "/v1/sales/demo/events", "", nil).expect(t, 200, "")
}

// events reads a stream: the next event, and whatever comes until it ends.
func (d *door) events(t *testing.T, path string) (next func() map[string]any, rest func() string) {
	t.Helper()
	req, err := http.NewRequest("GET", d.url+path, nil)
	must(t, err)
	res, err := http.DefaultTransport.RoundTrip(req)
	must(t, err)
	t.Cleanup(func() { _ = res.Body.Close() })
	if res.StatusCode != 200 || res.Header.Get("Content-Type") != "text/event-stream" || res.Header.Get("Cache-Control") != "no-store" {
		t.Fatalf("%d %v", res.StatusCode, res.Header)
	}
	room := make([]byte, 4096)
	next = func() map[string]any {
		t.Helper()
		n, err := res.Body.Read(room)
		if n == 0 {
			t.Fatal(err)
		}
		text, ok := strings.CutPrefix(string(room[:n]), "data: ")
		if !ok || !strings.HasSuffix(text, "\n\n") {
			t.Fatalf("%q", room[:n])
		}
		var v map[string]any
		must(t, json.Unmarshal([]byte(text), &v))
		return v
	}
	return next, func() string {
		more, err := io.ReadAll(res.Body)
		must(t, err)
		return string(more)
	}
}

func TestAReservationCarriesItsAdmission(t *testing.T) {
	var mu sync.Mutex
	var got []string
	f := &fake{reserve: func(_ context.Context, r engine.ReserveRequest) (engine.Reservation, error) {
		mu.Lock()
		defer mu.Unlock()
		got = append(got, r.IdempotencyKey+" "+r.Admission)
		if r.Admission == "" {
			return engine.Reservation{}, engine.NotAdmitted(testSale, engine.AdmissionMissing, "none")
		}
		return held(r.Buyer), nil
	}}
	d := openTCP(t, f)
	const cart = `{"lines":[{"sku":"SHOE-42","quantity":2}]}`
	refused := d.do("POST", "/v1/sales/demo/reservations", cart, header{"Idempotency-Key": "a"})
	refused.expect(t, 403, engine.CodeAdmissionRequired)
	if refused.body["reason"] != "missing" || refused.body["queue"] != "/v1/sales/demo/queue" {
		t.Errorf("%s", refused.text)
	}
	d.do("POST", "/v1/sales/demo/reservations", cart, header{"Idempotency-Key": "b", "Admission-Token": "adm_1"}).expect(t, 201, "")
	if f.quick.Load() != 2 {
		t.Errorf("%d of 2 the quick way", f.quick.Load())
	}
	d.do("POST", "/v1/sales/demo/reservations", " "+cart, header{"Idempotency-Key": "c", "Admission-Token": "adm_2", "Content-Type": "application/json; charset=utf-8"}).expect(t, 201, "")
	if f.quick.Load() != 2 {
		t.Errorf("%d the quick way", f.quick.Load())
	}
	req, err := http.NewRequest("POST", d.url+"/v1/sales/demo/reservations", strings.NewReader(cart))
	must(t, err)
	req.Header = http.Header{"Authorization": {"Bearer " + token(t, anyBuyer)}, "Idempotency-Key": {"d"}, "Content-Type": {"application/json"}, "Admission-Token": {"adm_1", "adm_2"}}
	res, err := d.client.Do(req)
	must(t, err)
	_ = res.Body.Close()
	if res.StatusCode != 400 {
		t.Errorf("two tokens: %d", res.StatusCode)
	}
	lines := `{"buyer":"x","idempotency_key":"e","admission_token":"adm_3","lines":[{"sku":"SHOE-42","quantity":1}]}` + "\n" +
		`{ "buyer" : "x\u0079", "idempotency_key":"f","admission_token":"adm_4","lines":[{"sku":"SHOE-42","quantity":1}]}`
	out := d.batchAnswers(lines)
	if len(out) != 2 {
		t.Errorf("%v", out)
	}
	mu.Lock()
	defer mu.Unlock()
	want := map[string]bool{"a ": true, "b adm_1": true, "c adm_2": true, "e adm_3": true, "f adm_4": true}
	for _, g := range got {
		if !want[g] {
			t.Errorf("asked for %q", g)
		}
		delete(want, g)
	}
	if len(want) > 0 {
		t.Errorf("never asked for %v", want)
	}
}

func TestWhoJoinsIsCountedLikeWhoReserves(t *testing.T) {
	l, limits := limiting(map[engine.Limit]int{engine.LimitBuyer: 2})
	room := &lobby{ticket: engine.RoomTicket{Sale: "demo", Number: 7, Place: -1, Position: -1, Wait: -1, State: engine.TicketWaiting}}
	d := open(t, &fake{}, with(room), limits)
	for range 2 {
		d.do("POST", "/v1/sales/demo/queue", "", nil).expect(t, 200, "")
	}
	d.do("POST", "/v1/sales/demo/queue", "", nil).expect(t, 429, engine.CodeRateLimited)
	d.do("DELETE", "/v1/sales/demo/queue", "", nil).expect(t, 200, "")
	if n := len(room.calls); n != 3 || l.of(engine.LimitBuyer, anyBuyer, "") != 2 {
		t.Errorf("the room was asked %v", room.calls)
	}
}
