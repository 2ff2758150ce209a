package bench

import (
	"context"
	"fmt"
	"math"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/jackc/pgx/v5"
)

// Report is what a run found.
type Report struct {
	Ratios       map[string]*Spread     `json:"ratios"`  // null where there is none
	Missing      map[string]string      `json:"missing"` // why, by ratio or measurement
	Failed       []string               `json:"failed"`  // measurements that should have worked
	Goals        map[string]Judged      `json:"goals"`
	Measurements map[string]Measurement `json:"measurements"`
	Machine      Machine                `json:"machine"`
	Versions     map[string]string      `json:"versions"`
	Settings     Settings               `json:"settings"`
	Notes        []string               `json:"notes"`
}

// Measurement is one figure over the rounds.
type Measurement struct {
	Spread
	Unit   string    `json:"unit"`
	What   string    `json:"what"`
	Rounds []float64 `json:"rounds"`
}

// Machine is what the run ran on.
type Machine struct {
	OS         string `json:"os"`
	Kernel     string `json:"kernel"`
	CPU        string `json:"cpu"`
	Processors int    `json:"processors"`
	Server     int    `json:"server_processor"`
	Backends   int    `json:"backends_processor"`
	Load       int    `json:"load_processor"`
	Pinned     bool   `json:"server_has_its_own_processor"`
	Others     Spread `json:"share_used_by_others"` // of all processors together, over the measurements
}

// Settings are how the run was asked for.
type Settings struct {
	Rounds  int     `json:"rounds"`
	Seconds float64 `json:"seconds_per_measurement"`
	Quick   bool    `json:"quick"`
	Conns   int     `json:"connections"`
	Buyers  int     `json:"buyers"`
	SKUs    int     `json:"skus"`
	Holds   int     `json:"holds_for_bytes"`
	Took    float64 `json:"took_seconds"`
	When    string  `json:"when"`
}

// OK says that everything that was asked for could be measured.
func (r Report) OK() bool { return len(r.Failed) == 0 }

// Floors lists the ratios below their floor.
func (r Report) Floors() (out []string) {
	for _, g := range goals {
		if j := r.Goals[g.Key]; j.Median != nil && !j.FloorMet {
			out = append(out, g.Key)
		}
	}
	return out
}

func (w *world) report(ctx context.Context, rounds []values, todo []measure, missing, failed map[string]string, others Spread, took time.Duration) Report {
	r := summarise(rounds, todo, missing, failed)
	r.Machine, r.Versions = w.machine(), w.versions(ctx)
	r.Settings = Settings{Rounds: w.cfg.Rounds, Seconds: w.cfg.Window.Seconds(), Quick: w.cfg.Quick, Conns: conns, Buyers: w.cfg.buyers(), SKUs: skuCount,
		Holds: w.cfg.holds(), Took: round(took.Seconds()), When: time.Now().UTC().Format(time.RFC3339)}
	r.Machine.Others = others
	r.Notes = w.notes(others)
	return r
}

// summarise turns rounds into figures: ratios within a round first, then their median.
func summarise(rounds []values, todo []measure, missing, failed map[string]string) Report {
	settlePeaks(rounds)
	r := Report{Ratios: map[string]*Spread{}, Missing: map[string]string{}, Failed: []string{}, Goals: map[string]Judged{}, Measurements: map[string]Measurement{}}
	ran := map[string]bool{}
	for _, m := range todo {
		ran[m.name] = true
		if why := missing[m.name]; why != "" {
			r.Missing[m.name] = why
		}
		if failed[m.name] != "" {
			r.Failed = append(r.Failed, m.name)
		}
		for _, v := range m.gives {
			all := collect(rounds, func(got values) (float64, bool) { x, ok := got[v.name]; return x, ok })
			if missing[m.name] == "" && len(all) > 0 {
				r.Measurements[v.name] = Measurement{Spread: spread(all), Unit: v.unit, What: v.what, Rounds: all}
			}
		}
	}
	for _, g := range goals {
		r.Ratios[g.Key] = nil
		why := ""
		for _, v := range g.needs {
			switch m := giver(v); {
			case !ran[m]:
				why = m + notAsked
			case missing[m] != "":
				why = m + ": " + missing[m]
			}
		}
		all := collect(rounds, func(got values) (float64, bool) { return g.of(got) })
		if why == "" && len(all) == 0 {
			why = "no round has it"
		}
		if why == "" {
			s := spread(all)
			r.Ratios[g.Key] = &s
		} else {
			r.Missing[g.Key] = why
		}
		r.Goals[g.Key] = g.judge(r.Ratios[g.Key])
	}
	return r
}

