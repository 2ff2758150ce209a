package loadtest

import (
	"context"
	"fmt"
	"time"

	"github.com/flashsale-engine/flashsale/api/buyertoken"
)

// mint signs a token for each buyer who comes before T0, so that signing is never part
// of what is measured.
func (r *run) mint(ctx context.Context, arrivals int) error {
	r.tokens = make([]string, r.cfg.Buyers)
	for n := range arrivals {
		if n%1024 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		b := n % r.cfg.Buyers
		if !r.mine(n) || r.tokens[b] != "" {
			continue
		}
		var err error
		if r.tokens[b], err = r.sign(b); err != nil {
			return err
		}
	}
	return nil
}

func (r *run) sign(buyer int) (string, error) {
	c := r.cfg
	s, err := buyertoken.Mint(c.BuyerKey, c.buyer(buyer), c.Audience, c.Duration+c.PollFor+time.Hour)
	if err != nil {
		return "", fmt.Errorf("loadtest: signing a buyer's token: %w", err)
	}
	return s, nil
}

// token is a buyer's. One whose visits another process made is signed when it is asked for.
func (r *run) token(buyer int) string {
	if buyer < len(r.tokens) && r.tokens[buyer] != "" {
		return r.tokens[buyer]
	}
	s, _ := r.sign(buyer) // with a key that has signed before
	return s
}

// buyer is the id of the i-th buyer.
func (c Config) buyer(i int) string { return fmt.Sprintf("load-%s-%d", c.Run, i) }

// key is the Idempotency-Key of one act of the n-th arrival. It is the same in
// every retry of that act, and in no other run.
func (c Config) key(n int, act Step) string { return fmt.Sprintf("load-%s-%d-%s", c.Run, n, act) }
