package capacity

import (
	"fmt"
	"math"

	"github.com/flashsale-engine/flashsale/loadtest/bench"
)

func value(v float64) Estimate { return Estimate{v, v, v} }

// Figures of a rung.
func perEnd(part string) func(bench.Rung) float64 {
	return func(r bench.Rung) float64 { return r.CPU[part] / r.Ends }
}
func callsPerOp(r bench.Rung) float64   { return r.Calls / math.Max(1, r.Ops) }
func endRate(r bench.Rung) float64      { return r.Rate }
func meanWait(r bench.Rung) float64     { return r.Latency.Mean / 1e6 }
func tailWait(r bench.Rung) float64     { return r.Latency.P99 / 1e6 }
func secondWait(r bench.Rung) float64   { return r.Second.Mean / 1e6 }
func authorising(r bench.Rung) float64  { return r.Authorised }
func heldPerEnd(r bench.Rung) float64   { return r.Held / r.Ends }
func writeTime(r bench.Rung) float64    { return r.WriteS / math.Max(1, r.Writes) }
func writesPerEnd(r bench.Rung) float64 { return r.Writes / r.Ends }
func grownPerEnd(r bench.Rung) float64  { return r.Grown / r.Ends }

// fitTurns makes a model of some turns, without intervals.
func fitTurns(c bench.Climbed, turns []int, scale bool) (m Model, err error) {
	all := climbed(c, turns, scale)
	f := fitter{model: &m, all: all}
	for _, step := range []func() error{f.law, f.reservations, f.refusals, f.orders} {
		if err := step(); err != nil {
			return m, err
		}
	}
	m.HoldBytes, m.SKUBytes, m.SKURows = value(c.Sizes["redis_per_hold"]), value(c.Sizes["redis_per_sku"]), value(c.Sizes["postgres_per_sku"])
	m.Measures.Holds, m.Measures.SKUs = c.Sizes["holds"], c.Sizes["skus"]
	var speeds []float64
	for _, r := range c.Rungs {
		speeds = append(speeds, r.Speed)
	}
	m.Settings.Speed = median(speeds)
	lo, hi := bounds(speeds)
	m.Settings.Swing = hi / lo
	return m, nil
}

func bounds(v []float64) (lo, hi float64) {
	lo, hi = math.Inf(1), math.Inf(-1)
	for _, x := range v {
		lo, hi = min(lo, x), max(hi, x)
	}
	return lo, hi
}

type fitter struct {
	model *Model
	all   map[bench.RungKind]ladder
}

func (f fitter) tested(what string, load, fitted, predicted, measured float64) {
	f.model.Tested = append(f.model.Tested, Prediction{What: what, Load: load, Fitted: fitted, Predicted: predicted, Measured: measured,
		Error: math.Abs(predicted-measured) / measured})
}

// law fits throughput against concurrency.
func (f fitter) law() error {
	all := f.all[bench.Closed]
	fit, held, err := all.split(heldConnections)
	if err != nil {
		return err
	}
	of := func(l ladder) (USL, error) {
		var n, rate []float64
		for _, r := range l {
			n, rate = append(n, r.step), append(rate, r.rate(endRate))
		}
		return fitUSL(n, rate)
	}
	u, err := of(fit)
	if err != nil {
		return err
	}
	for _, r := range held {
		f.tested("reservations/s with so many at once", r.step, fit.last().step, u.At(r.step), r.rate(endRate))
	}
	if u, err = of(all); err != nil {
		return err
	}
	m := f.model
	m.Lambda, m.Sigma, m.Kappa = value(u.Lambda), value(u.Sigma), value(u.Kappa)
	m.Measures.AtOnce = all.last().step
	for _, r := range all {
		m.Measures.NodeRate = max(m.Measures.NodeRate, r.plain(endRate))
	}
	return nil
}

// reservations fits what a node and its Redis pay, and how many holds share a call.
func (f fitter) reservations() error {
	m := f.model
	open := f.all[bench.Reserving]
	fit, held, err := open.split(heldRates)
	if err != nil {
		return err
	}
	closed, _, err := f.all[bench.Closed].split(heldConnections)
	if err != nil {
		return err
	}
	if err := f.holds(fit, closed); err != nil {
		return err
	}
	for _, r := range held {
		x, upTo := r.step, fit.last().step
		f.tested("holds per call at so many reservations/s", x, upTo, m.Gather(x), 1/r.plain(callsPerOp))
		f.tested("processor time of api at so many reservations/s", x, upTo, x*m.Node.at(x), x*r.of(perEnd(bench.PartAPI)))
		f.tested("processor time of redis at so many reservations/s", x, upTo, x*m.RedisHold(m.Gather(x)), x*r.of(perEnd(bench.PartRedis)))
	}
	if err := f.holds(open, f.all[bench.Closed]); err != nil {
		return err
	}
	m.RedisSync = value(f.sync())
	light := fit[0]
	m.Rest = value(max(0, light.of(meanWait)-light.of(perEnd(bench.PartAPI))-m.RedisHold(1)))
	m.RestTail = value(light.of(tailWait))
	for _, r := range f.all[bench.Gate] {
		m.Measures.ShardRate = max(m.Measures.ShardRate, r.plain(endRate))
		m.Measures.PerCall = max(m.Measures.PerCall, 1/r.plain(callsPerOp))
	}
	f.binds("reservations", open.last(), bench.PartRedis, bench.PartGenerator)
	return nil
}

