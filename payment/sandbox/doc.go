// Package sandbox is a payment provider to develop, demonstrate and load-test
// with. It is a real HTTP server that remembers: it authorises, declines,
// captures, voids and refunds, keeps books that can be compared with the
// record, and misbehaves on request the way providers do. No money moves.
//
// The API follows the PaymentIntents of Stripe closely enough to feel known,
// in JSON instead of forms:
//
//	POST /v1/payment_intents                  authorise; Idempotency-Key required
//	GET  /v1/payment_intents                  the books, oldest first; ?limit= &starting_after=
//	GET  /v1/payment_intents/search?attempt=  what became of an attempt
//	GET  /v1/payment_intents/{id}
//	POST /v1/payment_intents/{id}/capture     repeatable
//	POST /v1/payment_intents/{id}/cancel      repeatable
//	POST /v1/payment_intents/{id}/refund      repeatable, always the whole amount
//	POST /v1/attempts/{attempt}/cancel        cancel whatever the attempt made, or will make
//	GET  /control, POST /control              outage, latency, rates of errors and declines
//	GET  /healthz
//
// Amounts are in minor units. Payment methods choose the behaviour; Methods
// lists them. Capture, cancel and refund are idempotent by what they do, so
// they take an Idempotency-Key and do not need it.
//
// Two rules matter to whoever writes a client:
//
//   - A repeated key with the same parameters gives the first answer, byte for
//     byte, with the header Idempotent-Replayed: true. The payment may have
//     moved on since: read it before trusting the answer.
//   - Cancelling an attempt that was never seen leaves a tombstone, a cancelled
//     intent of amount 0, so that an authorisation that arrives late is refused.
package sandbox
