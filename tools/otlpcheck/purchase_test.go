package otlpcheck

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"go.opentelemetry.io/collector/pdata/ptrace"
)

const (
	traceID  = "4bf92f3577b34da6a3ce929d0e0e4736"
	callerID = "00f067aa0ba902b7"
	refused  = "0af7651916cd43dd8448eb211c80319c" // the trace of a request that is refused
	reserve  = "POST /v1/sales/{sale}/reservations"
	checkout = "POST /v1/reservations/{id}/checkout"
)

// shop is a running demo.
type shop struct {
	API      string   `json:"api"`
	Sale     string   `json:"sale"`
	SKUs     []string `json:"skus"`
	BuyerKey string   `json:"buyer_key"`
	token    string
}

func open(t *testing.T, endpoint string) (s shop) {
	t.Helper()
	engine := os.Getenv("OTLP_ENGINE")
	if engine == "" {
		t.Fatal("OTLP_ENGINE: the path of flashsale; make otlp-check sets it")
	}
	cmd := exec.Command(engine, "demo", "--json", "--backends", "embedded", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--otlp-endpoint", endpoint)
	cmd.Stderr = t.Output()
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	t.Cleanup(func() {
		must(t, cmd.Process.Signal(os.Interrupt))
		_ = cmd.Wait() // it was told to
	})
	must(t, json.NewDecoder(out).Decode(&s))
	token, err := exec.Command(engine, "token", "--buyer", "ann", "--buyer-key", s.BuyerKey).Output()
	must(t, err)
	s.token = strings.TrimSpace(string(token))
	return s
}

// post sends a traced request and gives the answer's id.
func (s shop) post(t *testing.T, path, body, trace string, want int) (id string) {
	t.Helper()
	req, err := http.NewRequest("POST", s.API+path, bytes.NewReader([]byte(body)))
	must(t, err)
	req.Header = http.Header{"Authorization": {"Bearer " + s.token}, "Content-Type": {"application/json"}, "Idempotency-Key": {"key"}, "Traceparent": {"00-" + trace + "-" + callerID + "-01"}}
	res, err := http.DefaultClient.Do(req)
	must(t, err)
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(res.Body)
	must(t, err)
	if res.StatusCode != want {
		t.Fatalf("%s: %d %s", path, res.StatusCode, text)
	}
	var v struct {
		ID string `json:"id"`
	}
	must(t, json.Unmarshal(text, &v))
	return v.ID
}

// steps are spans by "parent's name > name" and "name ~ linked one's name".
func steps(all []span) map[string]span {
	byID := map[string]span{}
	for _, s := range all {
		byID[s.SpanID().String()] = s
	}
	out := map[string]span{}
	for _, s := range all {
		above := "nobody"
		if p := s.ParentSpanID().String(); p == callerID {
			above = "caller"
		} else if p != "" {
			above = byID[p].Name()
			if above == "" {
				above = "somebody who did not come"
			}
		}
		out[above+" > "+s.Name()] = s
		for _, l := range s.Links().All() {
			if other := byID[l.SpanID().String()]; other.Name() != "" && other.TraceID() == l.TraceID() {
				out[s.Name()+" ~ "+other.Name()] = s
			}
		}
	}
	return out
}

func TestTheCollectorsReceiverReadsAPurchaseAsItWasMeant(t *testing.T) {
	c := collect(t)
	s := open(t, c.url)
	cart := func(sku string) string { return fmt.Sprintf(`{"lines":[{"sku":%q,"quantity":1}]}`, sku) }
	id := s.post(t, "/v1/sales/"+s.Sale+"/reservations", cart(s.SKUs[0]), traceID, 201)
	order := s.post(t, "/v1/reservations/"+id+"/checkout", `{"payment_method":"pm_card_visa","contact":{"email":"b@example.com"}}`, traceID, 201)
	s.post(t, "/v1/sales/"+s.Sale+"/reservations", cart("no-such-thing"), refused, 400)

	want := []string{
		"caller > " + reserve, reserve + " > gate hold", "gate hold ~ gate call", "gate call ~ gate hold", "nobody > gate call",
		"caller > " + checkout, checkout + " > gate begin_payment", checkout + " > note attempt", checkout + " > authorise", checkout + " > gate claim", "gate claim ~ gate call",
		checkout + " > publish", checkout + " > wait for the record", checkout + " > write order", "write order ~ write orders", "write orders ~ write order",
		"nobody > write orders", "write orders > COMMIT", "write orders > reply", checkout + " > payments worker: capture", "payments worker: capture > capture",
	}
	all := c.until(t, "all steps of the purchase", func(all []span) bool {
		got := steps(all)
		for _, step := range want {
			if _, there := got[step]; !there {
				return false
			}
		}
		for _, s := range all {
			if s.TraceID().String() == refused {
				return true
			}
		}
		return false
	})
	own := slices.DeleteFunc(slices.Clone(all), func(s span) bool { return s.TraceID().String() == refused })
	got := steps(own)
	for step, s := range got {
		if s.resource["service.name"] != "flashsale" || s.resource["service.instance.id"] == "" || s.resource["service.version"] == "" || s.scope != "github.com/flashsale-engine/flashsale" {
			t.Errorf("%s is of %v, %q", step, s.resource, s.scope)
		}
		if s.StartTimestamp() == 0 || s.EndTimestamp() < s.StartTimestamp() || s.DroppedLinksCount() != 0 {
			t.Errorf("%s lasts from %s to %s, and has lost %d links", step, s.StartTimestamp().AsTime(), s.EndTimestamp().AsTime(), s.DroppedLinksCount())
		}
		if strings.Contains(fmt.Sprint(s.Attributes().AsRaw()), "example.com") {
			t.Errorf("%s has contact data: %v", step, s.Attributes().AsRaw())
		}
	}
	for _, step := range want {
		batch := strings.HasPrefix(step, "nobody > ") || strings.HasPrefix(step, "write orders") || strings.HasPrefix(step, "gate call") // they serve many
		if of := got[step].TraceID().String(); batch == (of == traceID) {
			t.Errorf("%s is in trace %s", step, of)
		}
	}
	for step, is := range map[string]struct {
		kind  ptrace.SpanKind
		attrs map[string]any
	}{
		"caller > " + reserve:    {ptrace.SpanKindServer, map[string]any{"http.request.method": "POST", "http.route": "/v1/sales/{sale}/reservations", "http.response.status_code": int64(201), "reservation": id}},
		"caller > " + checkout:   {ptrace.SpanKindServer, map[string]any{"http.response.status_code": int64(201), "order": order, "reservation": id}},
		reserve + " > gate hold": {ptrace.SpanKindInternal, nil},
	} {
		s := got[step]
		if s.Kind() != is.kind || s.Status().Code() == ptrace.StatusCodeError {
			t.Errorf("%s is of kind %s, status %s", step, s.Kind(), s.Status().Code())
		}
		for name, v := range is.attrs {
			if had := s.Attributes().AsRaw()[name]; had != v {
				t.Errorf("%s has %s %v (%T), want %v; all: %v", step, name, had, had, v, s.Attributes().AsRaw())
			}
		}
	}
	for _, s := range all {
		if s.TraceID().String() != refused || s.Kind() != ptrace.SpanKindServer {
			continue
		}
		a := s.Attributes().AsRaw()
		if a["http.response.status_code"] != int64(400) || a["code"] != "invalid_request" || s.Status().Code() == ptrace.StatusCodeError {
			t.Errorf("the one that was refused: %v, %s", a, s.Status().Code())
		}
	}
}
