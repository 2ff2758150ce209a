package capacity

import (
	"bytes"
	_ "embed" // the model that is shipped
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"

	"github.com/flashsale-engine/flashsale/loadtest/bench"
)

// Estimate is a figure with the interval that 95% of its repetitions lie in, had the
// turns been drawn anew.
type Estimate struct {
	Value float64 `json:"value"`
	Low   float64 `json:"low"`
	High  float64 `json:"high"`
}

// Version is that of the figures of a model: one of another means other things by them.
const Version = 1

// Model is what was measured, in seconds of a processor unless it says otherwise.
type Model struct {
	Version  int               `json:"version"`
	Measured string            `json:"measured"` // when
	Machine  bench.Machine     `json:"machine"`
	Versions map[string]string `json:"versions"`
	Settings Settings          `json:"settings"`

	Lambda Estimate `json:"lambda"` // the law's, of one node with one processor
	Sigma  Estimate `json:"sigma"`
	Kappa  Estimate `json:"kappa"`

	Node       Curve    `json:"node"`        // a reservation, on one processor
	Refuse     Estimate `json:"refuse"`      // of a node, per sold_out from memory
	GatherBase Estimate `json:"gather_base"` // seconds within which holds share a call, see Gather
	GatherMore Estimate `json:"gather_more"` // seconds more for each request that waits in the node
	RedisOp    Estimate `json:"redis_op"`    // per hold
	RedisCall  Estimate `json:"redis_call"`  // per call
	RedisSync  Estimate `json:"redis_sync"`  // seconds a call takes longer with AOF always, waiting included
	Purchase   Parts    `json:"purchase"`    // reservation and checkout together, by part
	PGHeld     Estimate `json:"pg_held"`     // seconds of a connection to Postgres, per order
	WriteCall  Estimate `json:"write_call"`  // seconds of a transaction of the order writer
	WriteOrder Estimate `json:"write_order"` // seconds more for each order in it
	Rest       Estimate `json:"rest"`        // seconds that a reservation takes at a light load beyond its processor time
	RestTail   Estimate `json:"rest_p99"`    // its p99 there, all of it
	RestOrder  Estimate `json:"rest_order"`  // seconds that a checkout takes at a light load beyond processors, provider and writer
	HoldBytes  Estimate `json:"hold_bytes"`  // of Redis, per live hold
	SKUBytes   Estimate `json:"sku_bytes"`   // of Redis, per SKU
	SKURows    Estimate `json:"sku_rows"`    // bytes of Postgres, per SKU
	OrderRows  Estimate `json:"order_rows"`  // bytes of Postgres, per order; its log and what vacuum reclaims left out

	Tested   []Prediction `json:"tested"` // held-out loads: what the fit on smaller ones said, and what was measured
	Binds    []Share      `json:"binds"`  // at the largest held-out loads, the greatest first
	Measures Range        `json:"measured_up_to"`
}

// Parts are the costs of a purchase in everything that has one.
type Parts struct {
	API      Curve `json:"api"`
	Aside    Curve `json:"aside"` // relay, writer, reaper, payments
	Redis    Curve `json:"redis"`
	Kafka    Curve `json:"kafka"`
	Postgres Curve `json:"postgres"`
}

// Settings are how it was measured.
type Settings struct {
	Turns    int     `json:"turns"`
	Window   float64 `json:"window_seconds"`
	Provider float64 `json:"provider_seconds"`
	Took     float64 `json:"took_seconds"`
	Speed    float64 `json:"speed_us"`      // per plaintext request, median: what all times are scaled to
	Swing    float64 `json:"swing"`         // the slowest rung's speed by the fastest's
	Resample int     `json:"resamples"`     // of the bootstrap
	Spread   float64 `json:"spread"`        // of the node's time per operation over the turns, by its median: mean of the rungs
	SpreadBy float64 `json:"spread_scaled"` // the same after scaling each by the reference beside it
	Scaled   bool    `json:"scaled"`        // so it was scaled, because that made the spread smaller
}

// Prediction is a figure that was not fitted.
type Prediction struct {
	What      string  `json:"what"`
	Load      float64 `json:"load"`
	Fitted    float64 `json:"fitted_up_to"`
	Predicted float64 `json:"predicted"`
	Measured  float64 `json:"measured"`
	Error     float64 `json:"error"` // |predicted-measured| / measured
	Low       float64 `json:"error_low"`
	High      float64 `json:"error_high"`
}

// Share is how much of its processor a part used.
type Share struct {
	Part  string  `json:"part"`
	Load  string  `json:"load"`
	Share float64 `json:"share"`
	On    string  `json:"on"` // where, and with whom
}

// Range is the most that was measured: beyond it a plan extrapolates.
type Range struct {
	NodeRate  float64 `json:"node_rate"`  // reservations per second of a node
	AtOnce    float64 `json:"at_once"`    // connections of a node
	ShardRate float64 `json:"shard_rate"` // holds per second of a Redis
	PerCall   float64 `json:"per_call"`   // holds of a call
	OrderRate float64 `json:"order_rate"` // orders per second
	Holds     float64 `json:"holds"`
	SKUs      float64 `json:"skus"`
	Refusals  float64 `json:"refusals"` // per second of a node
}

// Law is the model's scalability law.
func (m Model) Law() USL { return USL{m.Lambda.Value, m.Sigma.Value, m.Kappa.Value} }

// mostPerCall is the engine's own bound.
const mostPerCall = 256

// NodeMost is what a node's processor serves at most: the law, at the largest load that was measured.
func (m Model) NodeMost() float64 { return m.Law().At(m.Measures.AtOnce) }

