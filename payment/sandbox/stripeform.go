package sandbox

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// form are the parameters of a request to Stripe's surface, by their names in
// bracket notation, such as metadata[attempt].
type form url.Values

// The parameters that an operation takes. Those after the bar are taken and
// mean nothing here; others are refused, as Stripe refuses them, because a
// misspelt capture_method must not become an automatic one.
var (
	createParams = params("amount currency confirm payment_method capture_method return_url metadata off_session error_on_requires_action | " +
		"automatic_payment_methods payment_method_types payment_method_options payment_method_data payment_method_configuration confirmation_method customer description " +
		"receipt_email setup_future_usage shipping statement_descriptor statement_descriptor_suffix use_stripe_sdk client_secret")
	confirmParams = params("payment_method return_url off_session error_on_requires_action | " +
		"payment_method_options payment_method_types receipt_email setup_future_usage shipping use_stripe_sdk capture_method client_secret")
	captureParams    = params("amount_to_capture | final_capture statement_descriptor statement_descriptor_suffix metadata")
	cancelParams     = params("cancellation_reason")
	retrieveParams   = params("| client_secret")
	refundParams     = params("payment_intent charge amount reason metadata")
	refundListParams = params("payment_intent charge limit starting_after ending_before")
	listParams       = params("limit starting_after ending_before")
	searchParams     = params("query limit page")
)

func params(names string) []string { return append(strings.Fields(names), "expand") }

// readForm reads the body of a POST, or the query of a GET.
func readForm(w http.ResponseWriter, r *http.Request) (form, *Problem) {
	text := r.URL.RawQuery
	if r.Method == http.MethodPost {
		body, p := readBody(w, r)
		if p != nil {
			return nil, p
		}
		if len(body) > 0 && strings.Contains(r.Header.Get("Content-Type"), "json") {
			return nil, invalid("", "body_invalid", "this part of the API takes forms (application/x-www-form-urlencoded), not JSON")
		}
		text = string(body)
	}
	v, err := url.ParseQuery(text)
	if err != nil {
		return nil, invalid("", "body_invalid", err.Error())
	}
	return form(v), nil
}

func (f form) get(name string) string { return url.Values(f).Get(name) }

// check names a parameter that the operation does not take.
func (f form) check(known []string) *Problem {
	bad := ""
	for name := range f {
		root, _, _ := strings.Cut(name, "[")
		if !slices.Contains(known, root) && (bad == "" || name < bad) {
			bad = name
		}
	}
	if bad == "" {
		return nil
	}
	return invalid(bad, "parameter_unknown", "received unknown parameter: "+bad)
}

// integer reads a number; nil if it was not given.
func (f form) integer(name string) (*int64, *Problem) {
	text := f.get(name)
	if text == "" {
		return nil, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return nil, invalid(name, "parameter_invalid_integer", "invalid integer: "+text)
	}
	return &n, nil
}

// metadata collects metadata[name].
func (f form) metadata() map[string]string {
	m := map[string]string{}
	for name, v := range f {
		if inner, ok := strings.CutPrefix(name, "metadata["); ok && strings.HasSuffix(inner, "]") && v[0] != "" {
			m[strings.TrimSuffix(inner, "]")] = v[0]
		}
	}
	return m
}

// expands says whether the caller wants a reference replaced by the object:
// expand[]=latest_charge, in lists data.latest_charge.
func (f form) expands(name string) bool {
	for key, values := range f {
		if !strings.HasPrefix(key, "expand[") {
			continue
		}
		for _, v := range values {
			if v == name || strings.HasPrefix(v, name+".") || v == "data."+name || strings.HasPrefix(v, "data."+name+".") {
				return true
			}
		}
	}
	return false
}

// fingerprint is equal for equal requests, in whatever order their parameters come.
func (f form) fingerprint(r *http.Request) fingerprint {
	return digest([]byte(r.Method + " " + r.URL.Path + "\n" + url.Values(f).Encode()))
}

// limit is the size of a page: 10 unless told, 100 at most.
func (f form) limit() (int, *Problem) {
	n, p := f.integer("limit")
	switch {
	case p != nil:
		return 0, p
	case n == nil:
		return 10, nil
	case *n < 1 || *n > 100:
		return 0, invalid("limit", "parameter_invalid_integer", "limit must lie between 1 and 100")
	}
	return int(*n), nil
}
