// Package orders carries accepted reservations from the gate to the record: the
// event and its wire form (EVENT.md), the producer that publishes it, the relay
// that rescues what a dead node left in the outbox, and the writer that turns the
// stream into orders. Postgres itself is in orders/record.
//
// What may happen twice, and why that is harmless:
//
//   - An event may be published twice (by the node that claimed and by the relay):
//     one reservation has one order id, which is the record's primary key.
//   - A batch may be read twice (after a crash or a rebalance): the stream's
//     position moves in the transaction that writes the orders.
//   - An outcome may be announced never: whoever waits polls.
package orders

// DefaultTopic is where accepted reservations go.
const DefaultTopic = "flashsale.reservations.accepted.v1"
