package main

import (
	"fmt"
	"io"
	"net/url"
	"time"

	"github.com/flashsale-engine/flashsale/ops"
)

// admissionFlags are the waiting room's terms, of a sale that is created.
type admissionFlags struct {
	Admission        bool          `help:"Give the sale a waiting room: buyers join its queue, and reserve with the token that they get when it is their turn."`
	AdmissionLease   time.Duration `help:"How long a place that was reached may be claimed." default:"30s"`
	AdmissionUse     time.Duration `help:"How long an admission may be used." default:"2m"`
	AdmissionStart   float64       `help:"Places per second at the opening; 0: the default, 50." placeholder:"N"`
	AdmissionMaxRate float64       `help:"Places per second, ever; 0: the default, 5000." placeholder:"N"`
}

func (a admissionFlags) addTo(body map[string]any) {
	if a.Admission {
		body["admission"] = map[string]any{"lease": a.AdmissionLease.String(), "use": a.AdmissionUse.String(), "start_rate": a.AdmissionStart, "max_rate": a.AdmissionMaxRate}
	}
}

type saleQueueCmd struct {
	Admin
	Sale   string   `arg:"" optional:"" help:"The sale's id; default: the demo's."`
	Rate   *float64 `help:"Call at most so many places per second; 0 takes the cap away." placeholder:"N"`
	Pause  bool     `help:"Call nobody." xor:"pause"`
	Resume bool     `help:"Go on calling." xor:"pause"`
	Reason string   `help:"Why; for the audit log. Needed for whatever changes something." placeholder:"TEXT"`
}

func (c *saleQueueCmd) Run(w *world) error {
	if c.Sale == "" {
		c.Sale = demoSale
	}
	method, body := "GET", map[string]any(nil)
	if c.Rate != nil || c.Pause || c.Resume {
		method, body = "POST", map[string]any{"reason": c.Reason}
		if c.Rate != nil {
			body["rate_cap"] = *c.Rate
		}
		if c.Pause || c.Resume {
			body["paused"] = c.Pause
		}
	}
	var in any
	if body != nil {
		in = body
	}
	var v ops.Queue
	if err := c.call(w, method, "/admin/v1/sales/"+url.PathEscape(c.Sale)+"/queue", in, &v); err != nil {
		return err
	}
	return printQueue(w.stdout, v, c.JSON)
}

func printQueue(out io.Writer, v ops.Queue, asJSON bool) error {
	if asJSON {
		return printJSON(out, v)
	}
	fmt.Fprintf(out, "%s  room %s, sale %s  (epoch %d)\n", v.Sale, v.State, v.Sales, v.Epoch)
	if v.OpenedAt == nil && v.OpensAt != nil {
		fmt.Fprintf(out, "opens      %s\n", v.OpensAt.Format(time.RFC3339))
	}
	if v.OpenedAt != nil && v.N != nil {
		fmt.Fprintf(out, "opened     %s with %d tickets\n", v.OpenedAt.Format(time.RFC3339), *v.N)
	}
	fmt.Fprintf(out, "front      %d, %.1f places per second", v.Front, v.Rate)
	if v.Limit != "" {
		fmt.Fprintf(out, ", held back by %s", v.Limit)
	}
	if v.Reach != nil {
		fmt.Fprintf(out, "; stock reaches %d", *v.Reach)
	}
	fmt.Fprintf(out, "\nwaiting    %d of %d who joined; %d left, %d lapsed\n", v.Waiting, v.Joined, v.Left, v.Lapsed)
	fmt.Fprintf(out, "admitted   %d: %d took %d units, %d are inside, %d went without\n", v.Claimed, v.Took, v.Units, v.Inside, v.Gone)
	switch {
	case v.Paused:
		fmt.Fprintln(out, "operator   nobody is called: paused")
	case v.RateCap > 0:
		fmt.Fprintf(out, "operator   at most %g places per second\n", v.RateCap)
	}
	if v.Runner != "" {
		fmt.Fprintf(out, "moved by   %s\n", v.Runner)
	}
	return nil
}
