// Package plot draws lines over one x axis as an SVG, for the pictures that runs
// leave behind: no dependency, the same bytes for the same figure, readable on a
// light and on a dark page. A Figure can be read from JSON.
package plot
