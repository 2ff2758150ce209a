// Package capacity says what a sale takes. Fit turns a measured ladder of loads
// (bench.Climb) into a Model: the Universal Scalability Law for a node, and what each
// part pays per decision and per order. Plan goes from buyers, stock, window and p99 to
// nodes, shards and the rest, and says how far beyond the measured it reaches. Simulate
// plays a sale event by event with the model's service times.
package capacity
