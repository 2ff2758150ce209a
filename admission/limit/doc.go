// Package limit counts who comes how often.
//
// Non-obvious:
//
//   - A limit of n in w is a bucket: n at once, and one comes back each w/n. It is
//     kept as one number, the time at which the bucket will be full again ("GCRA").
//   - Every request is counted in this node's memory. Only a key that has used more
//     than the free share of its limit here is looked up at Redis, where all nodes
//     meet. So up to (nodes × free share) may come in addition to the limit.
//   - The memory is one table that never grows. When a place is needed, the key that
//     is nearest to having used nothing gives way, so that strangers who come once
//     each do not make it forget somebody who comes all the time.
//   - What a node has let in alone is reported with its first question to Redis.
//   - Without Redis each node goes by its own count, up to the whole limit.
package limit
