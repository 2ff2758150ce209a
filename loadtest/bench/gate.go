package bench

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/flashsale-engine/flashsale/engine"
	"github.com/flashsale-engine/flashsale/loadtest/bench/load"
	"github.com/flashsale-engine/flashsale/reservation"
)

// gateSpec asks for holds through the gate itself, without HTTP around it.
type gateSpec struct {
	Redis   string        `json:"redis"`
	Shards  int           `json:"shards"`
	SKUs    int           `json:"skus"`
	Callers int           `json:"callers"` // at once, in waves
	Holds   int           `json:"holds"`   // how many; 0: as many as the window has room for
	Window  time.Duration `json:"window"`
	Refuse  int           `json:"refuse"` // each so many-th is by the buyer before, who has had enough; 0: none
}

type gateResult struct {
	Accepted uint64  `json:"accepted"`
	Refused  uint64  `json:"refused"`
	Seconds  float64 `json:"seconds"`
	Held     int64   `json:"held"`    // as the gate counts them, afterwards
	Refusal  string  `json:"refusal"` // why a sale of so many shards is not possible
}

// ServeGate answers the benchmark's questions to the gate, one JSON line each.
func ServeGate(ctx context.Context, in io.Reader, out io.Writer) error {
	return answer(in, out, func(s gateSpec) (gateResult, error) { return driveGate(ctx, s) })
}

// ServeLoad generates load for the benchmark, one JSON line per measurement.
func ServeLoad(in io.Reader, out io.Writer) error {
	var tokens [][]byte
	return answer(in, out, func(s load.Spec) (load.Result, error) {
		if len(tokens) < s.Buyers && s.Kind != load.Script {
			var err error
			if tokens, err = load.Tokens(s.Key, s.Buyers); err != nil {
				return load.Result{}, err
			}
		}
		return load.Run(s, tokens)
	})
}

// driveGate sends waves of Callers holds, two in turns: the next call is there
// when Redis has done one, as it is on a busy gate, and Redis need not be woken
// for it. The process has one processor, so a wave queues up before the gate's
// goroutine takes it: a call carries about as many holds as a wave has per
// shard. How many it really were, Redis says.
func driveGate(ctx context.Context, spec gateSpec) (out gateResult, err error) {
	sale := &engine.Sale{No: 4_000_000_000, ID: "bench", Name: "bench", Currency: "USD", Epoch: 1, State: engine.SaleOpen, PerBuyerLimit: 1,
		HoldTTL: time.Hour, HoldCap: 2 * time.Hour, Shards: spec.Shards}
	for i := range spec.SKUs {
		sale.Items = append(sale.Items, engine.Item{No: uint16(i), SKU: sku(i), UnitPrice: 1000, Stock: 500_000_000})
	}
	if err := engine.ValidateSale(sale, 5*time.Second); err != nil {
		return gateResult{Refusal: err.Error()}, nil
	}
	gate, err := reservation.Open(reservation.Options{URL: spec.Redis})
	if err != nil {
		return out, err
	}
	defer func() { err = errors.Join(err, gate.Close()) }()
	if err := gate.Create(ctx, sale); err != nil {
		return out, err
	}
	var next, refused atomic.Uint64
	var failed atomic.Pointer[error]
	hold := func(n uint64) {
		who := n
		wantsNo := spec.Refuse > 1 && n%uint64(spec.Refuse) == uint64(spec.Refuse)-1
		if wantsNo {
			who--
		}
		_, err := gate.Hold(ctx, sale, request(who, n, spec.SKUs))
		// The buyer's two holds may change places within a wave: one of them is refused.
		if engine.CodeOf(err) == engine.CodeBuyerLimit && spec.Refuse > 1 {
			refused.Add(1)
		} else if err != nil {
			failed.Store(&err)
		}
	}
	began := time.Now()
	more := func() (from uint64, ok bool) {
		if failed.Load() != nil || ctx.Err() != nil || spec.Holds == 0 && time.Since(began) >= spec.Window {
			return 0, false
		}
		from = next.Load()
		if spec.Holds > 0 && from >= uint64(spec.Holds) {
			return 0, false
		}
		return next.Add(uint64(spec.Callers)) - uint64(spec.Callers), true
	}
	var waves sync.WaitGroup
	for range 2 {
		waves.Go(func() { inWaves(spec.Callers, more, hold) })
	}
	waves.Wait()
	if err := failed.Load(); err != nil {
		return out, *err
	}
	out = gateResult{Accepted: next.Load() - refused.Load(), Refused: refused.Load(), Seconds: time.Since(began).Seconds()}
	counters, err := gate.Counters(ctx, sale)
	if err != nil {
		return out, err
	}
	for _, c := range counters {
		out.Held += c.Held
		if !c.Conserved() {
			return out, fmt.Errorf("bench: the gate's counters do not add up: %+v", c)
		}
	}
	if out.Held != int64(out.Accepted) {
		return out, fmt.Errorf("bench: %d holds were accepted, the gate counts %d", out.Accepted, out.Held)
	}
	return out, ctx.Err()
}

// inWaves has n callers do one thing each, all at once, as long as there is more.
func inWaves(n int, more func() (uint64, bool), do func(uint64)) {
	var wave sync.WaitGroup
	work := make([]chan uint64, n)
	for i := range work {
		work[i] = make(chan uint64)
		defer close(work[i])
		go func() {
			for x := range work[i] {
				do(x)
				wave.Done()
			}
		}()
	}
	for from, ok := more(); ok; from, ok = more() {
		wave.Add(n)
		for i, w := range work {
			w <- from + uint64(i)
		}
		wave.Wait()
	}
}

// request makes the n-th hold, by a buyer whose key is as spread as a hash is.
func request(who, n uint64, skus int) engine.HoldRequest {
	r := engine.HoldRequest{Lines: []engine.Line{{No: uint16(n % uint64(skus)), Quantity: 1}}}
	binary.BigEndian.PutUint64(r.Buyer[:], (who+1)*0x9e3779b97f4a7c15)
	binary.BigEndian.PutUint64(r.Nonce[:], (n+1)*0xd1342543de82ef95)
	return r
}

func sku(i int) string { return fmt.Sprintf("SKU-%02d", i) }