func collect(rounds []values, f func(values) (float64, bool)) (out []float64) {
	for _, got := range rounds {
		if v, ok := f(got); ok {
			out = append(out, round(v))
		}
	}
	return out
}

func (w *world) machine() Machine {
	m := Machine{OS: runtime.GOOS + "/" + runtime.GOARCH, Processors: runtime.NumCPU(), Server: w.server, Backends: w.backend, Load: w.loadCore, Pinned: w.server != w.loadCore}
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(text)) {
			if k, v, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(k) == "model name" {
				m.CPU = strings.TrimSpace(v)
				break
			}
		}
	}
	if text, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		m.Kernel, _, _ = strings.Cut(strings.TrimSpace(string(text)), "-") // the number says it; a build's name does not
	}
	return m
}

func (w *world) versions(ctx context.Context) map[string]string {
	v := map[string]string{"go": runtime.Version(), "redis": "absent", "postgres": "absent", "nginx": "absent", "kafka": w.stack.Kafka.Kind}
	if info, err := infoOf(ctx, w.redis, "server"); err == nil {
		v["redis"] = info["redis_version"]
	}
	if c, err := pgx.Connect(ctx, w.stack.Postgres.URL); err == nil {
		v["postgres"] = c.PgConn().ParameterStatus("server_version")
		_ = c.Close(ctx)
	}
	if bin, _, err := findNginx(w.cfg); err == nil {
		out, _ := exec.Command(bin, "-v").CombinedOutput()
		_, v["nginx"], _ = strings.Cut(strings.TrimSpace(string(out)), "nginx/")
	}
	if b, ok := debug.ReadBuildInfo(); ok {
		v["flashsale"] = b.Main.Version
		for _, d := range b.Deps {
			switch d.Path {
			case "github.com/valyala/fasthttp", "github.com/redis/go-redis/v9", "github.com/jackc/pgx/v5":
				v[d.Path[strings.LastIndex(strings.TrimSuffix(strings.TrimSuffix(d.Path, "/v9"), "/v5"), "/")+1:]] = d.Version
			}
		}
	}
	return v
}

// disturbed is the share of the machine in strangers' hands beyond which a run
// says more about them than about us.
const disturbed = 0.03

func (w *world) notes(others Spread) []string {
	where := "Redis and Postgres share the load generator's processor"
	switch {
	case w.server == w.loadCore:
		where = "there is one processor: everything shares it, and ratios to plaintext say little"
	case w.backend != w.loadCore:
		where = "Redis and Postgres have a processor of their own"
	}
	notes := []string{
		"the server that is measured has a processor to itself; " + where + ", the same for all that are compared",
		"Redis runs without AOF but for reserve_aof_always; Postgres runs with fsync",
		"purchases go through Kafka's stand-in in process (kfake), Postgres with fsync and the sandbox payment provider without latency (checkout_overhead: 20 ms)",
	}
	if others.Median > disturbed {
		notes = append(notes, fmt.Sprintf("DISTURBED: other processes used %.0f%% of the machine (median; at most %.0f%%): run it again when it is idle", 100*others.Median, 100*others.Max))
	}
	if w.cfg.Quick {
		notes = append(notes, fmt.Sprintf("--quick: %d holds for bytes_per_hold instead of a million, fewer buyers, one short round: to see that it works, not to quote", w.cfg.holds()))
	}
	return notes
}

// human writes a figure in as few digits as it deserves.
func human(v float64) string {
	switch {
	case v == 0:
		return "0"
	case math.Abs(v) >= 1000:
		s := fmt.Sprintf("%.0f", round(v))
		for i := len(s) - 3; i > 0; i -= 3 {
			s = s[:i] + "," + s[i:]
		}
		return s
	case math.Abs(v) >= 100:
		return fmt.Sprintf("%.0f", v)
	case math.Abs(v) >= 10:
		return fmt.Sprintf("%.1f", v)
	case math.Abs(v) >= 1:
		return fmt.Sprintf("%.2f", v)
	}
	return fmt.Sprintf("%.3f", v)
}

// verdict is a goal's in a word.
func (j Judged) verdict() string {
	switch {
	case j.Median == nil:
		return "-"
	case j.Met:
		return "goal"
	case j.FloorMet:
		return "floor"
	}
	return "MISSED"
}

func (j Judged) bounds() (floor, goal string) {
	sign := "≥ "
	if j.Bound == "at most" {
		sign = "≤ "
	}
	return sign + human(j.Floor), sign + human(j.Goal)
}

