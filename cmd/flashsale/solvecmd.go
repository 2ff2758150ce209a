package main

import (
	"fmt"
	"time"

	"github.com/flashsale-engine/flashsale/challenge"
)

type solveCmd struct {
	Challenge string `arg:"" help:"What challenge_required gave: w1.<bits>.<expires>.<mac>."`
}

// Run prints what goes into the header Challenge-Solution.
func (c *solveCmd) Run(w *world) error {
	began := time.Now()
	solution, err := challenge.Solve(w, c.Challenge)
	if err != nil {
		return fail(exitUsage, "%v", err)
	}
	w.log.Debug("solved", "took", time.Since(began))
	_, err = fmt.Fprintln(w.stdout, challenge.Work, solution)
	return err
}
