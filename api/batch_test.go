package api

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/golang-jwt/jwt/v5"

	"github.com/flashsale-engine/flashsale/engine"
)

const batchPath = reservePath + ":batch"

func serviceToken(t *testing.T, scope any) string {
	t.Helper()
	return sign(t, jwt.SigningMethodHS256, nil, testSecret, claims(func(c jwt.MapClaims) { c["sub"] = "storefront"; c["scope"] = scope }))
}

func (d *door) postBatch(body, tok, contentType string) *http.Response {
	d.t.Helper()
	req, err := http.NewRequest("POST", d.url+batchPath, strings.NewReader(body))
	must(d.t, err)
	req.Header.Set("Authorization", "Bearer "+tok)
	req.Header.Set("Content-Type", contentType)
	res, err := d.client.Transport.(*contractChecker).next.RoundTrip(req) // a stream is no one document; see lineOf
	must(d.t, err)
	return res
}

// batchAnswers gives the answers by index, each held against the contract.
func (d *door) batchAnswers(body string) map[int]map[string]any {
	d.t.Helper()
	res := d.postBatch(body, serviceToken(d.t, "orders:read reservations:batch"), ndjson)
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != 200 || res.Header.Get("Content-Type") != ndjson || res.Header.Get("X-Request-Id") == "" {
		text, _ := io.ReadAll(res.Body)
		d.t.Fatalf("%d %v %s", res.StatusCode, res.Header, text)
	}
	out := map[int]map[string]any{}
	for lines := bufio.NewScanner(res.Body); lines.Scan(); {
		at, a := d.lineOf(lines.Bytes())
		if out[at] != nil {
			d.t.Errorf("line %d is answered twice", at)
		}
		out[at] = a
	}
	return out
}

func (d *door) lineOf(text []byte) (int, map[string]any) {
	d.t.Helper()
	var a map[string]any
	must(d.t, json.Unmarshal(text, &a))
	schemas := batchSchemas(d.t)
	must(d.t, schemas["BatchAnswer"].Value.VisitJSON(a))
	at := int(a["index"].(float64))
	rest := map[string]any{}
	for k, v := range a {
		if k != "index" && k != "replayed" {
			rest[k] = v
		}
	}
	is := schemas["Reservation"]
	if a["code"] != nil {
		is = schemas["Problem"]
	}
	if err := is.Value.VisitJSON(rest, openapi3.MultiErrors()); err != nil {
		d.t.Errorf("a line breaks the contract: %v\n%s", err, text)
	}
	return at, a
}

var batchDocument = sync.OnceValues(func() (*openapi3.T, error) { return openapi3.NewLoader().LoadFromFile("openapi.yaml") })

func batchSchemas(t *testing.T) openapi3.Schemas {
	t.Helper()
	doc, err := batchDocument()
	must(t, err)
	return doc.Components.Schemas
}

func batchOf(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `{"buyer":"buyer-%d","idempotency_key":"key-%d","lines":[{"sku":"SHOE-42","quantity":1}]}`+"\n", i, i)
	}
	return b.String()
}

