// Package loadtest drives a sale the way a crowd does: buyers arrive when they
// arrive, whether or not the engine keeps up (an open loop). Every latency
// counts from the time at which the buyer was due, so a stall shows in full
// instead of thinning out the load that would have met it. An arrival that the
// driver itself could not carry is counted as dropped, and fails the run.
//
// A run ends with a verdict on correctness as well as on speed: nothing sold
// beyond what was offered, no order or reservation id given twice, every
// confirmed order readable as confirmed, and, if asked, the engine's own verify.
//
// Read run.go for the run and buyer.go for one buyer's way through it.
package loadtest
