package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/flashsale-engine/flashsale/ops/live"
)

// topCmd is the console's screen in a terminal: the same snapshots by the same way.
type topCmd struct {
	Admin
	Sale string `help:"The sale's id; default: the one with the most stock that is open." placeholder:"SALE"`
	Once bool   `help:"Print one snapshot, and leave."`
}

func (c *topCmd) Run(w *world) error {
	return c.watch(w, c.Once, func(l *live.Live) string {
		var b strings.Builder
		topHead(&b, l)
		if s := pick(l, c.Sale); s != nil {
			topSale(&b, s)
		}
		topNode(&b, l)
		return b.String()
	})
}

// watchSale is sale status --watch.
func watchSale(w *world, a *Admin, sale string) error {
	return a.watch(w, false, func(l *live.Live) string {
		var b strings.Builder
		s := pick(l, sale)
		if s == nil {
			return fmt.Sprintf("no sale %s is live\n", sale)
		}
		topHead(&b, l)
		topSale(&b, s)
		t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.AlignRight)
		fmt.Fprintln(t, "SKU\tSTOCK\tAVAILABLE\tHELD\tPAYING\tSOLD\tPER SECOND\t")
		for _, k := range s.SKUs {
			fmt.Fprintf(t, "%s\t%d\t%d\t%d\t%d\t%d\t%.1f\t\n", k.SKU, k.Stock, k.Available, k.Held, k.Paying, k.Sold, k.Rate)
		}
		_ = t.Flush() // into memory
		return b.String()
	})
}

// again is the pause before a lost connection is made anew.
const again = time.Second

// watch draws each snapshot over the one before, until the user has enough. A node
// that does not answer is asked again; what is shown meanwhile says how old it is.
func (a *Admin) watch(w *world, once bool, draw func(*live.Live) string) error {
	var last *live.Live
	young := 8 // snapshots, three seconds, that a first proof may take
	for {
		err := a.snapshots(w, func(l *live.Live) error {
			if last = l; once && l.Proof.Fast == nil && young > 0 {
				young--
				return nil
			}
			if a.JSON {
				if err := printJSON(w.stdout, l); err != nil {
					return err
				}
			} else if _, err := io.WriteString(w.stdout, screen(once, draw(l))); err != nil {
				return err
			}
			if once {
				return errEnough
			}
			return nil
		})
		var x *exit
		switch {
		case w.Err() != nil || errors.Is(err, errEnough):
			return nil
		case last != nil && !once && errors.Is(err, errEnded): // as streams do now and then: it is asked for again
		case last == nil || once || errors.As(err, &x) && x.status == exitFound: // it was refused
			return err
		default:
			fmt.Fprintf(w.stderr, "connection lost; these figures are of %s. Trying again.\n", last.At.Format(time.TimeOnly))
		}
		select {
		case <-w.Done():
			return nil
		case <-time.After(again):
		}
	}
}

var (
	errEnough = errors.New("enough")
	errEnded  = errors.New("the node has ended the connection")
)

// screen clears the terminal before a text that replaces another.
func screen(once bool, text string) string {
	if once {
		return text
	}
	return "\x1b[H\x1b[2J" + text
}

// snapshots reads the stream until it ends or each has enough.
func (a *Admin) snapshots(ctx context.Context, each func(*live.Live) error) error {
	body, err := a.send(ctx, "GET", "/admin/v1/live", nil, "text/event-stream", 0)
	if err != nil {
		return err
	}
	defer func() { _ = body.Close() }()
	lines, event := bufio.NewScanner(body), ""
	lines.Buffer(nil, 8<<20)
	for lines.Scan() {
		if name, ok := strings.CutPrefix(lines.Text(), "event: "); ok {
			event = name
		}
		data, ok := strings.CutPrefix(lines.Text(), "data: ")
		if !ok || event != "live" {
			continue
		}
		var l live.Live
		if err := json.Unmarshal([]byte(data), &l); err != nil {
			return err
		}
		if err := each(&l); err != nil {
			return err
		}
	}
	if err := lines.Err(); err != nil {
		return &exit{exitUnavailable, fmt.Errorf("the connection to the node is lost: %w", err)}
	}
	return errEnded
}

// pick gives the sale of a name, or the one that matters most.
func pick(l *live.Live, id string) (best *live.Sale) {
	weight := func(s *live.Sale) int64 {
		if s.State != "open" || s.Units == nil {
			return -1
		}
		return s.Units.Stock
	}
	for i := range l.Sales {
		s := &l.Sales[i]
		if s.Sale == id {
			return s
		}
		if id == "" && (best == nil || weight(s) > weight(best)) {
			best = s
		}
	}
	return best
}

func topHead(b *strings.Builder, l *live.Live) {
	ago := func(t *time.Time) string {
		if t == nil {
			return "not yet"
		}
		return l.At.Sub(*t).Round(time.Second).String() + " ago"
	}
	p := l.Proof
	fmt.Fprintf(b, "OVERSOLD %d · LOST %d · DRIFT %d · UNPAID %d   counters compared %s, everything %s   %s, node %s\n",
		p.Oversold, p.Lost, p.Drift, p.Unpaid, ago(p.Fast), ago(p.Full), l.At.Format(time.TimeOnly), l.Node)
	for _, s := range l.Silent {
		fmt.Fprintf(b, "NO ANSWER from %s: %s, last %s\n", s.Who, s.Error, ago(s.Since))
	}
}

