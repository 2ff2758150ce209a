package chaos

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestASeedDrawsOnePlan(t *testing.T) {
	names := Faults()
	for seed := range uint64(50) {
		if a, b := Draw(seed, 30*time.Second, names), Draw(seed, 30*time.Second, names); !reflect.DeepEqual(a, b) {
			t.Fatalf("seed %d draws\n%s\nand\n%s", seed, a, b)
		}
	}
	if reflect.DeepEqual(Draw(1, 30*time.Second, names), Draw(2, 30*time.Second, names)) {
		t.Error("two seeds draw the same plan")
	}
}

func TestAPlanOverlapsAndCanBeCarriedOut(t *testing.T) {
	seen := map[string]bool{}
	for _, duration := range []time.Duration{8 * time.Second, 30 * time.Second, 5 * time.Minute} {
		for seed := range uint64(500) {
			p := Draw(seed, duration, Faults())
			if p.Overlap() < overlap {
				t.Fatalf("at most %d faults at once:\n%s", p.Overlap(), p)
			}
			for i, e := range p.Events {
				f := faults[e.Fault]
				seen[e.Fault] = true
				if e.At < time.Duration(quietStart*float64(duration))-100*time.Millisecond || e.End() > time.Duration(quietEnd*float64(duration))+100*time.Millisecond || e.For <= 0 {
					t.Fatalf("%s does not lie within the load of %s", e, duration)
				}
				if f.high > 0 && (e.Amount < f.low || e.Amount > f.high) {
					t.Fatalf("%s: %d is not between %d and %d", e, e.Amount, f.low, f.high)
				}
				nodes := map[int]bool{}
				for j, o := range p.Events {
					g := faults[o.Fault]
					if at := o.At <= e.At && e.At < o.End(); at && g.part == partNode {
						nodes[o.Node] = true
					} else if !at {
						continue
					}
					if i != j && f.part == g.part && (f.part != partNode || e.Node == o.Node) {
						t.Fatalf("%s and %s are done to the same part:\n%s", e, o, p)
					}
				}
				if len(nodes) == Nodes {
					t.Fatalf("no node is left at %s:\n%s", e.At, p)
				}
			}
		}
	}
	for _, name := range Faults() {
		if !seen[name] {
			t.Errorf("no plan has %s", name)
		}
	}
}

func TestFaultsOfAClusterAreDrawnOnlyWhereThereIsOne(t *testing.T) {
	for _, name := range ClusterFaults() {
		one := Config{Seed: 1, Duration: 30 * time.Second, Faults: []string{name, "node.kill", "redis.kill", "postgres.restart"}}
		p, err := one.plan()
		if err != nil || p.brokers() != 3 {
			t.Errorf("a plan with %s has %d brokers, %v", name, p.brokers(), err)
		}
	}
	drawn := map[string]bool{}
	for seed := range uint64(100) {
		usual, dear := Config{Seed: seed, Duration: 30 * time.Second}, Config{Seed: seed, Duration: 30 * time.Second, Brokers: 3}
		if p, err := usual.plan(); err != nil || p.brokers() != 1 {
			t.Fatalf("a usual plan needs %d brokers, %v", p.brokers(), err)
		}
		p, err := dear.plan()
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range p.Events {
			drawn[e.Fault] = true
		}
	}
	for _, name := range ClusterFaults() {
		if !drawn[name] {
			t.Errorf("with three brokers, no plan has %s", name)
		}
	}
	if _, err := (&Config{Seed: 1, Duration: 30 * time.Second, Brokers: 2}).plan(); err == nil {
		t.Error("a world of two brokers")
	}
}

func TestATableKeepsTheRowsOfFaultsThatWereNotPlayed(t *testing.T) {
	row := func(fault string) string {
		return Matrix([]Report{{Pass: true, Plan: Plan{Events: []Event{{Fault: fault, For: time.Second}}}}}, nil)
	}
	document := "before\n" + MatrixBegin + "\n" + MatrixEnd + "\nafter\n"
	for _, fault := range []string{"redis.kill", "kafka.kill", "redis.kill"} {
		var err error
		if document, err = Fill(document, row(fault)); err != nil {
			t.Fatal(err)
		}
	}
	kafka, redis := strings.Index(document, "| `kafka.kill`"), strings.Index(document, "| `redis.kill`")
	if kafka < 0 || redis < kafka || strings.Count(document, "| `") != 2 || strings.Count(document, "|---") != 7 ||
		!strings.HasPrefix(document, "before\n") || !strings.HasSuffix(document, MatrixEnd+"\nafter\n") {
		t.Error(document)
	}
}

func TestAPlanKnowsWhetherItMakesTheGateForget(t *testing.T) {
	if !(Plan{Events: []Event{{Fault: "redis.kill"}, {Fault: "redis.flushall"}}}).loses() || (Plan{Events: []Event{{Fault: "redis.kill"}}}).loses() {
		t.Error("a plan does not know whether it loses")
	}
}

func TestEveryFaultIsDescribedAndCanBePlayedAlone(t *testing.T) {
	for name, f := range faults {
		if f.does == "" || f.expect == "" || f.part == "" || f.begin == nil || f.least <= 0 || f.most < f.least || (f.unit == "") != (f.high == 0) {
			t.Errorf("%s is not complete: %+v", name, f)
		}
		p, err := Alone(name, 1, 0, 0)
		if err != nil || len(p.Events) != 1 || p.Events[0].End() >= p.Duration {
			t.Errorf("%s alone: %+v, %v", name, p, err)
		}
		if _, err := Run(t.Context(), Config{Faults: []string{name, "lunch"}, Duration: time.Minute}); err == nil || !strings.Contains(err.Error(), "lunch") {
			t.Errorf("a fault that does not exist: %v", err)
		}
	}
}

func TestAFaultThatCannotHappenHereIsSaidToBeSkipped(t *testing.T) {
	alone := func(name string) Plan {
		p, err := Alone(name, 1, 0, 0)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	w := &world{noDisk: errors.New("no mounts\n| here")}
	full := Report{Plan: alone("redis.disk_full")}
	if !w.skipsAll(Config{}, full.Plan, &full) || !full.Empty() || full.Pass {
		t.Errorf("%+v", full)
	}
	for what, text := range map[string]string{"the report": full.String(), "the table": Matrix([]Report{full}, nil)} {
		if !strings.Contains(strings.ToLower(text), "skipped") || !strings.Contains(text, "redis.disk_full: no mounts") || strings.Contains(strings.ToLower(text), "pass |") {
			t.Errorf("%s: %s", what, text)
		}
	}
	for _, of := range []*world{w, {}} {
		var kill Report
		if plan := alone("redis.kill"); of.skipsAll(Config{}, plan, &kill) {
			t.Errorf("a kill needs no disk: %v", kill.Skipped)
		}
	}
	var some Report
	if (&world{}).skipsAll(Config{}, full.Plan, &some) || some.Empty() {
		t.Error("where there are disks, it is skipped")
	}
	storm := Report{Pass: true, Plan: Plan{Events: []Event{{Fault: "redis.disk_full"}, {Fault: "redis.kill"}}}, Skipped: full.Skipped}
	if l := storm.line(); storm.Empty() || !reflect.DeepEqual(l.Faults, []string{"redis.kill"}) {
		t.Errorf("%v; a plan of which a part was skipped has shown the rest", l.Faults)
	}
}
