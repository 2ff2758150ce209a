package api

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"os"
	"slices"
	"sort"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"

	"github.com/flashsale-engine/flashsale/engine"
)

//go:generate go test -run TestTheServedDocumentIsTheYAML -update .

var update = flag.Bool("update", false, "write openapi.json from openapi.yaml")

func document(t *testing.T) *openapi3.T {
	t.Helper()
	doc, err := openapi3.NewLoader().LoadFromFile("openapi.yaml")
	must(t, err)
	return doc
}

func TestTheDocumentIsValidWithItsExamples(t *testing.T) {
	must(t, document(t).Validate(context.Background(), openapi3.EnableExamplesValidation()))
}

func TestTheServedDocumentIsTheYAML(t *testing.T) {
	plain, err := document(t).MarshalJSON()
	must(t, err)
	var want bytes.Buffer
	must(t, json.Indent(&want, plain, "", "  "))
	want.WriteByte('\n')
	if *update {
		must(t, os.WriteFile("openapi.json", want.Bytes(), 0o644))
		return
	}
	if !bytes.Equal(openapiJSON, want.Bytes()) {
		t.Fatal("openapi.json is not openapi.yaml: run go generate ./api")
	}
	d := open(t, &fake{})
	a := d.do("GET", "/openapi.json", "", header{"Authorization": ""})
	a.expect(t, 200, "")
	if a.body["openapi"] != "3.0.3" {
		t.Errorf("served %v", a.body["openapi"])
	}
	if a := d.do("GET", "/openapi.json", "", header{"If-None-Match": a.header.Get("ETag")}); a.status != 304 {
		t.Errorf("not cached: %d", a.status)
	}
}

func TestTheDocumentListsEveryCode(t *testing.T) {
	var listed, known []string
	for _, c := range document(t).Components.Schemas["Code"].Value.Enum {
		listed = append(listed, c.(string))
	}
	for c := range engine.Codes {
		known = append(known, string(c))
	}
	sort.Strings(listed)
	sort.Strings(known)
	if !slices.Equal(listed, known) {
		t.Errorf("openapi.yaml lists %v\nthe engine knows  %v", listed, known)
	}
}

func TestTheDocumentListsEveryState(t *testing.T) {
	same := func(what string, enum []any, want []string) {
		var got []string
		for _, e := range enum {
			got = append(got, e.(string))
		}
		sort.Strings(got)
		sort.Strings(want)
		if !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", what, got, want)
		}
	}
	s := document(t).Components.Schemas
	same("reservation", s["ReservationState"].Value.Enum, texts(engine.States(engine.ReservationMoves)))
	same("payment", s["Order"].Value.Properties["payment"].Value.Properties["state"].Value.Enum, texts(engine.States(engine.PaymentMoves)))
	same("sale", s["Sale"].Value.Properties["state"].Value.Enum, texts(engine.States(engine.SaleMoves)))
}

func texts[S ~string](in []S) []string {
	out := make([]string, len(in))
	for i, s := range in {
		out[i] = string(s)
	}
	return out
}

func TestTheDocumentDescribesEveryRouteAndNoOther(t *testing.T) {
	doc := document(t)
	var want []string
	for i, r := range routeTable() {
		if i == atPages || i == atNowhere || i == atUnparsed {
			continue // the demo's pages are none of the contract's
		}
		for _, m := range r.methods {
			want = append(want, m.name+" "+r.pattern)
			item := doc.Paths.Find(r.pattern)
			if item == nil || item.GetOperation(m.name) == nil {
				t.Errorf("openapi.yaml lacks %s %s", m.name, r.pattern)
			} else if public := item.GetOperation(m.name).Security != nil; public == m.buyer {
				t.Errorf("%s %s: the document and the server differ on whether it is public", m.name, r.pattern)
			}
		}
	}
	got := 0
	for _, item := range doc.Paths.Map() {
		got += len(item.Operations())
	}
	if got != len(want) {
		t.Errorf("openapi.yaml describes %d operations, the server has %d", got, len(want))
	}
}

// A link leads to an operation that exists, gives parameters that it has, and takes
// them from members that the answer has.
func TestTheDocumentsLinksLeadSomewhere(t *testing.T) {
	doc := document(t)
	operations := map[string]*openapi3.Operation{}
	given := map[string]openapi3.Parameters{}
	for _, item := range doc.Paths.Map() {
		for _, op := range item.Operations() {
			operations[op.OperationID], given[op.OperationID] = op, append(slices.Clone(item.Parameters), op.Parameters...)
		}
	}
	followed := map[string]bool{}
	for from, op := range operations {
		for status, r := range op.Responses.Map() {
			for name, link := range r.Value.Links {
				where := from + " " + status + " " + name
				to := link.Value.OperationID
				followed[from+"→"+to] = true
				if operations[to] == nil {
					t.Errorf("%s leads to %q", where, to)
				}
				body := r.Value.Content.Get("application/json").Schema.Value
				for param, expression := range link.Value.Parameters {
					if !slices.ContainsFunc(given[to], func(p *openapi3.ParameterRef) bool { return p.Value.Name == param && p.Value.In == "path" }) {
						t.Errorf("%s gives %q, which %s has not", where, param, to)
					}
					pointer, ok := strings.CutPrefix(expression.(string), "$response.body#/")
					at := body
					for member := range strings.SplitSeq(pointer, "/") {
						if ok = ok && at.Properties[member] != nil; !ok {
							t.Errorf("%s takes %v, which the answer has not", where, expression)
							break
						}
						at = at.Properties[member].Value
					}
				}
			}
		}
	}
	for _, way := range []string{"getSale→reserve", "reserve→getReservation", "reserve→checkout", "reserve→release", "getReservation→checkout", "getReservation→getOrder", "checkout→getOrder", "checkout→getReservation", "getOrder→getReservation"} {
		if !followed[way] {
			t.Errorf("no link goes %s", way)
		}
	}
}
