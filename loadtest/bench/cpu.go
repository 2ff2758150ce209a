package bench

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// tick is the unit of processor time in /proc; 100 Hz on every Linux that Go runs on.
const tick = 10 * time.Millisecond

// times is a process's line in /proc/PID/stat.
type times struct {
	parent    int
	own, dead time.Duration // its processor time, and that of its children that have been waited for
}

func readTimes(file string) (t times, ok bool) {
	text, err := os.ReadFile(file)
	if err != nil {
		return t, false // ended while we looked
	}
	// "pid (name with ) and blanks) state ppid …": count from the last bracket.
	f := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	if len(f) < 15 {
		return t, false
	}
	n := func(i int) time.Duration {
		v, _ := strconv.ParseInt(f[i], 10, 64)
		return time.Duration(v) * tick
	}
	t.parent, _ = strconv.Atoi(f[1])
	t.own, t.dead = n(11)+n(12), n(13)+n(14)
	return t, true
}

// CPUOf is the processor time that a process has used.
func CPUOf(pid int) time.Duration {
	t, _ := readTimes("/proc/" + strconv.Itoa(pid) + "/stat")
	return t.own
}

// family is a process and all that it started.
func family(root int) map[int]times {
	all, out := map[int]times{}, map[int]times{}
	files, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, f := range files {
		if t, ok := readTimes(f); ok {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(f)))
			all[pid] = t
		}
	}
	for pid, t := range all {
		for p, depth := pid, 0; p > 1 && depth < 64; p, depth = all[p].parent, depth+1 {
			if p == root {
				out[pid] = t
				break
			}
		}
	}
	return out
}

// cpuOfFamily is the processor time of this process and all that it started.
func cpuOfFamily() (sum time.Duration) {
	for _, t := range family(os.Getpid()) {
		sum += t.own + t.dead
	}
	return sum
}

// ranFor is how long a process has had a processor, 0 where that is not known: to
// the nanosecond, for windows that are short beside a tick. Threads that have
// ended are not in it.
func ranFor(pid int) (sum time.Duration) {
	tasks, _ := filepath.Glob("/proc/" + strconv.Itoa(pid) + "/task/*/schedstat")
	for _, t := range tasks {
		text, err := os.ReadFile(t)
		if err != nil {
			continue // ended while we looked
		}
		first, _, _ := strings.Cut(string(text), " ")
		ns, _ := strconv.ParseInt(first, 10, 64)
		sum += time.Duration(ns)
	}
	return sum
}

// familyRanFor is ranFor of a process and all that it started.
func familyRanFor(root int) (sum time.Duration) {
	for pid, t := range family(root) {
		sum += ranFor(pid) + t.dead
	}
	return sum
}

// cpuOfMachine is the time that all processors together were busy.
func cpuOfMachine() (sum time.Duration) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0
	}
	line, _, _ := strings.Cut(string(text), "\n")
	f := strings.Fields(line)
	for i, v := range f {
		// cpu user nice system idle iowait irq softirq steal: steal is work of others, too.
		if i >= 1 && i <= 8 && i != 4 && i != 5 {
			n, _ := strconv.ParseInt(v, 10, 64)
			sum += time.Duration(n) * tick
		}
	}
	return sum
}

// strangers measures how much of the machine others used.
type strangers struct {
	began        time.Time
	machine, our time.Duration
}

func watchStrangers() strangers {
	return strangers{time.Now(), cpuOfMachine(), cpuOfFamily()}
}

// share is theirs since watchStrangers, of all processors together.
func (s strangers) share(processors int) float64 {
	theirs := (cpuOfMachine() - s.machine) - (cpuOfFamily() - s.our)
	return max(0, theirs.Seconds()/time.Since(s.began).Seconds()/float64(processors))
}
