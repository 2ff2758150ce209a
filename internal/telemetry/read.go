package telemetry

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"time"
)

// Step is a span as it is read back from a file.
type Step struct {
	Trace, ID, Parent string
	Name              string
	Node              string
	Began, Ended      time.Time
	Error             string // "": it went well
	Attributes        map[string]string
	Links             []Place
}

// Place names a step.
type Place struct{ Trace, ID string }

// Read gives the steps in files that nodes have written, their .1 before them. A
// last line that is not whole is passed over: a node may be writing it.
func Read(files ...string) (steps []Step, err error) {
	for _, name := range files {
		for _, part := range []string{name + ".1", name} {
			err := readFile(part, func(r otlpRequest) { steps = append(steps, stepsOf(r)...) })
			if errors.Is(err, fs.ErrNotExist) && part != name {
				continue
			}
			if err != nil {
				return nil, err
			}
		}
	}
	slices.SortStableFunc(steps, func(a, b Step) int { return a.Began.Compare(b.Began) })
	return steps, nil
}

func readFile(name string, each func(otlpRequest)) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	lines := bufio.NewReaderSize(f, 1<<16)
	for n := 1; ; n++ {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			return nil //nolint:nilerr // the end, or a line that is not whole
		}
		var r otlpRequest
		if err := json.Unmarshal(line, &r); err != nil {
			return fmt.Errorf("%s: line %d: %w", name, n, err)
		}
		each(r)
	}
}

func stepsOf(r otlpRequest) (out []Step) {
	for _, res := range r.Resources {
		node := textsOf(res.Resource.Attributes)["service.instance.id"]
		for _, scope := range res.Scopes {
			for _, s := range scope.Spans {
				step := Step{Trace: s.TraceID, ID: s.SpanID, Parent: s.ParentID, Name: s.Name, Node: node, Began: nanos(s.Start), Ended: nanos(s.End), Attributes: textsOf(s.Attributes)}
				if s.Status != nil && s.Status.Code == otlpError {
					step.Error = cmp.Or(s.Status.Message, "failed")
				}
				for _, l := range s.Links {
					step.Links = append(step.Links, Place{l.TraceID, l.SpanID})
				}
				out = append(out, step)
			}
		}
	}
	return out
}

func textsOf(list []otlpAttribute) map[string]string {
	out := make(map[string]string, len(list))
	for _, a := range list {
		out[a.Key] = a.Value.String()
	}
	return out
}

func nanos(text string) time.Time {
	n, _ := strconv.ParseInt(text, 10, 64) // 0, 1970, is plain to see
	return time.Unix(0, n).UTC()
}

// Branch is a step with what was done within it, and the steps that served it
// and others.
type Branch struct {
	Step
	Within []*Branch
	Shared []*Branch
}

// Tree puts the steps of a trace together. Steps whose parent is not there, of the
// caller for one, begin a branch of their own.
func Tree(steps []Step, trace string) []*Branch {
	own := branches(steps, trace)
	roots := grow(own)
	shared := map[string][]*Branch{} // the trees of other traces, by trace
	for _, b := range own {
		for _, l := range b.Links {
			if l.Trace == trace {
				continue
			}
			trees, ok := shared[l.Trace]
			if !ok {
				trees = grow(branches(steps, l.Trace))
				shared[l.Trace] = trees
			}
			for _, t := range trees {
				if t.ID == l.ID {
					b.Shared = append(b.Shared, t)
				}
			}
		}
	}
	return roots
}

func branches(steps []Step, trace string) (out []*Branch) {
	seen := map[string]bool{} // one file may have been named twice
	for _, s := range steps {
		if s.Trace == trace && !seen[s.ID] {
			seen[s.ID] = true
			out = append(out, &Branch{Step: s})
		}
	}
	return out
}

func grow(all []*Branch) (roots []*Branch) {
	by := make(map[string]*Branch, len(all))
	for _, b := range all {
		by[b.ID] = b
	}
	for _, b := range all {
		if parent := by[b.Parent]; parent != nil {
			parent.Within = append(parent.Within, b)
		} else {
			roots = append(roots, b)
		}
	}
	return roots
}

// Traces gives the traces whose steps have an attribute of this value, the oldest first.
func Traces(steps []Step, attribute, value string) (out []string) {
	for _, s := range steps {
		if s.Attributes[attribute] == value && !slices.Contains(out, s.Trace) {
			out = append(out, s.Trace)
		}
	}
	return out
}
