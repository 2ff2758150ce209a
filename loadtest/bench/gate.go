package bench

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
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

// driveGate sends waves of Callers holds. The process has one processor, so a
// wave queues up before the gate's goroutine takes it: a call carries about as
// many holds as a wave has per shard. How many it really were, Redis says.
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
	var next, refused uint64
	var wave sync.WaitGroup
	var failed error
	var mu sync.Mutex
	work := make([]chan uint64, spec.Callers)
	for i := range work {
		work[i] = make(chan uint64)
		go func() {
			for n := range work[i] {
				who := n
				wantsNo := spec.Refuse > 1 && n%uint64(spec.Refuse) == uint64(spec.Refuse)-1
				if wantsNo {
					who--
				}
				_, err := gate.Hold(ctx, sale, request(who, n, spec.SKUs))
				// The buyer's two holds may change places within a wave: one of them is refused.
				if engine.CodeOf(err) == engine.CodeBuyerLimit && spec.Refuse > 1 {
					mu.Lock()
					refused++
					mu.Unlock()
				} else if err != nil {
					mu.Lock()
					failed = err
					mu.Unlock()
				}
				wave.Done()
			}
		}()
	}
	defer func() {
		for _, w := range work {
			close(w)
		}
	}()
	began := time.Now()
	for failed == nil && ctx.Err() == nil {
		if spec.Holds > 0 && next >= uint64(spec.Holds) || spec.Holds == 0 && time.Since(began) >= spec.Window {
			break
		}
		wave.Add(len(work))
		for _, w := range work {
			w <- next
			next++
		}
		wave.Wait()
	}
	if failed != nil {
		return out, failed
	}
	out = gateResult{Accepted: next - refused, Refused: refused, Seconds: time.Since(began).Seconds()}
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

// request makes the n-th hold, by a buyer whose key is as spread as a hash is.
func request(who, n uint64, skus int) engine.HoldRequest {
	r := engine.HoldRequest{Lines: []engine.Line{{No: uint16(n % uint64(skus)), Quantity: 1}}}
	binary.BigEndian.PutUint64(r.Buyer[:], (who+1)*0x9e3779b97f4a7c15)
	binary.BigEndian.PutUint64(r.Nonce[:], (n+1)*0xd1342543de82ef95)
	return r
}

func sku(i int) string { return fmt.Sprintf("SKU-%02d", i) }
