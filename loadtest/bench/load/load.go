// Package load is the benchmark's load generator: one thread, one epoll, up to
// thousands of keep-alive connections, requests built from bytes that are ready
// beforehand. It has to cost less than the leanest server that it measures, or
// it would measure itself; so it does not use an HTTP client library, and only
// reads as much of an answer as it takes to count it.
//
// Closed loop: each connection sends its next request when it has its answer.
// Open loop: requests are due at times drawn beforehand (Poisson), and latency
// counts from when a request was due, not from when a connection was free for it.
package load

import (
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Kind is what a connection does, over and over.
type Kind string

// The kinds.
const (
	Reserve        Kind = "reserve"         // POST …/reservations
	ReserveRelease Kind = "reserve_release" // and DELETE what came of it
	Purchase       Kind = "purchase"        // and POST …/checkout
	Batch          Kind = "batch"           // POST …/reservations:batch, Depth lines
	Script         Kind = "script"          // EVALSHA to Redis, Depth at once
)

// Spec asks for one measurement.
type Spec struct {
	Kind  Kind   `json:"kind"`
	Addr  string `json:"addr"`  // IPv4 and port
	Core  int    `json:"core"`  // the processor to run on; below zero: any
	Conns int    `json:"conns"` // connections
	Depth int    `json:"depth"` // of Batch and Script

	Lead     time.Duration `json:"lead"`     // before the window; its answers count for the books only
	Window   time.Duration `json:"window"`   // what is measured
	Patience time.Duration `json:"patience"` // for the last answers, afterwards

	Rate     float64 `json:"rate"`      // arrivals per second; 0: closed loop
	TurnAway bool    `json:"turn_away"` // an arrival that finds no free connection goes; else it queues
	Seed     uint64  `json:"seed"`      // of the arrivals

	Sales  []string `json:"sales"`  // used one after the other, each by every buyer once
	SKUs   []string `json:"skus"`   // of equal length
	Buyers int      `json:"buyers"` // distinct ones, each with a token
	Key    string   `json:"key"`    // the HS256 secret of the tokens
	Next   uint64   `json:"next"`   // where the Idempotency-Keys go on
	SHA    string   `json:"sha"`    // of Script
	Keys   string   `json:"keys"`   // prefix of Script's keys
	Refuse int      `json:"refuse"` // of Script: each so many-th is by the buyer before, who has had enough; 0: none

	Status int    `json:"status"` // the answer that counts as good
	Text   string `json:"text"`   // that it must contain, such as "sold_out"
	Allow  []int  `json:"allow"`  // other statuses that do not fail the measurement, nor count as good
}

// Result is what came of it.
type Result struct {
	Seconds float64 `json:"seconds"` // of the window
	Good    uint64  `json:"good"`    // good ends within the window: answers, lines or replies
	Rate    float64 `json:"rate"`    // Good per second

	Steps    [2]uint64         `json:"steps"`    // good answers to the first and second request, lead and tail included
	Answers  map[string]uint64 `json:"answers"`  // all answers by status
	Wrong    []string          `json:"wrong"`    // a few that should not be, in full; empty if all is well
	Bad      uint64            `json:"bad"`      // how many there were
	Open     int               `json:"open"`     // requests without an answer after Patience
	Next     uint64            `json:"next"`     // for the next Spec
	Due      uint64            `json:"due"`      // open loop: arrivals within the window
	Turned   uint64            `json:"turned"`   // of these, turned away
	Late     uint64            `json:"late"`     // open loop: still queued when the window ended
	Latency  Latency           `json:"latency"`  // of good answers
	Second   Latency           `json:"second"`   // of good answers to second requests, from when those were sent
	CPU      float64           `json:"cpu"`      // processor seconds of the generator, over the window
	Lateness Latency           `json:"lateness"` // open loop: how late the generator itself was
}

// Latency is in microseconds.
type Latency struct {
	N    int64   `json:"n"`
	Mean float64 `json:"mean_us"`
	P50  float64 `json:"p50_us"`
	P99  float64 `json:"p99_us"`
	P999 float64 `json:"p999_us"`
	Max  float64 `json:"max_us"`
}

// Summary sums a histogram of microseconds up.
func Summary(h *hdrhistogram.Histogram) Latency {
	at := func(q float64) float64 { return float64(h.ValueAtQuantile(q)) }
	return Latency{N: h.TotalCount(), Mean: h.Mean(), P50: at(50), P99: at(99), P999: at(99.9), Max: float64(h.Max())}
}
