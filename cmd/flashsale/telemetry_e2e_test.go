package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/flashsale-engine/flashsale/internal/telemetry"
	"github.com/flashsale-engine/flashsale/payment/sandbox"
)

const (
	tracedID   = "4bf92f3577b34da6a3ce929d0e0e4736"
	tracedFrom = "00-" + tracedID + "-00f067aa0ba902b7-01"
)

// steps reads the file until all of the named steps of a trace are there.
func stepsOf(t *testing.T, trace string, want []string, files ...string) (all []telemetry.Step) {
	t.Helper()
	eventually(t, "every step is written", func() (bool, string) {
		var err error
		if all, err = telemetry.Read(files...); err != nil {
			return false, err.Error()
		}
		var names []string
		for _, s := range all {
			if s.Trace == trace {
				names = append(names, s.Name)
			}
		}
		for _, name := range want {
			if !slices.Contains(names, name) {
				return false, name + " is missing in " + strings.Join(names, ", ")
			}
		}
		return true, ""
	})
	return all
}

// walk gives the steps of a tree as "parent > step", and "step ~ shared" for what served others too.
func walk(branches []*telemetry.Branch, above string, into map[string]*telemetry.Branch) {
	for _, b := range branches {
		into[above+" > "+b.Name] = b
		for _, s := range b.Shared {
			into[b.Name+" ~ "+s.Name] = s
			walk(s.Within, s.Name, into)
		}
		walk(b.Within, b.Name, into)
	}
}

// One trace from the request to the capture, over two nodes: one takes requests, the
// other does what comes later. What served many is linked with it.
func TestAPurchaseIsOneTraceFromTheRequestToTheCapture(t *testing.T) {
	r := newRig(t)
	dir := t.TempDir()
	front, back := filepath.Join(dir, "front.jsonl"), filepath.Join(dir, "back.jsonl")
	api := r.serve("--roles", "api", "--trace-sample", "0", "--trace-file", front)
	r.serve("--roles", "relay,writer,reaper,payments", "--trace-sample", "0", "--trace-file", back, "--listen", "127.0.0.1:0")
	api.sale("drop", 5, 2, "2m")
	ann := token(t, "ann")
	header := []string{"traceparent", tracedFrom}
	held := send("POST", api.ready.API+"/v1/sales/drop/reservations", ann, "cart", `{"lines":[{"sku":"A","quantity":1}]}`, header...).must(t, 201)
	id := held.text("id")
	if got := held.Header.Get("traceresponse"); !strings.HasPrefix(got, "00-"+tracedID+"-") || !strings.HasSuffix(got, "-01") {
		t.Errorf("traceresponse %q", got)
	}
	order := api.checkout(ann, id, "pay", "pm_card_visa", header...).must(t, 201).text("id")

	const reserve, checkout = "POST /v1/sales/{sale}/reservations", "POST /v1/reservations/{id}/checkout"
	steps := []string{
		"caller > " + reserve, reserve + " > gate hold", "gate hold ~ gate call",
		"caller > " + checkout, checkout + " > gate begin_payment", checkout + " > note attempt", checkout + " > authorise",
		checkout + " > gate claim", "gate claim ~ gate call", checkout + " > publish", checkout + " > wait for the record",
		checkout + " > write order", "write order ~ write orders", "write orders > COMMIT", "write orders > reply",
		checkout + " > payments worker: capture", "payments worker: capture > capture",
	}
	var roots []*telemetry.Branch
	var tree map[string]*telemetry.Branch
	eventually(t, "every step is written, in its place", func() (bool, string) {
		all, err := telemetry.Read(front, back)
		if err != nil {
			return false, err.Error()
		}
		roots, tree = telemetry.Tree(all, tracedID), map[string]*telemetry.Branch{}
		walk(roots, "caller", tree)
		i := slices.IndexFunc(steps, func(s string) bool { return tree[s] == nil })
		return i < 0, fmt.Sprintf("%s is missing in %q", steps[max(i, 0)], slices.Sorted(maps.Keys(tree)))
	})
	for _, step := range steps {
		if b := tree[step]; b.Error != "" || b.Ended.Before(b.Began) {
			t.Errorf("%s: %+v", step, b.Step)
		}
	}
	if len(roots) != 2 || roots[0].Parent != "00f067aa0ba902b7" || roots[1].Parent != "00f067aa0ba902b7" {
		t.Errorf("the caller's step is not above %d requests", len(roots))
	}
	// In time: paid before claimed, claimed before published, committed before captured. Who
	// waits for a COMMIT may hear of it after another node has seen what it wrote.
	for _, in := range [][2]string{{checkout + " > authorise", checkout + " > gate claim"}, {checkout + " > gate claim", checkout + " > publish"}} {
		if first, then := tree[in[0]], tree[in[1]]; then.Began.Before(first.Ended) {
			t.Errorf("%s began before %s had ended", in[1], in[0])
		}
	}
	if commit, capture := tree["write orders > COMMIT"], tree["payments worker: capture > capture"]; !capture.Began.After(commit.Began) {
		t.Errorf("captured at %s, and the COMMIT began at %s", capture.Began, commit.Began)
	}
	if tree["write order ~ write orders"].Trace == tracedID || tree[checkout+" > write order"].Node == tree["caller > "+checkout].Node {
		t.Error("a batch is a trace of its own, and the writer is another node")
	}
	// The provider was asked under the trace: telemetry.Transport sends what it is.
	if tree["authorise > POST "+strings.TrimPrefix(r.box.URL(), "http://")] == nil || tree["capture > POST "+strings.TrimPrefix(r.box.URL(), "http://")] == nil {
		t.Error("the requests to the provider are no steps of it")
	}

	out, errs, status := command(t, "order", "trace", order, "--admin", api.ready.Admin, "--token", testToken, "--file", front, "--file", back)
	if status != exitOK {
		t.Fatal(errs)
	}
	place := -1
	for _, want := range []string{`gate +reservation, seq \d+, now accepted`, `payments +payment of 1000 USD begun, by sandbox`, `orders +order confirmed, seq`, `money +1000 USD captured by sandbox`,
		"trace " + tracedID, `POST /v1/reservations/\{id\}/checkout`, `  gate claim`, `    ~ gate call`, `~ write orders`, `COMMIT`, `capture`} {
		at := regexp.MustCompile(want).FindStringIndex(out[max(place, 0):])
		if at == nil {
			t.Fatalf("%q is missing, or not in its place, in\n%s", want, out)
		}
		place = max(place, 0) + at[0]
	}
	if strings.Contains(out, "example.com") {
		t.Error("there is contact data in\n" + out)
	}
	t.Logf("\n%s", out)
	for _, name := range []string{tracedID, order, id} {
		if out, errs, status := command(t, "trace", "show", name, "--file", front, "--file", back); status != exitOK || !strings.Contains(out, "write order") {
			t.Errorf("trace show %s: %d\n%s%s", name, status, out, errs)
		}
	}
	if _, errs, status := command(t, "trace", "show", strings.Repeat("0", 31)+"1", "--file", front); status != exitFound || !strings.Contains(errs, "was not traced") {
		t.Errorf("%d %s", status, errs)
	}
}

