package bench

// Goal is a ratio, the figures that it is made of, and what it has to reach.
type Goal struct {
	Key   string
	What  string
	Floor float64
	Goal  float64
	Most  bool // lower is better: Floor and Goal are upper bounds

	needs []string // values of one round; the ratio is the first over the second, or the first alone
}

// goals is the one place that has the numbers.
var goals = []Goal{
	{Key: "reserve_vs_plaintext", What: "accepted reservations over HTTP / fasthttp plaintext, same request bytes, 256 connections", Floor: 0.55, Goal: 0.85, needs: []string{"reserve", "plaintext"}},
	{Key: "reserve_vs_naive", What: "… / the same API with one EVALSHA per request", Floor: 2.2, Goal: 3.5, needs: []string{"reserve", "naive"}},
	{Key: "reserve_vs_nginx_lua", What: "… / nginx + Lua + the same script, without authentication", Floor: 1.8, Goal: 3.0, needs: []string{"reserve", "nginx_lua"}},
	{Key: "reserve_vs_pg_for_update", What: "… / SELECT … FOR UPDATE per request, one hot SKU", Floor: 40, Goal: 60, needs: []string{"reserve", "pg_for_update"}},
	{Key: "soldout_vs_plaintext", What: "rejections by sold-out knowledge / plaintext", Floor: 0.93, Goal: 0.98, needs: []string{"soldout", "plaintext"}},
	{Key: "ndjson64_vs_plaintext", What: "reservations/s at 64 per POST / plaintext requests/s", Floor: 3.0, Goal: 8, needs: []string{"ndjson64", "plaintext"}},
	{Key: "aof_always_vs_naive_no_aof", What: "accepted over HTTP, fsync on every acknowledgement / naive without AOF", Floor: 1.6, Goal: 3.0, needs: []string{"reserve_aof_always", "naive"}},
	{Key: "redis_us_vs_naive", What: "Redis CPU per hold at 64 per call, 8 SKUs / script A pipelined by 16", Floor: 0.15, Goal: 0.09, Most: true, needs: []string{"gate_us", "script_a_p16_us"}},
	{Key: "redis_us_vs_naive_failing", What: "the same with 10% refused", Floor: 0.18, Goal: 0.12, Most: true, needs: []string{"gate_failing_us", "script_a_failing_us"}},
	{Key: "bytes_per_hold", What: "Redis memory per live hold, one million holds of one line", Floor: 110, Goal: 90, Most: true, needs: []string{"bytes_per_hold"}},
	{Key: "p99_vs_plaintext", What: "p99 at 50% of capacity, open loop / plaintext at the same rate", Floor: 1.5, Goal: 1.1, Most: true, needs: []string{"reserve_p99_at_50", "plaintext_p99_at_50"}},
	{Key: "goodput_5x", What: "accepted per second at 5× offered load / at peak", Floor: 0.90, Goal: 0.98, needs: []string{"goodput_at_5x", "goodput_peak"}},
	{Key: "crowd_5x", What: "accepted per second at 5× offered load / at the best load, 1,280 connections at each", Floor: 0.95, Goal: 0.98, needs: []string{"goodput_at_5x", "crowd_peak"}},
	{Key: "crowd_10x", What: "… at 10× / at the best load", Floor: 0.90, Goal: 0.95, needs: []string{"goodput_at_10x", "crowd_peak"}},
	{Key: "admitted_p99_5x", What: "p99 of accepted reservations at 5× offered load / at 1×", Floor: 2, Goal: 1.5, Most: true, needs: []string{"admitted_p99_at_5x", "admitted_p99_at_1x"}},
	{Key: "admitted_p99_10x", What: "… at 10× / at 1×", Floor: 2, Goal: 1.5, Most: true, needs: []string{"admitted_p99_at_10x", "admitted_p99_at_1x"}},
	{Key: "guarded_vs_unguarded", What: "accepted reservations / the same without authentication and limits", Floor: 0.90, Goal: 0.95, needs: []string{"reserve_guarded", "reserve_unguarded"}},
	{Key: "shards16_cost", What: "Redis CPU per hold at 16 shards / at 1", Floor: 1.15, Goal: 1.05, Most: true, needs: []string{"gate_us_16_shards", "gate_us"}},
	{Key: "purchase_vs_reserve", What: "complete purchases/s (reserve, pay, commit) / reservations/s", Floor: 0.05, Goal: 0.20, needs: []string{"purchase", "reserve"}},
	{Key: "writer_vs_tx_per_order", What: "orders/s of the order writer's batches / one transaction per order with the same rows, one connection each", Floor: 100, Goal: 150, needs: []string{"order_batch", "order_single"}},
	{Key: "writer_vs_copy", What: "… / COPY of the same rows in batches of the same size", Floor: 0.70, Goal: 0.85, needs: []string{"order_batch", "order_copy"}},
}

// Judged is a goal beside what was measured.
type Judged struct {
	What     string   `json:"what"`
	Floor    float64  `json:"floor"`
	Goal     float64  `json:"goal"`
	Bound    string   `json:"bound"` // "at least" or "at most"
	Median   *float64 `json:"median"`
	FloorMet bool     `json:"floor_met"`
	Met      bool     `json:"met"`
}

func (g Goal) judge(s *Spread) Judged {
	j := Judged{What: g.What, Floor: g.Floor, Goal: g.Goal, Bound: "at least"}
	reaches := func(bound float64) bool { return s.Median >= bound }
	if g.Most {
		j.Bound = "at most"
		reaches = func(bound float64) bool { return s.Median <= bound }
	}
	if s != nil {
		j.Median, j.FloorMet, j.Met = &s.Median, reaches(g.Floor), reaches(g.Goal)
	}
	return j
}

// of computes the ratio within a round.
func (g Goal) of(values map[string]float64) (float64, bool) {
	top, ok := values[g.needs[0]]
	if !ok || len(g.needs) == 1 {
		return top, ok
	}
	below, ok := values[g.needs[1]]
	return top / below, ok && below > 0
}
