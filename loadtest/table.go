package loadtest

import (
	"fmt"
	"strings"
	"text/tabwriter"
)

// String gives the report for people.
func (r Report) String() string {
	var b strings.Builder
	shape := "a spike"
	if r.Rate > 0 {
		shape = fmt.Sprintf("%.5g/s asked for, %.5g/s made", r.Rate, r.Offered)
	}
	fmt.Fprintf(&b, "sale %s · %d buyers · %s · %.1f s · run %s\n", r.Sale, r.Buyers, shape, r.ElapsedMS/1000, r.Run)

	r.section(&b, "\nends\n", func(w *tabwriter.Writer) {
		row(w, "arrivals", r.Arrivals, true)
		row(w, "  dropped", r.Dropped, true)
		row(w, "  sold_out", r.SoldOut, true)
		row(w, "  buyer_limit", r.BuyerLimit, true)
		row(w, "  confirmed", r.Confirmed, true)
		row(w, "  declined", r.Declined, true)
		row(w, "  pending", r.Pending, true)
		row(w, "  abandoned", r.Abandoned, false)
		row(w, "  needs_action", r.NeedsAction, false)
		row(w, "  expired", r.Expired, false)
		row(w, "  refused", r.Refused, false)
		row(w, "  browsed", r.Browsed, false)
		row(w, "  turned_away", r.TurnedAway, false)
		row(w, "  waiting", r.Waiting, false)
		row(w, "  failed", r.Failed, true)
		row(w, "  unfinished", r.Unfinished, false)
		row(w, "holds", r.Holds, true)
		row(w, "retries", r.Retries, true)
	})
	if len(r.Kinds) > 1 {
		r.section(&b, "\nkinds of buyers\nKIND\tVISITS\tENDS\n", func(w *tabwriter.Writer) {
			for _, k := range r.Kinds {
				_, _ = fmt.Fprintf(w, "%s\t%d\t%s\n", k.Kind, k.Visits, strings.TrimSuffix(strings.TrimPrefix(fmt.Sprint(k.Ends), "map["), "]"))
			}
		})
	}
	r.section(&b, "\nunits\nSKU\tOFFERED\tHELD\tCONFIRMED\n", func(w *tabwriter.Writer) {
		for _, s := range r.SKUs {
			offered := "?"
			if s.Offered != nil {
				offered = fmt.Sprint(*s.Offered)
			}
			_, _ = fmt.Fprintf(w, "%s\t%s\t%d\t%d\n", s.SKU, offered, s.Held, s.Confirmed)
		}
	})
	r.section(&b, "\nlatency, ms from the scheduled time\nSTEP\tCOUNT\tP50\tP95\tP99\tP99.9\tMAX\t\n", func(w *tabwriter.Writer) {
		for _, l := range r.Latency {
			_, _ = fmt.Fprintf(w, "%s\t%d\t%.2f\t%.2f\t%.2f\t%.2f\t%.2f\n", l.Step, l.Count, l.P50, l.P95, l.P99, l.P999, l.Max)
		}
	})
	r.section(&b, "\nanswers\nSTEP\tSTATUS\tCODE\tCOUNT\t\n", func(w *tabwriter.Writer) {
		for _, a := range r.Answers {
			status, mark := "none", ""
			if a.Status != 0 {
				status = fmt.Sprint(a.Status)
			}
			if !a.expected() {
				mark = "\t!"
			}
			_, _ = fmt.Fprintf(w, "%s\t%s\t%s\t%d%s\n", a.Step, status, a.Code, a.Count, mark)
		}
	})
	fmt.Fprintf(&b, "\nread back: %d of %d orders, %d confirmed\n", r.ReadBack.Read, r.ReadBack.Orders, r.ReadBack.Confirmed)
	for _, s := range r.SLOs {
		fmt.Fprintf(&b, "SLO %s: %.1f ms, %s\n", s.SLO, s.Got, map[bool]string{true: "kept", false: "NOT KEPT"}[s.Kept])
	}
	for _, n := range r.Notes {
		fmt.Fprintf(&b, "note: %s\n", n)
	}
	if r.Pass {
		b.WriteString("verdict: PASS\n")
		return b.String()
	}
	b.WriteString("verdict: FAIL\n")
	for _, why := range r.Reasons {
		fmt.Fprintf(&b, "  - %s\n", why)
	}
	return b.String()
}

// section writes a table below its title; the title's second line, if any, names the columns.
func (r Report) section(b *strings.Builder, title string, rows func(*tabwriter.Writer)) {
	head, columns, _ := strings.Cut(strings.TrimPrefix(title, "\n"), "\n")
	fmt.Fprintf(b, "\n%s\n", head)
	w := tabwriter.NewWriter(b, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprint(w, columns)
	rows(w)
	_ = w.Flush() // a strings.Builder takes everything
}

func row(w *tabwriter.Writer, name string, n int64, always bool) {
	if n != 0 || always {
		_, _ = fmt.Fprintf(w, "%s\t%d\n", name, n)
	}
}