// share is how much of a node's processor reservations use; never quite all of it.
func (m Model) share(rate float64) float64 { return min(0.98, rate*m.Node.at(rate)) }

// Gather is how many holds a call carries when one node with one processor has so many per second:
// one, and whoever comes while a call is on its way, which takes the longer the
// more wait in the node.
func (m Model) Gather(rate float64) float64 { return m.gather(rate, m.share(rate)) }

// gather is that of one lane of a node whose processors are busy for a share of the time.
func (m Model) gather(lane, share float64) float64 {
	return min(mostPerCall, 1+lane*(m.GatherBase.Value+m.GatherMore.Value*share/(1-share)))
}

// RedisHold is what a hold costs Redis in a call of n.
func (m Model) RedisHold(n float64) float64 { return m.RedisOp.Value + m.RedisCall.Value/n }

// checkout is what a checkout costs a part beyond its reservation.
func (m Model) checkoutAPI(rate float64) float64 {
	x := min(rate, m.Purchase.API.Most)
	return max(0, m.Purchase.API.At(rate)-m.Node.at(x))
}

func (m Model) checkoutRedis(rate float64) float64 {
	return max(0, m.Purchase.Redis.At(rate)-m.RedisHold(m.Gather(min(rate, m.Purchase.Redis.Most))))
}

//go:embed default.json
var shipped []byte

// Default is the model that is shipped; it says where and when it was measured.
func Default() (Model, error) { return Read(bytes.NewReader(shipped)) }

// ReadFile reads a model.
func ReadFile(name string) (Model, error) {
	f, err := os.Open(name)
	if err != nil {
		return Model{}, err
	}
	defer func() { _ = f.Close() }()
	return Read(f)
}

// Read reads a model and refuses one that no plan can be made of.
func Read(r io.Reader) (m Model, err error) {
	text, err := io.ReadAll(r)
	if err != nil {
		return m, err
	}
	var of struct {
		Version *int `json:"version"`
	}
	switch err := json.Unmarshal(text, &of); {
	case err != nil:
		return m, fmt.Errorf("capacity: not a model: %w", err)
	case of.Version == nil:
		return m, errors.New("capacity: not a model, or one of before they had a version: `flashsale capacity fit --model FILE` writes one")
	case *of.Version != Version:
		return m, fmt.Errorf("capacity: a model of version %d; this program knows version %d: measure again with `flashsale capacity fit --model FILE`", *of.Version, Version)
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&m); err != nil {
		return m, fmt.Errorf("capacity: not a model: %w", err)
	}
	return m, m.check()
}

// Here says whether the model is of a machine with so many processors.
func (m Model) Here(processors int) error {
	if m.Machine.Processors == processors {
		return nil
	}
	return fmt.Errorf("capacity: the model was measured on a machine of %d processors (%s, %s), and this one has %d: measure here, with `flashsale capacity fit --model FILE`",
		m.Machine.Processors, m.Machine.CPU, m.Measured, processors)
}

func (m Model) check() error {
	if m.Measured == "" {
		return errors.New("capacity: the model does not say when it was measured")
	}
	for name, e := range m.estimates() {
		if !(e.Value >= 0) || math.IsInf(e.Value, 0) || e.Low > e.High {
			return fmt.Errorf("capacity: the model's %s is %v", name, *e)
		}
	}
	for name, v := range map[string]float64{"throughput": m.Lambda.Value, "refusals": m.Refuse.Value, "cost in Redis": m.RedisHold(1), "order writer": m.WriteCall.Value + m.WriteOrder.Value,
		"memory": m.HoldBytes.Value, "range": min(m.Measures.AtOnce, m.Measures.PerCall, m.Measures.OrderRate)} {
		if v <= 0 {
			return fmt.Errorf("capacity: the model has no %s", name)
		}
	}
	for name, c := range m.curves() {
		if c.Most <= 0 || c.At(c.Most) <= 0 {
			return fmt.Errorf("capacity: the model says that %s costs nothing", name)
		}
	}
	return nil
}

// estimates are the figures that are fitted.
func (m *Model) estimates() map[string]*Estimate {
	out := map[string]*Estimate{
		"lambda": &m.Lambda, "sigma": &m.Sigma, "kappa": &m.Kappa, "refuse": &m.Refuse,
		"gather_base": &m.GatherBase, "gather_more": &m.GatherMore, "redis_op": &m.RedisOp, "redis_call": &m.RedisCall, "redis_sync": &m.RedisSync,
		"pg_held": &m.PGHeld, "write_call": &m.WriteCall, "write_order": &m.WriteOrder, "rest": &m.Rest, "rest_p99": &m.RestTail, "rest_order": &m.RestOrder,
		"hold_bytes": &m.HoldBytes, "sku_bytes": &m.SKUBytes, "sku_rows": &m.SKURows, "order_rows": &m.OrderRows,
	}
	for name, c := range m.curves() {
		out[name+" base"], out[name+" shared"], out[name+" gather"] = &c.Base, &c.Shared, &c.Gather
	}
	return out
}

// reserving is the node's cost of a reservation among the curves.
const reserving = "reservation"

// curves are the costs by part; of a purchase, but for reserving.
func (m *Model) curves() map[string]*Curve {
	p := &m.Purchase
	return map[string]*Curve{reserving: &m.Node, bench.PartAPI: &p.API, bench.PartAside: &p.Aside, bench.PartRedis: &p.Redis, bench.PartKafka: &p.Kafka, bench.PartPostgres: &p.Postgres}
}
