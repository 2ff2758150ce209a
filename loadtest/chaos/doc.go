// Package chaos lets things go wrong, many at a time, while a crowd buys, and
// then looks whether anybody was hurt.
//
// One run is a world of real parts: Redis with a replica, Postgres, Apache Kafka
// and the sandbox provider, each in a process of its own and each behind a
// proxy; three nodes of the engine; and buyers who come when they come, and who
// repeat what had no final answer under the same Idempotency-Key, to whichever
// node answers. A seed draws a plan of faults, which overlap. When the plan is
// through, everything is healed, the buyers get their answers, and then the
// books are compared, by `verify` and by hand: no unit sold twice, no
// acknowledged order missing, no money without an order, and none taken twice.
//
// The plan is what a seed repeats. What happens under it depends on timing, as
// it does in life, so a failure is replayed by running its seed a few times.
//
// Read plan.go for how a plan is drawn, table.go for the faults, world.go for
// the parts, books.go for what is demanded, and matrix.go for each fault alone.
package chaos
