package loadtest

import (
	"fmt"
	"time"
)

// badCard is declined.
const badCard = "pm_card_chargeDeclined"

// Phase is a part of a run with a crowd of its own.
type Phase struct {
	Name  string   `json:"name"`
	Until float64  `json:"until"` // seconds after T0
	Mix   Mix      `json:"mix,omitempty"`
	SKUs  []string `json:"skus,omitempty"` // what they want; none: what everybody wants
}

func checkPhases(all []Phase) error {
	from := 0.0
	for _, p := range all {
		if !(p.Until > from) {
			return fmt.Errorf("loadtest: phase %q ends at %v s and begins at %v s", p.Name, p.Until, from)
		}
		if err := p.Mix.check(); err != nil {
			return err
		}
		from = p.Until
	}
	return nil
}

// at is what they want who come then, and of whom they consist.
func (c Config) at(since time.Duration) ([]string, Mix) {
	skus, mix := c.SKUs, c.Mix
	for _, p := range c.Phases {
		if since.Seconds() < p.Until {
			if len(p.SKUs) > 0 {
				skus = p.SKUs
			}
			if len(p.Mix) > 0 {
				mix = p.Mix
			}
			break
		}
	}
	return skus, mix
}
