package bench

import (
	"context"
	"errors"
	"fmt"

	"github.com/flashsale-engine/flashsale/loadtest/bench/load"
	"github.com/flashsale-engine/flashsale/loadtest/bench/peers"
)

// naive measures a way that keeps reservations by script A.
func naive(kind peers.Kind, name string) func(context.Context, *world, values) (values, error) {
	return func(ctx context.Context, w *world, _ values) (values, error) {
		s, err := w.get(ctx, string(kind))
		if err != nil {
			return nil, err
		}
		if !s.warm {
			sales, err := w.lay(ctx, s, plenty)
			if err != nil {
				return nil, err
			}
			if err := w.warm(ctx, s, w.spec(s, load.Reserve, sales)); err != nil {
				return nil, err
			}
		}
		sales, err := w.lay(ctx, s, plenty)
		if err != nil {
			return nil, err
		}
		before, err := redisCPU(ctx, s.redis)
		if err != nil {
			return nil, err
		}
		r, cpu, err := w.watched(ctx, s, w.spec(s, load.Reserve, sales))
		if err != nil {
			return nil, err
		}
		after, err := redisCPU(ctx, s.redis)
		if err != nil {
			return nil, err
		}
		var prefixes []string
		for _, sale := range sales {
			prefixes = append(prefixes, peers.Prefix(sale))
		}
		out := values{name: r.Rate}
		if kind == peers.Naive {
			out["naive_redis_us"], out["naive_cpu_us"] = (after-before)/float64(r.Steps[0]), cpu
		}
		return out, taken(ctx, s, prefixes, int64(r.Steps[0]))
	}
}

// taken compares the units that script A has left with what was answered.
func taken(ctx context.Context, s *server, prefixes []string, accepted int64) error {
	var gone int64
	for _, p := range prefixes {
		for _, sku := range skus() {
			left, err := s.redis.Get(ctx, p+"stock:"+sku).Int64()
			if err != nil {
				return err
			}
			gone += plenty - left
		}
	}
	if gone != accepted {
		return fmt.Errorf("%d reservations were accepted, %d units are gone", accepted, gone)
	}
	return nil
}

// postgres measures a way that keeps the count in a row: one sale, one SKU.
func postgres(kind peers.Kind, name string) func(context.Context, *world, values) (values, error) {
	return func(ctx context.Context, w *world, _ values) (values, error) {
		s, err := w.get(ctx, string(kind))
		if err != nil {
			return nil, err
		}
		run := func(do func(load.Spec) error) error {
			sale := w.name()
			err := pgExec(ctx, s.pg, "TRUNCATE peer_holds, peer_stock")
			if err == nil {
				err = pgExec(ctx, s.pg, "INSERT INTO peer_stock VALUES ($1, $2, $3)", sale, sku(0), plenty)
			}
			if err != nil {
				return err
			}
			spec := w.spec(s, load.Reserve, []string{sale})
			spec.SKUs = []string{sku(0)}
			return do(spec)
		}
		if err := run(func(spec load.Spec) error { return w.warm(ctx, s, spec) }); err != nil {
			return nil, err
		}
		var r load.Result
		err = run(func(spec load.Spec) (err error) {
			r, err = w.run(ctx, spec)
			return err
		})
		if err != nil {
			return nil, err
		}
		for _, sql := range []string{"SELECT count(*) FROM peer_holds", fmt.Sprintf("SELECT %d - available FROM peer_stock", plenty)} {
			if n, err := pgCount(ctx, s.pg, sql); err != nil || n != int64(r.Steps[0]) {
				return nil, errors.Join(fmt.Errorf("%d reservations were accepted, Postgres has %d (%s)", r.Steps[0], n, sql), err)
			}
		}
		return values{name: r.Rate}, nil
	}
}
