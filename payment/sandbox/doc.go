// Package sandbox is a payment provider to develop, demonstrate and load-test
// with. It is a real HTTP server that remembers: it authorises, declines, asks
// for 3-D Secure, captures, voids and refunds, sends signed webhooks, keeps
// books that can be compared with the record, and misbehaves on request the way
// providers do. No money moves.
//
// It has two faces on the same payments. The plain one follows the
// PaymentIntents of Stripe closely enough to feel known, in JSON:
//
//	POST /v1/payment_intents                  authorise; Idempotency-Key required
//	GET  /v1/payment_intents                  the payments, oldest first; ?limit= &starting_after=
//	GET  /v1/payment_intents/search?attempt=  what became of an attempt
//	GET  /v1/payment_intents/{id}
//	POST /v1/payment_intents/{id}/capture     repeatable
//	POST /v1/payment_intents/{id}/cancel      repeatable
//	POST /v1/payment_intents/{id}/refund      repeatable, always the whole amount
//	POST /v1/attempts/{attempt}/cancel        cancel whatever the attempt made, or will make
//
// The other is Stripe's own, in forms, for Stripe's clients: the same address
// with an sk_test_… key. Around both:
//
//	GET, POST /control                        rates, latency, outage
//	GET, POST, DELETE /control/next           faults for the next requests
//	POST /control/intents/{id}/resolve        end what is processing or needs action
//	GET, POST, DELETE /control/webhooks       endpoints, and what became of each delivery
//	POST /control/webhooks/send               an event now
//	GET  /3ds/{id}                            the page of the buyer's bank
//	GET  /books                               all payments, and what they add up to
//	GET  /healthz
//
// docs/sandbox.md has the fields. Amounts are in minor units. Payment methods
// choose the behaviour; Methods lists them. On the plain face capture, cancel
// and refund are idempotent by what they do, so they take an Idempotency-Key and
// do not need it.
//
// Two rules matter to whoever writes a client:
//
//   - A repeated key with the same parameters gives the first answer, byte for
//     byte, with the header Idempotent-Replayed: true. The payment may have
//     moved on since: read it before trusting the answer.
//   - Cancelling an attempt that was never seen (plain face) leaves a tombstone,
//     a cancelled intent of amount 0, so that an authorisation that arrives late
//     is refused. Stripe has no such thing.
package sandbox
