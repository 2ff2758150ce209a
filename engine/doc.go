// Package engine is the flash sale itself: its words, its states, its errors
// and its one story, the checkout. It imports the standard library only; every
// database, stream, provider and listener is reached through a small port that
// the engine declares and an adapter folder implements.
//
// Three views of the same stock appear throughout:
//
//   - the gate (Redis) decides fast and holds a fenced lease of the stock,
//   - the stream (Kafka) is the durable hand-over of accepted reservations,
//   - the record (Postgres) is the truth, and has the last word.
package engine