// ratioRows gives the goals' table.
func (r Report) ratioRows() (out [][]string) {
	for _, g := range goals {
		j := r.Goals[g.Key]
		floor, goal := j.bounds()
		row := []string{g.Key, "-", "", "", floor, goal, j.verdict()}
		if s := r.Ratios[g.Key]; s != nil {
			row[1], row[2], row[3] = human(s.Median), human(s.Min), human(s.Max)
		}
		out = append(out, row)
	}
	return out
}

func (r Report) valueRows() (out [][]string) {
	for _, m := range measures {
		for _, v := range m.gives {
			if got, ok := r.Measurements[v.name]; ok {
				out = append(out, []string{v.name, human(got.Median), human(got.Min), human(got.Max), got.Unit, got.What})
			}
		}
	}
	return out
}

var (
	ratioHead = []string{"ratio", "median", "min", "max", "floor", "goal", "reached"}
	valueHead = []string{"figure", "median", "min", "max", "unit", "what"}
)

func (r Report) heading() string {
	pinned := fmt.Sprintf("server on processor %d, Redis and Postgres on %d, load on %d", r.Machine.Server, r.Machine.Backends, r.Machine.Load)
	return fmt.Sprintf("%d rounds of %.3g s per measurement, %d connections, %d SKUs, %.0f s in all; %s, %d processors (%s); Redis %s, Postgres %s, nginx %s, %s",
		r.Settings.Rounds, r.Settings.Seconds, r.Settings.Conns, r.Settings.SKUs, r.Settings.Took, r.Machine.CPU, r.Machine.Processors, pinned,
		r.Versions["redis"], r.Versions["postgres"], r.Versions["nginx"], r.Versions["go"])
}

// notAsked is why a ratio is missing that --only left out: true, and no news.
const notAsked = " was not asked for"

func (r Report) reasons() (out []string) {
	keys := make([]string, 0, len(r.Missing))
	for k, why := range r.Missing {
		if !strings.HasSuffix(why, notAsked) {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	for _, k := range keys {
		out = append(out, k+": "+r.Missing[k])
	}
	return out
}

// String gives the tables for people.
func (r Report) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n\n", r.heading())
	for _, t := range []struct {
		head []string
		rows [][]string
	}{{ratioHead, r.ratioRows()}, {valueHead, r.valueRows()}} {
		w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
		for _, row := range append([][]string{t.head}, t.rows...) {
			_, _ = fmt.Fprintln(w, strings.Join(row, "\t"))
		}
		_ = w.Flush() // a strings.Builder takes everything
		b.WriteByte('\n')
	}
	for _, why := range r.reasons() {
		fmt.Fprintf(&b, "missing: %s\n", why)
	}
	for _, n := range r.Notes {
		fmt.Fprintf(&b, "note: %s\n", n)
	}
	return b.String()
}

// The lines between which a document's figures stand.
const (
	markBegin = "<!-- bench: figures begin; `flashsale bench --markdown FILE` writes what is between these lines -->"
	markEnd   = "<!-- bench: figures end -->"
)

// Markdown gives the tables for docs/performance.md.
func (r Report) Markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "Run of %s: %s.\n\n", r.Settings.When, r.heading())
	for _, t := range []struct {
		head []string
		rows [][]string
	}{{ratioHead, r.ratioRows()}, {valueHead, r.valueRows()}} {
		fmt.Fprintf(&b, "| %s |\n|%s\n", strings.Join(t.head, " | "), strings.Repeat(" --- |", len(t.head)))
		for _, row := range t.rows {
			row = slices.Clone(row)
			row[0] = "`" + row[0] + "`"
			fmt.Fprintf(&b, "| %s |\n", strings.Join(row, " | "))
		}
		b.WriteByte('\n')
	}
	for _, why := range r.reasons() {
		fmt.Fprintf(&b, "- Missing: %s\n", strings.ReplaceAll(why, "\n", " "))
	}
	for _, n := range r.Notes {
		fmt.Fprintf(&b, "- Note: %s\n", n)
	}
	return b.String()
}

// Fill puts the tables between the marks of a document.
func (r Report) Fill(document string) (string, error) {
	before, rest, ok := strings.Cut(document, markBegin)
	_, after, closed := strings.Cut(rest, markEnd)
	if !ok || !closed {
		return "", fmt.Errorf("the document lacks the lines %q and %q", markBegin, markEnd)
	}
	return before + markBegin + "\n\n" + r.Markdown() + "\n" + markEnd + after, nil
}
