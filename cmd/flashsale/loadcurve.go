package main

import (
	"os"
	"time"

	"github.com/flashsale-engine/flashsale/loadtest"
)

// Arrivals says how buyers come.
type Arrivals struct {
	Rate     float64       `help:"Arrivals per second, on the average of a flat curve and at the peak of any other; 0: all due at once, or as the table says." default:"0"`
	Duration time.Duration `help:"How long arrivals go on; default: 10s, or as the table says." default:"0s"`
	Shape    string        `help:"How arrivals come over time, with --rate: flat, ramp (from nothing), spike (at T0, after a few early ones), black-friday (a day with its two peaks), retry-storm (a wave and its echoes)." enum:"flat,ramp,spike,black-friday,retry-storm" default:"flat"`
	Curve    string        `help:"A table (CSV) with the columns seconds,rate instead of a shape; --rate and --duration stretch it." placeholder:"FILE" type:"existingfile"`
}

// defaultLength is used where a rate has no length of its own.
const defaultLength = 10 * time.Second

// into sets how they come.
func (a Arrivals) into(c *loadtest.Config) (err error) {
	switch {
	case a.Rate < 0 || a.Duration < 0:
		return fail(exitUsage, "--rate and --duration must not be negative")
	case a.Curve != "":
		file, err := os.Open(a.Curve)
		if err != nil {
			return &exit{exitUsage, err}
		}
		defer file.Close()
		table, err := loadtest.ReadCurve(file)
		if err != nil {
			return fail(exitUsage, "--curve %s: %w", a.Curve, err)
		}
		c.Curve = table.Stretch(a.Rate, a.Duration)
		return nil
	case a.Rate == 0 && a.Shape != "flat":
		return fail(exitUsage, "--shape %s needs --rate, the arrivals per second at its peak", a.Shape)
	}
	if a.Duration == 0 {
		a.Duration = defaultLength
	}
	c.Rate, c.Duration = a.Rate, a.Duration
	if a.Shape != "flat" {
		if c.Curve, err = loadtest.Shape(a.Shape, a.Rate, a.Duration); err != nil {
			return &exit{exitUsage, err}
		}
	}
	return nil
}