func TestABatchReservesForEachBuyerByItself(t *testing.T) {
	var mu sync.Mutex
	asked := map[string]engine.ReserveRequest{}
	d := open(t, &fake{reserve: func(_ context.Context, r engine.ReserveRequest) (engine.Reservation, error) {
		mu.Lock()
		asked[r.Buyer] = r
		mu.Unlock()
		switch r.Buyer {
		case "late":
			return engine.Reservation{}, engine.E(engine.CodeSoldOut, "no unit is left")
		case "bad":
			panic("secret")
		case "again":
			v := held(r.Buyer)
			v.Replayed = true
			return v, nil
		}
		return held(r.Buyer), nil
	}})
	line := func(buyer string) string {
		return `{"buyer":"` + buyer + `","idempotency_key":"k 1","lines":[{"sku":"SHOE-42","quantity":2}]}` + "\n"
	}
	body := line("a") + "\r\n\n" + line("late") + "{]\n" + line("bad") + line("again") + `{"lines":[],"buyer":"x","idempotency_key":"k"}` + "\n" +
		`{"buyer":"x","lines":[{"sku":"A","quantity":1}]}` + "\n" + `{"buyer":"x","idempotency_key":"é","lines":[{"sku":"A","quantity":1}]}` + "\n" +
		`{"buyer":"","idempotency_key":"k","lines":[{"sku":"A","quantity":1}]}` + "\n" + `{"buyer":"x","idempotency_key":"k","lines":[{"sku":"A","quantity":1}],"coupon":1}` + "\n" +
		`{"buyer":"4242424242424242","idempotency_key":"k","lines":[{"sku":"A","quantity":1}]}` + "\n" +
		`{"buyer":"x","idempotency_key":"k","lines":[{"sku":"` + strings.Repeat("A", MaxBody) + `","quantity":1}]}` + "\n" + strings.TrimSpace(line("b"))
	got := d.batchAnswers(body)
	if len(got) != 13 {
		t.Fatalf("%d answers: %v", len(got), got)
	}
	for i, want := range map[int]string{0: "a", 4: "again", 12: "b"} {
		if got[i]["buyer"] != want || got[i]["state"] != "held" || (got[i]["replayed"] == true) != (want == "again") {
			t.Errorf("line %d: %v", i, got[i])
		}
	}
	for i, want := range map[int]struct{ code, field string }{1: {"sold_out", ""}, 2: {"invalid_request", "body"}, 3: {"internal", ""}, 5: {"invalid_request", "lines"},
		6: {"invalid_request", "idempotency_key"}, 7: {"invalid_request", "idempotency_key"}, 8: {"invalid_request", "buyer"}, 9: {"invalid_request", "coupon"},
		10: {"invalid_request", "buyer"}, 11: {"payload_too_large", ""}} {
		field, _ := got[i]["field"].(string)
		if got[i]["code"] != want.code || field != want.field || strings.Contains(fmt.Sprint(got[i]), "secret") || strings.Contains(fmt.Sprint(got[i]), "4242") {
			t.Errorf("line %d: %v, want %v", i, got[i], want)
		}
	}
	want := engine.ReserveRequest{Sale: "demo", Buyer: "a", IdempotencyKey: "k 1", Lines: []engine.CartLine{{SKU: "SHOE-42", Quantity: 2}}}
	if !reflect.DeepEqual(asked["a"], want) || asked["x"].Buyer != "" {
		t.Errorf("the engine was asked %+v", asked)
	}
	if n := d.server.inFlight.Load(); n != 0 {
		t.Errorf("%d lines are still counted", n)
	}
}

func TestABatchAsAWholeIsRefused(t *testing.T) {
	d := openTCP(t, &fake{})
	good := serviceToken(t, ScopeBatch)
	for name, c := range map[string]struct {
		body, token, kind string
		status            int
		code              engine.Code
	}{
		"a buyer's token":       {batchOf(1), token(t, anyBuyer), ndjson, 403, engine.CodeForbidden},
		"another scope":         {batchOf(1), serviceToken(t, "reservations:batches"), ndjson, 403, engine.CodeForbidden},
		"a scope of no kind":    {batchOf(1), serviceToken(t, []string{ScopeBatch}), ndjson, 403, engine.CodeForbidden},
		"no token":              {batchOf(1), "", ndjson, 401, engine.CodeUnauthenticated},
		"plain JSON":            {batchOf(1), good, "application/json", 415, engine.CodeUnsupportedMedia},
		"nothing":               {"", good, ndjson, 400, engine.CodeInvalidRequest},
		"blank lines":           {"\n \r\n", good, ndjson, 400, engine.CodeInvalidRequest},
		"too many lines":        {strings.Repeat("{}\n", MaxBatchLines+1), good, ndjson, 413, engine.CodePayloadTooLarge},
		"too many bytes":        {strings.Repeat(" ", MaxBatchBody+1), good, ndjson, 413, engine.CodePayloadTooLarge},
		"a stranger's megabyte": {strings.Repeat(" ", maxReadBody+1), token(t, anyBuyer), ndjson, 413, engine.CodePayloadTooLarge},
	} {
		t.Run(name, func(t *testing.T) {
			res := d.postBatch(c.body, c.token, c.kind)
			defer func() { _ = res.Body.Close() }()
			text, err := io.ReadAll(res.Body)
			must(t, err)
			if res.StatusCode != c.status || !bytes.Contains(text, []byte(`"code":"`+string(c.code)+`"`)) {
				t.Errorf("%d %s", res.StatusCode, text)
			}
		})
	}
	if got := d.batchAnswers(batchOf(MaxBatchLines)); len(got) != MaxBatchLines {
		t.Errorf("%d answers", len(got))
	}
}

