// Package admission is the waiting room: who may try to buy, and when.
//
// Non-obvious:
//
//   - A waiter is one small field of one Redis hash. Where they stand is computed
//     from the ticket's number and the published seed (shuffle.go), never stored, so
//     that anybody can check it and a poll needs nothing but the public document.
//   - A place is reached when the front passes it. Whether a claim is in time is
//     judged by Redis' clock against an append-only log of the front.
//   - Every operation may be repeated: who got no answer asks again.
//   - Missing keys mean that the room is lost, never that it is empty.
package admission
