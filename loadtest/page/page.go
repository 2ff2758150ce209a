package page

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"html/template"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/flashsale-engine/flashsale/loadtest"
)

//go:embed page.html
var source string

// The colours of ends, on a light page and on a dark one.
var colours = [][2]string{{"#1a7f37", "#3fb950"}, {"#bc4c00", "#f0883e"}, {"#8250df", "#bc8cff"}, {"#9a6700", "#d29922"}, {"#0969da", "#58a6ff"}, {"#1b7c83", "#39c5cf"}, {"#cf222e", "#ff7b72"}, {"#8c959f", "#6e7681"}}

var pages = template.Must(template.New("").Funcs(template.FuncMap{"count": count, "ms": millis,
	"colours": func() (out [][2]template.CSS) {
		for _, c := range colours {
			out = append(out, [2]template.CSS{template.CSS(c[0]), template.CSS(c[1])}) //nolint:gosec // constants
		}
		return out
	}}).Parse(source))

// endColour is which of the colours an end has. Ends that are alike share one.
func endColour(e loadtest.End) int {
	switch e {
	case loadtest.Confirmed:
		return 0
	case loadtest.SoldOut:
		return 1
	case loadtest.BuyerLimit, loadtest.Expired:
		return 2
	case loadtest.Abandoned:
		return 3
	case loadtest.Browsed:
		return 4
	case loadtest.TurnedAway, loadtest.Waiting, loadtest.NeedsAction:
		return 5
	case loadtest.Failed, loadtest.Refused, loadtest.Pending, loadtest.Unfinished:
		return 6
	}
	return 7
}

// endOrder is from the left of a bar to its right.
var endOrder = []loadtest.End{loadtest.Confirmed, loadtest.Abandoned, loadtest.Declined, loadtest.NeedsAction, loadtest.Expired, loadtest.BuyerLimit, loadtest.SoldOut, loadtest.Browsed,
	loadtest.TurnedAway, loadtest.Waiting, loadtest.Pending, loadtest.Refused, loadtest.Unfinished, loadtest.Failed}

type tile struct {
	Name, Value string
	Bad         bool
}

type part struct {
	Name   string
	N      int64
	Colour int
	Width  template.CSS
}

type kind struct {
	Name   string
	Visits int64
	Parts  []part
}

// Write makes the page of a report.
func Write(w io.Writer, title string, r loadtest.Report) error {
	pictures, err := figures(r)
	if err != nil {
		return err
	}
	kinds, ends := byKind(r)
	return pages.ExecuteTemplate(w, "report", map[string]any{
		"Title": title, "Subtitle": subtitle(r), "Sentence": sentence(r), "R": r, "Zeros": zeros(r), "Tiles": tiles(r), "Figures": pictures, "Kinds": kinds, "Ends": ends,
		"Foot": fmt.Sprintf("Run %s, seed %d, at %s from %s on. Made by flashsale loadtest.", r.Run, r.Seed, r.API, r.StartedAt.Format("2006-01-02 15:04:05 MST")),
	})
}

func subtitle(r loadtest.Report) string {
	return fmt.Sprintf("%s buyers in %s at the sale %s, each when they were due, whether or not the engine kept up.", count(r.Arrivals), span(r.ElapsedMS/1000), r.Sale)
}

func sentence(r loadtest.Report) string {
	s := "Nothing sold twice, nothing lost, nobody charged without an order"
	if len(r.Verify) == 0 {
		s = "No answer contradicts another"
	}
	if len(r.SLOs) > 0 {
		s += ", and every limit kept"
	}
	return s + "."
}

// zeros are the engine's own verdict, if it was asked.
func zeros(r loadtest.Report) (out []tile) {
	var v struct{ Oversold, Lost, Drift, Unpaid *int64 }
	if json.Unmarshal(r.Verify, &v) != nil {
		return nil
	}
	for _, z := range []struct {
		name string
		n    *int64
	}{{"oversold", v.Oversold}, {"lost", v.Lost}, {"drift", v.Drift}, {"unpaid", v.Unpaid}} {
		if z.n == nil {
			return nil
		}
		out = append(out, tile{z.name, count(*z.n), *z.n != 0})
	}
	return out
}

func tiles(r loadtest.Report) []tile {
	peak := 0.0
	for _, s := range r.Series {
		peak = max(peak, perSecond(r, s.Due))
	}
	var sold int64
	for _, s := range r.SKUs {
		sold += s.Confirmed
	}
	reserve, no := r.Of(loadtest.StepReserve), r.Of(loadtest.StepNo)
	out := []tile{{"buyers came", count(r.Arrivals), false}, {"in the busiest second", count(int64(peak)), false}, {"confirmed orders", count(r.Confirmed), false}, {"units sold", count(sold), false},
		{"median to an answer", millis(reserve.P50), false}, {"p99 to an answer", millis(reserve.P99), false}, {"p99 to a “no”", millis(no.P99), false}, {"arrivals dropped", count(r.Dropped), r.Dropped > 0}}
	return slices.DeleteFunc(out, func(t tile) bool { return t.Name == "p99 to a “no”" && no.Count == 0 })
}

// byKind gives a bar for each kind of buyer, and what its colours mean.
func byKind(r loadtest.Report) (kinds []kind, legend []part) {
	all := map[loadtest.End]int64{}
	for _, k := range r.Kinds {
		row := kind{Name: string(k.Kind), Visits: k.Visits}
		for _, e := range endOrder {
			n := k.Ends[e]
			if n == 0 {
				continue
			}
			all[e] += n
			row.Parts = append(row.Parts, part{words(e), n, endColour(e), template.CSS(fmt.Sprintf("%.3f%%", 100*float64(n)/float64(k.Visits)))}) //nolint:gosec // a number
		}
		kinds = append(kinds, row)
	}
	for _, e := range endOrder {
		if all[e] > 0 {
			legend = append(legend, part{Name: words(e), N: all[e], Colour: endColour(e)})
		}
	}
	return kinds, legend
}

func words(e loadtest.End) string { return strings.ReplaceAll(string(e), "_", " ") }

// count writes a number with thin gaps between its thousands; of a pointer, what it points to.
func count(v any) string {
	var n int64
	switch v := v.(type) {
	case int64:
		n = v
	case *int64:
		n = *v
	}
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "\u202f" + s[i:]
	}
	return s
}

// millis writes milliseconds as people say them.
func millis(v float64) string {
	switch {
	case v >= 10_000:
		return fmt.Sprintf("%.0f s", v/1000)
	case v >= 1000:
		return fmt.Sprintf("%.2f s", v/1000)
	case v >= 100:
		return fmt.Sprintf("%.0f ms", v)
	case v >= 10:
		return fmt.Sprintf("%.1f ms", v)
	}
	return fmt.Sprintf("%.2f ms", v)
}

func span(seconds float64) string {
	if seconds < 90 {
		return fmt.Sprintf("%.0f seconds", seconds)
	}
	return fmt.Sprintf("%.1f minutes", math.Round(seconds/6)/10)
}
