package bench

import (
	"encoding/json"
	"slices"
	"testing"
)

// The agreed numbers, once more and by hand: a goal that is moved must be moved here, too.
func TestTheGoalsAreTheAgreedOnes(t *testing.T) {
	want := []struct {
		key         string
		floor, goal float64
		most        bool
	}{
		{"reserve_vs_plaintext", 0.55, 0.85, false},
		{"reserve_vs_naive", 2.2, 3.5, false},
		{"reserve_vs_nginx_lua", 1.8, 3.0, false},
		{"reserve_vs_pg_for_update", 40, 60, false},
		{"soldout_vs_plaintext", 0.93, 0.98, false},
		{"ndjson64_vs_plaintext", 3.0, 8, false},
		{"aof_always_vs_naive_no_aof", 1.6, 3.0, false},
		{"redis_us_vs_naive", 0.15, 0.09, true},
		{"redis_us_vs_naive_failing", 0.18, 0.12, true},
		{"bytes_per_hold", 110, 90, true},
		{"p99_vs_plaintext", 1.5, 1.1, true},
		{"goodput_5x", 0.90, 0.98, false},
		{"crowd_5x", 0.95, 0.98, false},
		{"crowd_10x", 0.90, 0.95, false},
		{"admitted_p99_5x", 2, 1.5, true},
		{"admitted_p99_10x", 2, 1.5, true},
		{"guarded_vs_unguarded", 0.90, 0.95, false},
		{"shards16_cost", 1.15, 1.05, true},
		{"purchase_vs_reserve", 0.05, 0.20, false},
		{"writer_vs_tx_per_order", 100, 150, false},
		{"writer_vs_copy", 0.70, 0.85, false},
	}
	if len(goals) != len(want) {
		t.Fatalf("%d goals, not %d", len(goals), len(want))
	}
	for i, g := range goals {
		if w := want[i]; g.Key != w.key || g.Floor != w.floor || g.Goal != w.goal || g.Most != w.most {
			t.Errorf("%+v, not %+v", g, w)
		}
	}
}

func TestEveryRatioIsMadeOfFiguresThatAreMeasured(t *testing.T) {
	for _, g := range goals {
		for _, v := range g.needs {
			if giver(v) == "" {
				t.Errorf("%s needs %s, which nothing measures", g.Key, v)
			}
		}
	}
	seen := map[string]bool{}
	for i, m := range measures {
		for _, v := range m.gives {
			if seen[v.name] {
				t.Errorf("%s is given twice", v.name)
			}
			seen[v.name] = true
		}
		for _, n := range m.needs {
			if at := slices.IndexFunc(measures, func(o measure) bool { return o.name == n }); at < 0 || at >= i {
				t.Errorf("%s builds on %s, which does not come before it", m.name, n)
			}
		}
	}
}

func TestABoundIsReachedFromItsOwnSide(t *testing.T) {
	for _, c := range []struct {
		most       bool
		value      float64
		floor, met bool
	}{
		{false, 1.9, false, false}, {false, 2, true, false}, {false, 3, true, true}, {false, 9, true, true},
		{true, 2.1, false, false}, {true, 2, true, false}, {true, 1, true, true}, {true, 0.5, true, true},
	} {
		g := Goal{Floor: 2, Goal: 3, Most: c.most}
		if c.most {
			g.Goal = 1
		}
		if j := g.judge(&Spread{Median: c.value}); j.FloorMet != c.floor || j.Met != c.met {
			t.Errorf("%+v: %+v", c, j)
		}
	}
	if j := (Goal{}).judge(nil); j.FloorMet || j.Met || j.Median != nil {
		t.Errorf("what was not measured has reached something: %+v", j)
	}
}

func TestASpreadIsTheMedianAndTheEnds(t *testing.T) {
	for _, c := range []struct {
		in   []float64
		want Spread
	}{
		{[]float64{3}, Spread{3, 3, 3}},
		{[]float64{9, 1, 5}, Spread{5, 1, 9}},
		{[]float64{4, 1, 2, 100}, Spread{3, 1, 100}},
		{[]float64{123456, 0.123456}, Spread{61730, 0.1235, 123500}},
	} {
		if got := spread(c.in); got != c.want {
			t.Errorf("%v: %+v, not %+v", c.in, got, c.want)
		}
	}
}

func TestTheIntervalOfAMedianIsByRanks(t *testing.T) {
	var v []float64
	for i := range 24 {
		v = append(v, float64((i*7)%24)) // 0 to 23, in no order
	}
	if low, high := medianWithin(v); low != 6 || high != 17 { // the 7th and the 18th of 24: 97.7%, as a sum of binomials has it
		t.Errorf("%v, %v", low, high)
	}
	for _, few := range [][]float64{{3}, {1, 9}, {1, 5, 9}} {
		if low, high := medianWithin(few); low != slices.Min(few) || high != slices.Max(few) {
			t.Errorf("%v: %v, %v", few, low, high)
		}
	}
}

