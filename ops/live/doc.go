// Package live puts together what operators look at while a sale runs: one snapshot,
// computed a few times a second however many look, and not at all when nobody does.
// The console in the browser, flashsale top and flashsale sale status --watch all read it.
package live