// A payment without an answer ends later, by the reconciler: in the same trace.
func TestWhatTheReconcilerDoesIsInThePurchasesTrace(t *testing.T) {
	r := newRig(t)
	file := filepath.Join(t.TempDir(), "spans.jsonl")
	p := r.serve("--trace-sample", "0", "--trace-file", file, "--reconcile-every", "1s")
	p.sale("drop", 5, 2, "2m")
	ann := token(t, "ann")
	id := p.reserve(ann, "drop", "cart").must(t, 201).text("id")
	p.checkout(ann, id, "pay", "pm_sandbox_timeoutAfterCharge", "traceparent", tracedFrom, "Prefer", "wait=1").must(t, 202)
	all := stepsOf(t, tracedID, []string{"resolve", "look up", "write order", "capture"}, file)
	tree := map[string]*telemetry.Branch{}
	walk(telemetry.Tree(all, tracedID), "caller", tree)
	if b := tree["POST /v1/reservations/{id}/checkout > authorise"]; b == nil || b.Error == "" {
		t.Errorf("a payment without an answer is noted as %+v", b)
	}
	if tree["resolve > look up"] == nil || tree["resolve > gate claim"] == nil {
		t.Error("the reconciler's steps are not together")
	}
}

// Exemplars lead from a histogram to a trace.
func TestHistogramsHaveTracesAsExamples(t *testing.T) {
	r := newRig(t)
	p := r.serve("--trace-file", filepath.Join(t.TempDir(), "spans.jsonl"))
	p.sale("drop", 5, 2, "2m")
	send("POST", p.ready.API+"/v1/sales/drop/reservations", token(t, "ann"), "cart", `{"lines":[{"sku":"A","quantity":1}]}`, "traceparent", tracedFrom).must(t, 201)
	got := send(http.MethodGet, p.ready.Admin+"/metrics", "", "", "", "Accept", "application/openmetrics-text")
	if !regexp.MustCompile(`flashsale_http_request_seconds_bucket\{[^}]*route="/v1/sales/\{sale\}/reservations"[^}]*\} \d+ # \{trace_id="` + tracedID + `"\}`).MatchString(got.Raw) {
		t.Error("no exemplar is in the metrics")
	}
}

// Logs are JSON, name the trace, and keep secrets.
func TestLogsNameTheTrace(t *testing.T) {
	r := newRig(t)
	p := r.serve("--log-format", "json", "--log-level", "debug", "--trace-file", filepath.Join(t.TempDir(), "spans.jsonl"))
	p.sale("drop", 5, 2, "2m")
	ann := token(t, "ann")
	id := p.reserve(ann, "drop", "cart").must(t, 201).text("id")
	if err := r.box.SetControl(sandbox.Control{ErrorRate: 1, Ops: []sandbox.Op{sandbox.OpCapture}}); err != nil {
		t.Fatal(err)
	}
	p.checkout(ann, id, "pay", "pm_card_visa", "traceparent", tracedFrom).must(t, 201) // and the capture fails, which is logged
	eventually(t, "a line of the trace", func() (bool, string) {
		for line := range strings.Lines(p.stderr.String()) {
			var l struct {
				Msg     string
				TraceID string `json:"trace_id"`
				SpanID  string `json:"span_id"`
			}
			if err := json.Unmarshal([]byte(line), &l); err != nil {
				return false, "not JSON: " + line
			}
			if l.TraceID == tracedID && l.SpanID != "" {
				return true, ""
			}
		}
		return false, p.stderr.String()
	})
	if strings.Contains(p.stderr.String(), "b@example.com") || strings.Contains(p.stderr.String(), ann) {
		t.Error("a secret is in the log")
	}
}