// A machine that slows down between rounds changes both sides of a ratio: it
// must be taken within each round.
func TestRatiosAreTakenWithinARound(t *testing.T) {
	rounds := []values{{"reserve": 10, "plaintext": 20}, {"reserve": 100, "plaintext": 100}, {"reserve": 4, "plaintext": 40}}
	r := summarise(rounds, measures, nil, nil)
	if got := *r.Ratios["reserve_vs_plaintext"]; got != (Spread{0.5, 0.1, 1}) {
		t.Errorf("%+v", got)
	}
	if got := r.Measurements["reserve"]; got.Median != 10 || len(got.Rounds) != 3 || got.Unit != perSecond {
		t.Errorf("%+v", got)
	}
}

func TestTheReportHasTheAgreedShape(t *testing.T) {
	rounds := []values{{"reserve": 10, "plaintext": 20, "naive": 5}}
	todo, err := Config{Only: []string{"reserve_vs_plaintext", "naive", "nginx_lua", "reserve_release"}}.chosen()
	if err != nil {
		t.Fatal(err)
	}
	r := summarise(rounds, todo, map[string]string{"naive": "failed in round 1: it lied", "nginx_lua": "nginx is not installed"}, map[string]string{"naive": "failed"})
	raw, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Ratios       map[string]map[string]float64
		Missing      map[string]string
		Failed       []string
		Goals        map[string]map[string]any
		Measurements map[string]map[string]any
		Machine      map[string]any
		Versions     map[string]any
		Settings     map[string]any
	}
	if err := json.Unmarshal(raw, &got); err != nil {
		t.Fatal(err)
	}
	if len(got.Ratios) != len(goals) || len(got.Goals) != len(goals) {
		t.Errorf("%d ratios and %d goals, not %d: %s", len(got.Ratios), len(got.Goals), len(goals), raw)
	}
	if v := got.Ratios["reserve_vs_plaintext"]; len(v) != 3 || v["median"] != 0.5 || v["min"] != 0.5 || v["max"] != 0.5 {
		t.Errorf("%v", v)
	}
	for key, why := range map[string]string{
		"reserve_vs_naive":     "naive: failed in round 1: it lied",
		"reserve_vs_nginx_lua": "nginx_lua: nginx is not installed",
		"bytes_per_hold":       "bytes was not asked for",
	} {
		if v, there := got.Ratios[key]; !there || v != nil || got.Missing[key] != why {
			t.Errorf("%s: %v, %q", key, v, got.Missing[key])
		}
	}
	if g := got.Goals["reserve_vs_plaintext"]; g["floor"] != 0.55 || g["goal"] != 0.85 || g["met"] != false || g["floor_met"] != false {
		t.Errorf("%v", g)
	}
	if r.OK() || len(got.Failed) != 1 || got.Failed[0] != "naive" {
		t.Errorf("a failed measurement is not told: %v", got.Failed)
	}
	if _, there := got.Measurements["naive"]; there {
		t.Error("a measurement that failed has a figure")
	}
	if f := r.Floors(); len(f) != 1 || f[0] != "reserve_vs_plaintext" {
		t.Errorf("%v", f)
	}
}

func TestOnlyBringsWhatARatioIsMadeOf(t *testing.T) {
	for only, want := range map[string][]string{
		"goodput_5x":           {"reserve", "goodput"},
		"shards16_cost":        {"gate", "gate_16_shards"},
		"soldout":              {"soldout"},
		"reserve_vs_plaintext": {"plaintext", "reserve"},
	} {
		got, err := Config{Only: []string{only}}.chosen()
		var names []string
		for _, m := range got {
			names = append(names, m.name)
		}
		if err != nil || !slices.Equal(names, want) {
			t.Errorf("%s: %v, %v", only, names, err)
		}
	}
	if _, err := (Config{Only: []string{"speed"}}).chosen(); err == nil {
		t.Error("a name that nothing has was taken")
	}
}

func TestTheTablesGoBetweenTheMarks(t *testing.T) {
	r := summarise([]values{{"reserve": 10, "plaintext": 20}}, measures, nil, nil)
	doc := "before\n" + markBegin + "\nold\n" + markEnd + "\nafter\n"
	once, err := r.Fill(doc)
	if err != nil {
		t.Fatal(err)
	}
	twice, err := r.Fill(once)
	if err != nil || once != twice {
		t.Errorf("filling twice is not filling once: %v\n%s", err, twice)
	}
	if _, err := r.Fill("no marks"); err == nil {
		t.Error("a document without marks was filled")
	}
}

// Noise must not move the peak from load to load: of loads that are equal but for it, 5x is as good as any.
func TestThePeakIsOneLoadForAllRounds(t *testing.T) {
	rounds := []values{
		{"goodput_at_0.5x": 50, "goodput_at_1x": 110, "goodput_at_5x": 95, "goodput_closed": 90},
		{"goodput_at_0.5x": 50, "goodput_at_1x": 100, "goodput_at_5x": 120, "goodput_closed": 130},
		{"goodput_at_0.5x": 50, "goodput_at_1x": 100, "goodput_at_5x": 95, "goodput_closed": 95},
	}
	r := summarise(rounds, measures, nil, nil)
	for i, want := range []float64{110, 100, 100} {
		if rounds[i]["crowd_peak"] != want || rounds[i]["goodput_peak"] != want {
			t.Errorf("round %d: %v", i, rounds[i])
		}
	}
	if got := r.Ratios["crowd_5x"]; got == nil || got.Median != 0.95 {
		t.Errorf("%+v", got)
	}
}
