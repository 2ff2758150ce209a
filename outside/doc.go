// Package outside is the one way to call anything that is not ours: a payment
// provider, a storefront's webhook, a fraud score. Whatever is outside is slow,
// away or wrong some day, and the engine must neither wait for it nor fall with it.
//
//	retry, with jitter and a budget → bulkhead → time-out → breaker → the call
//
// Another dependency takes a few lines. It is declared once, when the node
// starts, with its stated degraded answer:
//
//	prices, err := outside.New(board, outside.Config{Name: "prices", Timeout: 200 * time.Millisecond, Concurrency: 64})
//	price := outside.NewCall(prices, outside.Spec[string, Price]{
//		Op: "price", Do: client.Price, Again: outside.Always,
//		Degraded: func(sku string, _ error) (Price, error) { return list[sku], nil }, // the list price
//	})
//
// and is called like a function, by anyone, at any time:
//
//	p, err := price.Do(ctx, sku)
//
// The Board has it on /metrics, and operators can force its breaker open or closed.
//
// Two things the mechanism never does. It does not cancel a call that the caller
// has lost interest in: what was sent may have had its effect, and the answer
// tells which. And it does not forget that an earlier try may have had an effect
// because a later one certainly had none (Spec.Doubt).
package outside
