// Package page makes a load test's report into one HTML file, without anything from
// outside and without scripts: the verdict on top, then pictures of the run second by
// second, then the tables. Read figures.go for what is drawn, page.html for how it is
// laid out, and compare.go for two runs beside each other.
package page
