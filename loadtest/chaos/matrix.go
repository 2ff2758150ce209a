package chaos

import (
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// Around the fault of a plan that has but one.
const (
	calmBefore = 3 * time.Second
	calmAfter  = 4 * time.Second
)

// Alone is the plan in which one fault happens alone, in the middle of a load:
// as long and as hard as plans have it on average.
func Alone(name string, seed uint64, long, duration time.Duration) (Plan, error) {
	if err := known(name); err != nil {
		return Plan{}, err
	}
	f := faults[name]
	e := Event{Fault: name, At: calmBefore, For: ((f.least + f.most) / 2).Truncate(100 * time.Millisecond), Amount: (f.low + f.high) / 2}
	if e.Amount == 0 {
		e.Amount = f.high
	}
	if long > 0 {
		e.For = long
	}
	least := e.End() + calmAfter
	if duration == 0 {
		duration = least
	}
	if duration < least {
		return Plan{}, fmt.Errorf("%s alone, for %s, needs a duration of %s", name, e.For, least)
	}
	// Where there is time, each seed has its own moment.
	e.At += time.Duration(rand.New(rand.NewPCG(seed, 0xc4a05)).Int64N(int64(duration-least) + 1)).Truncate(10 * time.Millisecond) //nolint:gosec // repeatable by its seed
	return Plan{Seed: seed, Duration: duration, Events: []Event{e}}, nil
}

// Parts of a document between which Matrix puts its table.
const (
	MatrixBegin = "<!-- faults: begin -->"
	MatrixEnd   = "<!-- faults: end -->"
)

// Matrix is the table of faults, each alone, with what was observed.
func Matrix(reports []Report, command func(fault string) string) string {
	var b strings.Builder
	b.WriteString("| fault | what happens | promised | told, to the crowd and to probes | selling, ordering again | OVERSOLD LOST DRIFT UNPAID | verdict |\n|---|---|---|---|---|---|---|\n")
	for _, r := range reports {
		if len(r.Plan.Events) != 1 {
			continue
		}
		e := r.Plan.Events[0]
		f := faults[e.Fault]
		does := fmt.Sprintf("%s, for %s", f.does, e.For)
		if f.unit != "" {
			does += fmt.Sprintf(" (%d %s)", e.Amount, f.unit)
		}
		verdict := "pass"
		switch {
		case r.Empty():
			verdict = "**skipped**: " + strings.ReplaceAll(r.Skipped[0], "|", "/")
		case !r.Pass:
			why, _, _ := strings.Cut(cmp.Or(strings.Join(r.Wrong, "; "), r.Error), "\n")
			verdict = "**fail**: " + strings.ReplaceAll(why[:min(len(why), 200)], "|", "/")
		}
		normal := fmt.Sprintf("%.1f s, %.1f s", r.Normal.Selling, r.Normal.Ordering)
		told := r.told()
		if r.Normal == (Normal{}) && !r.Pass {
			normal = "not in this run"
		}
		if r.Empty() {
			told = normal
		}
		fmt.Fprintf(&b, rowBegin+"%s` | %s | %s | %s | %s | %s | %s |\n", e.Fault, does, f.expect, told, normal, r.Zeros(), verdict)
	}
	if command != nil {
		fmt.Fprintf(&b, "\nOne of them again: `%s`.\n", command("FAULT"))
	}
	return b.String()
}

// told sums up what came instead of the usual answers.
func (r Report) told() string {
	all := map[string]int64{}
	for answer, n := range r.Crowd.Errors {
		_, answer, _ = strings.Cut(answer, " ") // without the step
		all[answer] += n
	}
	for answer, n := range r.Seen {
		_, answer, _ = strings.Cut(answer, " ")
		all[answer] += n
	}
	keys := slices.SortedFunc(maps.Keys(all), func(a, b string) int { return cmp.Or(cmp.Compare(all[b], all[a]), cmp.Compare(a, b)) })
	var parts []string
	for _, k := range keys[:min(len(keys), 5)] {
		parts = append(parts, fmt.Sprintf("%s × %d", k, all[k]))
	}
	return cmp.Or(strings.Join(parts, ", "), "nothing unusual")
}

// Fill puts a table between the marks of a document. Rows that are there of faults
// which the table has not stay.
func Fill(document, table string) (string, error) {
	before, rest, ok := strings.Cut(document, MatrixBegin)
	_, after, ok2 := strings.Cut(rest, MatrixEnd)
	if !ok || !ok2 {
		return "", fmt.Errorf("the document has no %s and %s", MatrixBegin, MatrixEnd)
	}
	old, _, _ := strings.Cut(rest, MatrixEnd)
	return before + MatrixBegin + "\n" + mergeRows(old, table) + MatrixEnd + after, nil
}

// mergeRows gives a table with the rows of both, by name; the new one's win.
func mergeRows(old, table string) string {
	rows := map[string]string{}
	for _, text := range []string{old, table} {
		for line := range strings.Lines(text) {
			if strings.HasPrefix(line, rowBegin) {
				name, _, _ := strings.Cut(line[len(rowBegin):], "`")
				rows[name] = line
			}
		}
	}
	var b strings.Builder
	put := false
	for line := range strings.Lines(table) {
		if !strings.HasPrefix(line, rowBegin) {
			b.WriteString(line)
		}
		if strings.HasPrefix(line, "|---") && !put { // the rows follow the head
			put = true
			for _, name := range slices.Sorted(maps.Keys(rows)) {
				b.WriteString(rows[name])
			}
		}
	}
	return b.String()
}

// rowBegin is how the row of a fault begins.
const rowBegin = "| `"
