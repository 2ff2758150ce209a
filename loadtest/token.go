package loadtest

import (
	"context"
	"fmt"
	"time"

	"github.com/flashsale-engine/flashsale/api/buyertoken"
)

// mint signs a token for each buyer before T0, so that signing is never part
// of what is measured.
func mint(ctx context.Context, c Config) ([]string, error) {
	ttl := c.Duration + c.PollFor + time.Hour
	tokens := make([]string, c.Buyers)
	for i := range tokens {
		if i%1024 == 0 && ctx.Err() != nil {
			return nil, ctx.Err()
		}
		s, err := buyertoken.Mint(c.BuyerKey, c.buyer(i), c.Audience, ttl)
		if err != nil {
			return nil, fmt.Errorf("loadtest: signing a buyer's token: %w", err)
		}
		tokens[i] = s
	}
	return tokens, nil
}

// buyer is the id of the i-th buyer.
func (c Config) buyer(i int) string { return fmt.Sprintf("load-%s-%d", c.Run, i) }

// key is the Idempotency-Key of one act of the n-th arrival. It is the same in
// every retry of that act, and in no other run.
func (c Config) key(n int, act Step) string { return fmt.Sprintf("load-%s-%d-%s", c.Run, n, act) }
