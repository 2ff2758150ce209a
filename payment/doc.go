// Package payment talks to payment providers and survives them.
//
//	engine ──▶ Router ──▶ Guard: retry → bulkhead → time-out → breaker ──▶ Provider: Sandbox, Stripe
//	Worker ──▶ Router, to capture what is committed and void what is refused
//
// The Guard's wrapping is package outside's; docs/adr/011 says what each provider
// can prove.
//
// Everything here turns on one distinction. A request that certainly never
// reached the provider (CodePaymentUnavailable) may be forgotten, and the buyer
// may try again. One that may have reached it (engine.ErrUnknown) is never read
// as a failure: it is repeated under the same idempotency key or looked up.
package payment