func topSale(b *strings.Builder, s *live.Sale) {
	fmt.Fprintf(b, "\n%s  %s  epoch %d, gate %s %s  %s\n", s.Sale, s.State, s.Epoch, s.Gate, s.Why, s.Name)
	if u := s.Units; u != nil {
		equals := "="
		if !u.Conserved {
			equals = "IS NOT"
		}
		fmt.Fprintf(b, "%d stock %s %d available + %d held + %d paying + %d sold", u.Stock, equals, u.Available, u.Held, u.Paying, u.Sold)
		if u.InFlight > 0 {
			fmt.Fprintf(b, " + %d between shards", u.InFlight)
		}
		fmt.Fprintln(b)
	}
	fmt.Fprintf(b, "binds: %s (%s)   sold %s   leaving stock %s   sold out in %s\n", s.Binds, s.Because, perSecond(s.SellRate), perSecond(s.TakeRate), inSeconds(s.SoldOutIn))
	if r := s.Room; r != nil {
		fmt.Fprintf(b, "room: %s, %.1f places/s (cap %g), held back by %s; %d in line, wait p50 %s, p95 %s; %d inside\n", r.State, r.Rate, r.RateCap, r.Limit, r.Waiting, inSeconds(r.Wait50), inSeconds(r.Wait95), r.Inside)
	}
}

func topNode(b *strings.Builder, l *live.Live) {
	fmt.Fprintln(b, "\nthis node:")
	t := tabwriter.NewWriter(b, 0, 0, 2, ' ', 0)
	for _, s := range l.Funnel {
		out := make([]string, 0, len(s.Out))
		for _, r := range s.Out[:min(3, len(s.Out))] {
			out = append(out, fmt.Sprintf("%s %s", r.Why, perSecond(r.Rate)))
		}
		fmt.Fprintf(t, "  %s\t%s\t%.0f in all\t%s\n", s.Name, perSecond(s.Rate), s.Total, strings.Join(out, ", "))
	}
	fmt.Fprintln(t)
	fmt.Fprintln(t, "  \tp50\tp99\tp99.9")
	for _, s := range l.Steps {
		fmt.Fprintf(t, "  %s\t%s\t%s\t%s\n", s.Name, inSeconds(s.P50), inSeconds(s.P99), inSeconds(s.P999))
	}
	fmt.Fprintln(t)
	for _, of := range []struct {
		name string
		list []live.Need
	}{{"redis", l.Needs.Redis}, {"kafka", l.Needs.Kafka}, {"postgres", l.Needs.Postgres}, {"payment", l.Needs.Payment}} {
		for _, n := range of.list {
			fmt.Fprintf(t, "  %s\t%s\t%s\t%s\n", of.name, n.Name, needed(n), map[bool]string{true: "HIGH"}[n.Bad > 0 && n.Value != nil && *n.Value >= n.Bad])
		}
	}
	for _, x := range l.Needs.Breakers {
		fmt.Fprintf(t, "  breaker\t%s\t%s\t%s\n", x.Name, x.State, x.Forced)
	}
	_ = t.Flush() // into memory
	if h := l.Headroom; h.Used != nil {
		fmt.Fprintf(b, "\nheadroom %.0f%% (most used: %s)\n", 100*max(0, 1-*h.Used), h.By)
	}
	if k := l.Headroom.Knee; k != nil {
		fmt.Fprintf(b, "%.0f%% [%.0f, %.0f] of the way to the knee (first there: %s); %.1f/s of %.0f/s [%.0f, %.0f]; model of %s, %s\n", 100*k.Used.Value, 100*k.Used.Low, 100*k.Used.High,
			k.Binds, k.Rate, k.Most.Value, k.Most.Low, k.Most.High, k.Measured, k.On)
	}
	for _, e := range l.Events[:min(5, len(l.Events))] {
		fmt.Fprintf(b, "%s  %s  %s %s %s %s\n", e.At.Format(time.TimeOnly), e.Kind, e.What, e.Target, e.Who, e.Why)
	}
}

func perSecond(v *float64) string {
	if v == nil {
		return "–"
	}
	return fmt.Sprintf("%.1f/s", *v)
}

func inSeconds(v *float64) string {
	if v == nil {
		return "–"
	}
	d := time.Duration(*v * float64(time.Second))
	if d > 10*time.Second {
		return d.Round(time.Second).String()
	}
	return d.Round(10 * time.Microsecond).String()
}

func needed(n live.Need) string {
	switch {
	case n.Value == nil:
		return "–"
	case n.Unit == "seconds":
		return inSeconds(n.Value)
	case n.Unit == "share":
		return fmt.Sprintf("%.0f%%", 100**n.Value)
	case n.Unit == "per_second":
		return perSecond(n.Value)
	}
	return fmt.Sprintf("%.0f", *n.Value)
}
