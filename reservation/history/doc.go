// Package history proves of a gate under load that what its clients saw is what
// one exact sale, deciding one request at a time, would have told them.
//
// A Recorder stands between clients and the gate and notes every operation with
// its call, its return and its answer. Check takes such a history, together with
// what the gate remembers once all is quiet, and looks for one order of all
// operations that explains every answer and respects real time: an operation
// that had returned before another was called comes before it. That is
// linearizability. In general, finding such an order is hopeless at this size;
// here the gate names it, because every decision that changes something carries
// its place, seq. So Check needs no search, and one million operations take
// seconds.
//
// Porcupine repeats the proof with a checker that we did not write and that, for
// the buyers' records, does not believe seq.
//
// Non-obvious:
//
//   - Expiries take places too and no client is told. Each leaves a tombstone
//     that carries its place, and a workload within MAX_TOMBSTONES per buyer
//     loses none; so places without an owner are exactly the tombstones', or the
//     history is wrong. Nothing is waved through.
//   - A call without an answer (Redis died) may have been decided or not. Its
//     place is known only if somebody saw the result: a repeat, a look-up, the
//     final records. A place that nobody can explain is an error.
//   - Operations that changed nothing (refusals, repeats, look-ups) have no place.
//     Each is put at the earliest moment that explains it and is not ruled out by
//     those that returned before its call. Taking the earliest leaves the most
//     room for those that come after, so if this fails, every choice fails.
package history
