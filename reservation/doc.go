// Package reservation is the gate on Redis: it decides, atomically and by
// Redis' own clock, who gets a unit. It implements engine.Gate, GateReader,
// GateControl, GateShards, GateRepair, Outbox, Hasher, Notifier and Outcomes; Redis and its driver are
// known nowhere else.
//
// One Lua script (lua/, assembled from one file per part) decides a whole batch
// of operations; lane.go coalesces concurrent requests into such batches. A
// buyer is one field of one hash, which holds the per-buyer count, idempotency
// and the holds themselves; lua/record.lua and record.go spell its bytes. That
// record is the truth. The logs q1..q4 are hints about which records to look at
// when, and a hold's deadline is judged wherever its record is opened.
//
// Non-obvious:
//
//   - A sale with several shards keeps a slice of every SKU in each. A transfer
//     between them leaves one before it enters the other, so units may be missing
//     for a moment and are never there twice; lua/transfer.lua has the protocol,
//     fetch.go the way from a refusal at home to a look at every shard.
//   - A script that timed out may have run. Everything is idempotent by nonce
//     and fence, so the caller repeats it; nothing here retries by itself.
//   - A call is decided by the server of its lease or by nobody, because scripts
//     are named after it; see fence.go. Whatever reads a reply NOSCRIPT as "load it
//     again" breaks that.
//   - Missing keys mean frozen, never full: see engine.CodeGateFrozen.
//   - Seq counts decisions that changed something, expiries included. A hold's
//     Seq is that of its last one.
//   - The outbox entry of a repeated claim has no EntryID, because the gate does
//     not keep it; removing such an entry is a no-op, and the relay finds the
//     original, publishes it once more and removes it. The record knows
//     duplicates.
package reservation
