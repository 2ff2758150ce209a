package sandbox

import (
	"html/template"
	"net/http"
	"net/url"
	"strings"
)

// The page to which requires_action sends the buyer. It stands in for the bank's
// 3-D Secure page: two buttons, plain forms, no script.
var actionHTML = template.Must(template.New("3ds").Parse(`<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Sandbox bank</title>
<style>
body { font: 16px/1.5 system-ui, sans-serif; max-width: 28rem; margin: 4rem auto; padding: 0 1rem }
form { display: inline } button { font: inherit; padding: .6rem 1.2rem; margin-right: .5rem }
</style>
<h1>Sandbox bank</h1>
<p>Payment <code>{{.ID}}</code> of {{.Amount}} {{.Currency}} (minor units) is <b>{{.Status}}</b>.</p>
{{if .Waits}}<p>No money moves. Choose what the buyer does:</p>
<form method="post" action="/3ds/{{.ID}}/complete"><button>Complete</button></form>
<form method="post" action="/3ds/{{.ID}}/fail"><button>Fail</button></form>
{{else}}<p>There is nothing to do here.{{if .Return}} <a href="{{.Return}}">Back to the shop</a>{{end}}</p>{{end}}
</html>
`))

func (s *Server) actionPage(w http.ResponseWriter, r *http.Request) {
	res := s.read(r.PathValue("id"))
	if res.problem != nil {
		writePlain(w, res)
		return
	}
	if wantsJSON(r) {
		writePlain(w, res)
		return
	}
	showAction(w, res.intent)
}

func showAction(w http.ResponseWriter, in *Intent) {
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'self'")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	_ = actionHTML.Execute(w, map[string]any{ // the buyer may have left
		"ID": in.ID, "Amount": in.Amount, "Currency": strings.ToUpper(in.Currency), "Status": in.Status,
		"Waits": in.Status == NeedsAction, "Return": backTo(in),
	})
}

// act3DS is the buyer's button. Pressed twice, or after the payment went on
// without them, it changes nothing and shows how things stand.
func (s *Server) act3DS(w http.ResponseWriter, r *http.Request) {
	outcome, known := map[string]string{"complete": "", "fail": "declined"}[r.PathValue("what")]
	if !known {
		writeProblem(w, invalid("", "url_unknown", "an action is completed or failed: POST /3ds/{id}/complete or /3ds/{id}/fail"))
		return
	}
	s.mu.Lock()
	in, err := s.intent(r.PathValue("id"))
	var res result
	switch {
	case err != nil:
		res = failed(err)
	case in == nil:
		res = refuse(missing())
	case in.Status != NeedsAction:
		res = unexpected(in)
	default:
		res = s.resolveAs(in.ID, outcome, "")
	}
	s.mu.Unlock()
	switch {
	case wantsJSON(r) || res.intent == nil:
		writePlain(w, res)
	case res.problem == nil && res.intent.ReturnURL != "":
		http.Redirect(w, r, backTo(res.intent), http.StatusSeeOther)
	default:
		showAction(w, res.intent)
	}
}

func wantsJSON(r *http.Request) bool {
	return strings.Contains(r.Header.Get("Accept"), "application/json")
}

// backTo is the shop's return URL with what Stripe adds to it.
func backTo(in *Intent) string {
	u, err := url.Parse(in.ReturnURL)
	if err != nil || in.ReturnURL == "" {
		return ""
	}
	status := "succeeded"
	if in.Status == Declined || in.Status == Cancelled {
		status = "failed"
	}
	q := u.Query()
	q.Set("payment_intent", in.ID)
	q.Set("payment_intent_client_secret", in.clientSecret())
	q.Set("redirect_status", status)
	u.RawQuery = q.Encode()
	return u.String()
}
