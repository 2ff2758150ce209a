// Package waiters sends a crowd through the waiting room of a real engine and judges
// what it was told: a million wait for 20,000 units, over HTTP.
//
// The crowd does what crowds do: joins before the opening, looks every few seconds,
// has gone when it is called, comes too late, tries to push in, buys, changes its
// mind, leaves holds behind. Each waiter's fate is drawn from the seed and their
// number, so nothing is kept per waiter but the ticket's owner: four bytes.
//
// The public document is read as a CDN would hand it out: one request per interval,
// shared by all. A number of waiters really poll over HTTP or listen to the events,
// and everybody who is called claims, reserves and pays over HTTP.
//
// Read run.go for the run, buyer.go for the way of one who was called, and judge.go
// for what must be true of it.
package waiters
