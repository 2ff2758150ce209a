package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"slices"
	"strings"
	"time"
)

// Config of a run.
type Config struct {
	Self     []string // the command that runs this program, for its other processes
	Rounds   int
	Window   time.Duration // of one measurement
	Only     []string      // measurements or ratios; empty: all
	Quick    bool          // fewer buyers and holds: to see that it works, not to quote
	Progress io.Writer     // nil: silence
	Log      *slog.Logger
	Kafka    bool // a real one, as a child process, instead of the stand-in in this process

	Nginx        string // the binary; default: nginx on PATH
	NginxLua     string // its Lua module; default: the usual places
	NginxLuaPath string // where Lua finds resty.core; default: nginx' own idea
}

func (c Config) nginx() string {
	if c.Nginx == "" {
		return "nginx"
	}
	return c.Nginx
}

func (c Config) buyers() int {
	if c.Quick {
		return 4096
	}
	return 16384
}

func (c Config) holds() int {
	if c.Quick {
		return 100_000
	}
	return 1_000_000
}

// rest is how long a measurement waits at most for the processors to be idle.
func (c Config) rest() time.Duration {
	if c.Quick {
		return time.Second
	}
	return 15 * time.Second
}

// salesEach is enough for 100,000 reservations per second with a buyer reserving
// once per sale. A faster server sees buyers again, who are still within the limit.
func (c Config) salesEach() int {
	return max(1, min(16, int(100_000*(c.lead()+c.Window).Seconds())/c.buyers()+1))
}

func (c Config) lead() time.Duration   { return min(c.Window/4, 300*time.Millisecond) }
func (c Config) warmUp() time.Duration { return min(c.Window, time.Second) }

// Validate says what is wrong with a configuration.
func (c Config) Validate() error {
	if c.Rounds < 1 || c.Window < 50*time.Millisecond {
		return errors.New("at least one round, and 50 ms per measurement")
	}
	_, err := c.chosen()
	return err
}

// chosen gives the measurements to make: those named, those that the named
// ratios are made of, and those that these build on.
func (c Config) chosen() ([]measure, error) {
	if len(c.Only) == 0 {
		return slices.DeleteFunc(slices.Clone(measures), func(m measure) bool { return m.asked }), nil
	}
	want := map[string]bool{}
	for _, name := range c.Only {
		known := false
		for _, m := range measures {
			if m.name == name {
				want[name], known = true, true
			}
		}
		for _, g := range goals {
			if g.Key == name {
				known = true
				for _, v := range g.needs {
					want[giver(v)] = true
				}
			}
		}
		if !known {
			return nil, fmt.Errorf("%q is neither a measurement (%s) nor a ratio (%s)", name, strings.Join(measureNames(), ", "), strings.Join(goalKeys(), ", "))
		}
	}
	var out []measure
	for i := len(measures) - 1; i >= 0; i-- { // what is built upon stands earlier
		m := measures[i]
		if !want[m.name] {
			continue
		}
		for _, n := range m.needs {
			want[n] = true
		}
		out = append(out, m)
	}
	slices.Reverse(out)
	return out, nil
}

// giver names the measurement that gives a value.
func giver(name string) string {
	for _, m := range measures {
		for _, v := range m.gives {
			if v.name == name {
				return m.name
			}
		}
	}
	return ""
}

func measureNames() (out []string) {
	for _, m := range measures {
		out = append(out, m.name)
	}
	return out
}

func goalKeys() (out []string) {
	for _, g := range goals {
		out = append(out, g.Key)
	}
	return out
}

// Run makes all rounds. The report is whole even where measurements failed; an
// error means that there is none.
func Run(ctx context.Context, cfg Config) (Report, error) {
	if err := cfg.Validate(); err != nil {
		return Report{}, err
	}
	todo, err := cfg.chosen()
	if err != nil {
		return Report{}, err
	}
	began := time.Now()
	w, err := newWorld(ctx, cfg)
	if err != nil {
		return Report{}, err
	}
	defer w.close()
	runtime.GC()
	var others []float64
	var rounds []values
	missing, failed := map[string]string{}, map[string]string{}
	for i := range cfg.Rounds {
		got := values{}
		for _, m := range todo {
			if missing[m.name] != "" {
				continue
			}
			if err := ctx.Err(); err != nil {
				return Report{}, err
			}
			at, watch := time.Now(), watchStrangers()
			out, err := m.try(ctx, w, got)
			var skip skipped
			switch {
			case errors.As(err, &skip):
				missing[m.name] = skip.why
			case err != nil:
				missing[m.name] = "failed in round " + fmt.Sprint(i+1) + ": " + err.Error()
				failed[m.name] = missing[m.name]
			default:
				for name, v := range out {
					got[name] = v
				}
			}
			others = append(others, watch.share(w.processors))
			w.say("round %d/%d  %-18s %s", i+1, cfg.Rounds, m.name, m.line(out, missing[m.name], time.Since(at)))
		}
		rounds = append(rounds, got)
	}
	return w.report(ctx, rounds, todo, missing, failed, spread(others), time.Since(began)), nil
}

func (m measure) try(ctx context.Context, w *world, got values) (values, error) {
	for _, n := range m.needs {
		if _, ok := got[n]; !ok {
			return nil, skipped{"it builds on " + n + ", which is missing"}
		}
	}
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute+20*w.cfg.Window)
	defer cancel()
	if err := w.rest(ctx); err != nil {
		return nil, err
	}
	return m.run(ctx, w, got)
}

func (m measure) line(out values, why string, took time.Duration) string {
	if why != "" {
		return why
	}
	var parts []string
	for _, v := range m.gives {
		parts = append(parts, fmt.Sprintf("%s %s", strings.TrimPrefix(v.name, m.name+"_"), human(out[v.name])))
		if len(parts) == 4 {
			break
		}
	}
	return strings.Join(parts, " · ") + fmt.Sprintf("   (%.1f s)", took.Seconds())
}

func (w *world) say(format string, args ...any) {
	if w.cfg.Progress != nil {
		fmt.Fprintf(w.cfg.Progress, format+"\n", args...)
	}
}
