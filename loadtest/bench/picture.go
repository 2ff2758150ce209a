package bench

import (
	"errors"
	"fmt"

	"github.com/flashsale-engine/flashsale/loadtest/plot"
)

// Overload draws what is accepted, and how long that takes, against what is offered.
func (r Report) Overload() ([]byte, error) {
	goodput, p99, refused := line("accepted, median of the rounds"), line("p99 of the accepted, median"), line("told 503 by the engine")
	least, most := line("least"), line("most")
	least.Dashed, most.Dashed, least.Dots, most.Dots = true, true, false, false
	for _, times := range offers[1:] {
		rate, there := r.Measurements[fmt.Sprintf("goodput_at_%gx", times)]
		if !there {
			return nil, errors.New("goodput was not measured; leave --only out, or name goodput_5x there")
		}
		add := func(l *plot.Line, y float64) { l.Points = append(l.Points, plot.Point{times, y}) }
		add(&goodput, rate.Median/1000)
		add(&least, rate.Min/1000)
		add(&most, rate.Max/1000)
		add(&refused, r.Measurements[fmt.Sprintf("overloaded_at_%gx", times)].Median/1000)
		add(&p99, r.Measurements[fmt.Sprintf("admitted_p99_at_%gx", times)].Median/1000)
	}
	return plot.Figure{
		Title: "Reservations accepted while more and more is offered",
		Note:  fmt.Sprintf("%d connections, open loop, %d rounds, %s; 1 is what a closed loop of %d connections reached", crowd, r.Settings.Rounds, r.Settings.When, conns),
		X:     "offered load, as multiples of the capacity",
		Panels: []plot.Panel{
			{Y: "thousands per second", Height: 240, Lines: []plot.Line{goodput, least, most, refused}},
			{Y: "p99 of the accepted, ms", Height: 140, Lines: []plot.Line{p99}},
		},
	}.SVG()
}

func line(name string) plot.Line { return plot.Line{Name: name, Dots: true} }
