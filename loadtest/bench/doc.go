// Package bench measures the hot path, its limits and the peers' ways of doing
// the same, interleaved in one run, and gives ratios: machines differ and are
// noisy, but what is measured within the same seconds on the same machine
// compares. docs/performance.md says what each figure means.
//
// What is measured runs in processes of its own: each server (the engine itself
// is `flashsale serve`), Redis, Postgres, and the load generator. Every
// measurement is also checked: an answer that should not be, an answer that does
// not come, or a count that the backend does not confirm fails it.
package bench