// holds fits the costs of a hold to rungs of the open loop, and those in Redis to the
// closed loop's, too, whose calls are fuller.
func (f fitter) holds(open, closed ladder) (err error) {
	m := f.model
	var rate, cost, within, redis []float64
	var gather, calls [][]float64
	for _, r := range open {
		rate, cost = append(rate, r.step), append(cost, r.of(perEnd(bench.PartAPI)))
	}
	if m.Node, err = fitCurve(rate, cost); err != nil {
		return fmt.Errorf("the node's cost: %w", err)
	}
	for i, r := range open {
		n, u := 1/r.plain(callsPerOp), m.share(rate[i])
		calls, redis = append(calls, []float64{1, 1 / n}), append(redis, r.of(perEnd(bench.PartRedis)))
		if n > 1.01 {
			gather, within = append(gather, []float64{1, u / (1 - u)}), append(within, (n-1)/rate[i])
		}
	}
	g, err := nonNegative(gather, within)
	if err != nil {
		return fmt.Errorf("holds per call: %w", err)
	}
	for _, r := range closed {
		calls, redis = append(calls, []float64{1, r.plain(callsPerOp)}), append(redis, r.of(perEnd(bench.PartRedis)))
	}
	b, err := nonNegative(calls, redis)
	if err != nil {
		return fmt.Errorf("the cost in Redis: %w", err)
	}
	m.GatherBase, m.GatherMore, m.RedisOp, m.RedisCall = value(g[0]), value(g[1]), value(b[0]), value(b[1])
	return nil
}

// sync is how much longer a call takes where Redis syncs its log before the answer.
func (f fitter) sync() float64 {
	var more []float64
	perCall := func(r bench.Rung) float64 { return r.Seconds / r.Calls }
	plain := map[float64]rung{}
	for _, r := range f.all[bench.Gate] {
		plain[r.step] = r
	}
	for _, r := range f.all[bench.GateAOF] {
		if p, there := plain[r.step]; there {
			more = append(more, max(0, r.of(perCall)-p.of(perCall)))
		}
	}
	return median(more)
}

func (f fitter) refusals() error {
	l := f.all[bench.Refusing]
	if len(l) == 0 {
		return fmt.Errorf("%w: no refusals", errNoFit)
	}
	f.model.Refuse = value(l.last().of(perEnd(bench.PartAPI)))
	f.model.Measures.Refusals = l.last().plain(endRate)
	return nil
}

// orders fits what a purchase costs, its reservation included.
func (f fitter) orders() error {
	m := f.model
	fit, held, err := f.all[bench.Buying].split(heldPurchases)
	if err != nil {
		return err
	}
	for _, part := range []string{bench.PartAPI, bench.PartAside, bench.PartRedis, bench.PartKafka, bench.PartPostgres} {
		of := func(l ladder) (Curve, error) {
			var x, y []float64
			for _, r := range l {
				x, y = append(x, r.step), append(y, r.of(perEnd(part)))
			}
			return fitCurve(x, y)
		}
		c, err := of(fit)
		if err != nil {
			return fmt.Errorf("%s per purchase: %w", part, err)
		}
		for _, r := range held {
			x := r.step
			f.tested("processor time of "+part+" at so many purchases/s", x, c.Most, x*c.at(x), x*r.of(perEnd(part)))
		}
		if *m.curves()[part], err = of(f.all[bench.Buying]); err != nil {
			return fmt.Errorf("%s per purchase: %w", part, err)
		}
	}
	m.PGHeld = value(f.all[bench.Buying].last().of(heldPerEnd))
	var rows [][]float64
	var y []float64
	for _, r := range f.all[bench.Buying] {
		rows, y = append(rows, []float64{1, 1 / r.plain(writesPerEnd)}), append(y, r.of(writeTime))
	}
	w, err := nonNegative(rows, y)
	if err != nil {
		return fmt.Errorf("the order writer's transactions: %w", err)
	}
	m.WriteCall, m.WriteOrder = value(w[0]), value(w[1])
	light, busy := fit[0], 0.0
	for _, part := range []string{bench.PartAPI, bench.PartAside, bench.PartRedis, bench.PartKafka} {
		busy += light.of(perEnd(part))
	}
	m.RestOrder = value(max(0, light.of(secondWait)-busy-light.plain(authorising)-light.of(writeTime)))
	top := f.all[bench.Buying].last()
	m.OrderRows, m.Measures.OrderRate = value(top.plain(grownPerEnd)), top.plain(endRate)
	f.binds("purchases", top, bench.PartRedis, bench.PartKafka, bench.PartPostgres, bench.PartAside, bench.PartSandbox, bench.PartGenerator)
	return nil
}

// binds says how much of a processor each part used at a load: the node has one of its own.
func (f fitter) binds(what string, r rung, others ...string) {
	name := fmt.Sprintf("%.4g %s/s", r.plain(endRate), what)
	on := "a processor of its own"
	for _, p := range append([]string{bench.PartAPI}, others...) {
		used := func(r bench.Rung) float64 { return r.CPU[p] / r.Seconds }
		f.model.Binds = append(f.model.Binds, Share{Part: p, Load: name, Share: r.plain(used), On: on})
		on = "shared with the others"
	}
}