func TestABatchBeyondTheCapacityIsRefusedUnlessItIsAlone(t *testing.T) {
	g, f := newGateKeeper()
	d := open(t, f, func(o *Options) { o.MaxInFlight = 2 })
	first := make(chan answer, 1)
	go func() { first <- d.do("POST", reservePath, oneShoe, nil) }()
	<-g.entered
	res := d.postBatch(batchOf(3), serviceToken(t, ScopeBatch), ndjson)
	text, err := io.ReadAll(res.Body)
	must(t, err)
	must(t, res.Body.Close())
	if res.StatusCode != 503 || res.Header.Get("Retry-After") != "1" || d.server.inFlight.Load() != 1 {
		t.Errorf("%d %s", res.StatusCode, text)
	}
	close(g.leave)
	(<-first).expect(t, 201, "")
	if got := d.batchAnswers(batchOf(3)); len(got) != 3 || got[0]["state"] != "held" {
		t.Errorf("alone: %v", got)
	}
}

func TestABatchIsAnsweredAsItIsDecided(t *testing.T) {
	slow := make(chan struct{})
	both := make(chan struct{}, 2)
	d := open(t, &fake{reserve: func(_ context.Context, r engine.ReserveRequest) (engine.Reservation, error) {
		both <- struct{}{}
		if r.Buyer == "buyer-0" {
			<-slow
		}
		return held(r.Buyer), nil
	}})
	res := d.postBatch(batchOf(2), serviceToken(t, ScopeBatch), ndjson)
	defer func() { _ = res.Body.Close() }()
	<-both
	<-both // all lines are in flight together
	lines := bufio.NewScanner(res.Body)
	if !lines.Scan() {
		t.Fatal(lines.Err())
	}
	if at, a := d.lineOf(lines.Bytes()); at != 1 {
		t.Errorf("%v", a)
	}
	close(slow)
	if !lines.Scan() {
		t.Fatal(lines.Err())
	}
	if at, a := d.lineOf(lines.Bytes()); at != 0 || lines.Scan() {
		t.Errorf("%v", a)
	}
}

func TestAClientThatHangsUpLeavesWhatWasNotBegun(t *testing.T) {
	began := make(chan struct{}, MaxBatchLines)
	ended := make(chan struct{}, MaxBatchLines)
	d := openTCP(t, &fake{reserve: func(ctx context.Context, r engine.ReserveRequest) (engine.Reservation, error) {
		began <- struct{}{}
		if r.Buyer == "buyer-0" {
			return held(r.Buyer), nil
		}
		<-ctx.Done() // only the hanging up ends it
		ended <- struct{}{}
		return engine.Reservation{}, ctx.Err()
	}}, func(o *Options) { o.RequestTimeout = time.Minute })
	c := d.dial()
	body := batchOf(MaxBatchLines)
	c.say(fmt.Sprintf("POST %s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s",
		batchPath, serviceToken(t, ScopeBatch), ndjson, len(body), body))
	<-began
	must(t, c.Close())
	// The node learns of it when it next writes or shuts down.
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_ = d.server.Shutdown(ctx)
	<-ended
	for end := time.Now().Add(time.Minute); d.server.inFlight.Load() > 0; <-time.After(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d lines are still counted", d.server.inFlight.Load())
		}
	}
	if n := len(began); n >= MaxBatchLines {
		t.Errorf("%d lines were begun after the client had gone", n)
	}
}

// FuzzBatchLine holds the quick reading of a line against the thorough one.
func FuzzBatchLine(f *testing.F) {
	for _, s := range []string{strings.TrimSpace(batchOf(1)), `{"lines":[{"quantity":1,"sku":"A"}],"buyer":"\u0062","idempotency_key":"k"}`, `{"buyer":"a","buyer":"b"}`, `{}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var quickly, thoroughly engine.ReserveRequest
		bad := batchLine(b, &thoroughly)
		var room []engine.CartLine
		if quickBatchLine(string(b), &quickly, &room) && (bad != nil || !reflect.DeepEqual(quickly, thoroughly)) {
			t.Errorf("read quickly %+v, thoroughly %+v, %v: %q", quickly, thoroughly, bad, b)
		}
	})
}
