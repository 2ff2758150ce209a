package capacity

import (
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/flashsale-engine/flashsale/loadtest/bench"
	"github.com/flashsale-engine/flashsale/loadtest/bench/load"
)

// truth is a machine whose figures are known.
var truth = struct {
	law                                            USL
	node, api, aside, kafka, postgres              Curve
	op, call, sync, refuse, paid, write, writeMore float64
}{
	USL{3000, 0.11, 0.0002}, curve(8e-6, 400e-6, 700e-6), curve(200e-6, 2000e-6, 5e-3), curve(100e-6, 3000e-6, 9e-3), curve(150e-6, 4000e-6, 8e-3), curve(500e-6, 9000e-6, 9e-3),
	8e-6, 105e-6, 600e-6, 29e-6, 500e-6, 8e-3, 3e-3,
}

func curve(base, shared, gather float64) Curve {
	return Curve{Base: value(base), Shared: value(shared), Gather: value(gather), Most: 1e9}
}

// climb makes rungs of that machine; every figure is off by a few per cent.
func climb(seed uint64, noise float64) bench.Climbed {
	dice := rand.New(rand.NewPCG(seed, 7))
	near := func(v float64) float64 { return v * (1 + noise*dice.NormFloat64()) }
	l := Ladder(6, time.Second, false)
	c := bench.Climbed{Ladder: l, Took: 1, Sizes: map[string]float64{"redis_per_hold": 97, "redis_per_sku": 75, "postgres_per_sku": 400, "holds": 1e6, "skus": 1e4}}
	add := func(r bench.Rung) {
		r.Seconds, r.Ends = 1, r.Rate
		for part, v := range r.CPU {
			r.CPU[part] = near(v * r.Rate)
		}
		r.Speed = near(20)
		c.Rungs = append(c.Rungs, r)
	}
	holds := func(r bench.Rung, n float64) bench.Rung {
		r.Ops, r.Calls = r.Rate, r.Rate/n
		r.Latency = load.Latency{Mean: 900, P99: 4000}
		r.CPU = map[string]float64{bench.PartAPI: truth.node.at(r.Rate), bench.PartRedis: truth.op + truth.call/n, bench.PartGenerator: 15e-6}
		return r
	}
	for turn := range l.Turns {
		for _, n := range l.Connections {
			add(holds(bench.Rung{Kind: bench.Closed, Turn: turn, Step: float64(n), Rate: near(truth.law.At(float64(n)))}, max(1, float64(n)/2)))
		}
		for _, share := range l.Rates {
			x := share * 20_000
			u := x * truth.node.at(x)
			add(holds(bench.Rung{Kind: bench.Reserving, Turn: turn, Step: x, Rate: x}, 1+x*(50e-6+80e-6*u/(1-u))))
		}
		for _, share := range l.Purchases {
			x := share * 500
			n := 1 + x/50 // orders of a transaction
			add(bench.Rung{Kind: bench.Buying, Turn: turn, Step: x, Rate: x, Writes: x / n, WriteS: near(x / n * (truth.write + n*truth.writeMore)), Held: x * 5e-3, Grown: x * 2000, Authorised: 0.02,
				Second:  load.Latency{Mean: 90_000},
				Latency: load.Latency{Mean: 95_000}, CPU: map[string]float64{bench.PartAPI: truth.api.at(x), bench.PartAside: truth.aside.at(x), bench.PartRedis: truth.paid,
					bench.PartKafka: truth.kafka.at(x), bench.PartPostgres: truth.postgres.at(x)}})
		}
		for _, callers := range l.Callers {
			n := float64(callers)
			for kind, per := range map[bench.RungKind]float64{bench.Gate: truth.call, bench.GateAOF: truth.call + truth.sync} {
				rate := n / (per + n*truth.op)
				r := bench.Rung{Kind: kind, Turn: turn, Step: n, Rate: rate, Ops: rate, Calls: rate / n, CPU: map[string]float64{bench.PartRedis: truth.op + truth.call/n}}
				add(r)
			}
		}
		add(bench.Rung{Kind: bench.Refusing, Turn: turn, Step: 256, Rate: 30_000, CPU: map[string]float64{bench.PartAPI: truth.refuse}})
	}
	return c
}

var fitOnce = sync.OnceValues(func() (Model, error) { return Fit(climb(1, 0.02), 1) })

// fitted is the model of that machine.
func fitted(t testing.TB) Model {
	t.Helper()
	m, err := fitOnce()
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestAFitFindsTheMachineThatMadeTheMeasurements(t *testing.T) {
	m := fitted(t)
	for name, c := range map[string]struct {
		got  Estimate
		want float64
	}{
		"lambda": {m.Lambda, truth.law.Lambda}, "sigma": {m.Sigma, truth.law.Sigma}, "kappa": {m.Kappa, truth.law.Kappa}, "redis per hold": {m.RedisOp, truth.op}, "redis per call": {m.RedisCall, truth.call},
		"refuse": {m.Refuse, truth.refuse}, "sync": {m.RedisSync, truth.sync}, "write": {m.WriteCall, truth.write}, "write more": {m.WriteOrder, truth.writeMore},
	} {
		if c.got.Low > c.got.Value || c.got.High < c.got.Value || c.got.Low > c.want*1.02 || c.got.High < c.want*0.98 {
			t.Errorf("%s: %.4g, in [%.4g, %.4g]; it was %.4g", name, c.got.Value, c.got.Low, c.got.High, c.want)
		}
	}
	for _, p := range m.Tested {
		if p.Load <= p.Fitted || p.Error > 0.10 || p.Low > p.Error || p.High < p.Error {
			t.Errorf("%s %.4g, fitted up to %.4g: predicted %.4g, measured %.4g", p.What, p.Load, p.Fitted, p.Predicted, p.Measured)
		}
	}
	if len(m.Tested) != heldConnections+3*heldRates+5*heldPurchases {
		t.Errorf("%d predictions", len(m.Tested))
	}
}

func TestAReferenceIsUsedOnlyWhereItTellsHowFastTheMachineWas(t *testing.T) {
	c := climb(2, 0.01)
	if scale, spread, by := worthScaling(c); scale {
		t.Errorf("a reference that is noise was believed: %v instead of %v", by, spread)
	}
	for i := range c.Rungs { // now a machine that is twice as slow in every other turn, reference included
		if c.Rungs[i].Turn%2 == 1 {
			c.Rungs[i].Speed *= 2
			for part := range c.Rungs[i].CPU {
				c.Rungs[i].CPU[part] *= 2
			}
		}
	}
	if scale, spread, by := worthScaling(c); !scale {
		t.Errorf("a reference that explains everything was not believed: %v instead of %v", by, spread)
	}
}

func TestMeasurementsThatDetermineNothingGiveNoModel(t *testing.T) {
	c := climb(1, 0.02)
	c.Rungs = c.Rungs[:3]
	if _, err := Fit(c, 1); err == nil {
		t.Error("three rungs gave a model")
	}
}

func TestTheKneeLiesWherePowerIsGreatest(t *testing.T) {
	u := USL{Lambda: 1000, Sigma: 0.1}
	if n, _ := u.Knee(); n < 8.8 || n > 9.2 { // (1-σ)/σ
		t.Errorf("the knee is at %.2f, not 9", n)
	}
	if n, x := (USL{Lambda: 1000, Sigma: 0.1, Kappa: 0.001}).Peak(); n != 30 || x <= u.At(20)*0.5 {
		t.Errorf("the peak is at %v, %v", n, x)
	}
}
