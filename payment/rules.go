package payment

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/flashsale-engine/flashsale/engine"
)

// Rule says what a provider may be used for, and at what price. A provider may
// have several; one that has none is never chosen.
type Rule struct {
	Provider   string
	Currencies []string // three upper-case letters each; none: all
	Methods    []string // patterns of the payment method's token, such as pm_card_*; none: all
	Min, Max   int64    // bounds of the amount, in minor units, both allowed; 0: none
	// What a payment costs us: Fixed in minor units, and BasisPoints (hundredths
	// of a percent) of the amount.
	Fixed, BasisPoints int64
}

// ParseRule reads a rule as it is written in settings:
//
//	stripe currency=EUR,USD method=pm_* min=100 max=500000 fixed=30 bps=290
func ParseRule(s string) (Rule, error) {
	words := strings.Fields(s)
	if len(words) == 0 {
		return Rule{}, fmt.Errorf("a route is: PROVIDER [currency=EUR,USD] [method=pm_*] [min=N] [max=N] [fixed=N] [bps=N]")
	}
	r := Rule{Provider: words[0]}
	numbers := map[string]*int64{"min": &r.Min, "max": &r.Max, "fixed": &r.Fixed, "bps": &r.BasisPoints}
	for _, w := range words[1:] {
		key, value, found := strings.Cut(w, "=")
		n := numbers[key]
		switch {
		case !found || value == "":
			return r, fmt.Errorf("route %q: %q is not key=value", s, w)
		case key == "currency":
			r.Currencies = strings.Split(value, ",")
		case key == "method":
			r.Methods = strings.Split(value, ",")
		case n != nil:
			v, err := strconv.ParseInt(value, 10, 64)
			if err != nil {
				return r, fmt.Errorf("route %q: %s=%s is not a whole number", s, key, value)
			}
			*n = v
		default:
			return r, fmt.Errorf("route %q: no key is called %s: use currency, method, min, max, fixed and bps", s, key)
		}
	}
	if err := r.validate(); err != nil {
		return r, fmt.Errorf("route %q: %w", s, err)
	}
	return r, nil
}

func (r Rule) validate() error {
	for _, c := range r.Currencies {
		if len(c) != 3 || strings.Trim(c, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") != "" {
			return fmt.Errorf("currency %q is not three upper-case letters", c)
		}
	}
	for _, m := range r.Methods {
		if _, err := path.Match(m, ""); err != nil || m == "" {
			return fmt.Errorf("method %q is not a pattern such as pm_card_*", m)
		}
	}
	bounded := r.Min > 0 || r.Max > 0 || r.Fixed > 0
	switch {
	case r.Provider == "":
		return fmt.Errorf("it names no provider")
	case r.Min < 0 || r.Max < 0 || r.Max > 0 && r.Max < r.Min:
		return fmt.Errorf("min %d and max %d must not be negative, and max no smaller", r.Min, r.Max)
	case r.Fixed < 0 || r.BasisPoints < 0 || r.BasisPoints > 10_000:
		return fmt.Errorf("fixed %d must not be negative, and bps %d must lie between 0 and 10000", r.Fixed, r.BasisPoints)
	case bounded && len(r.Currencies) != 1:
		// 100 is a dollar and a hundred yen.
		return fmt.Errorf("min, max and fixed are amounts: name the one currency they are in")
	}
	return nil
}

func (r Rule) fits(a engine.Attempt) bool {
	return (len(r.Currencies) == 0 || slices.Contains(r.Currencies, a.Amount.Currency)) &&
		(len(r.Methods) == 0 || slices.ContainsFunc(r.Methods, func(m string) bool { ok, _ := path.Match(m, a.Method); return ok })) &&
		a.Amount.Amount >= r.Min && (r.Max == 0 || a.Amount.Amount <= r.Max)
}

// cost is what a payment costs us, in minor units, rounded down.
func (r Rule) cost(amount int64) int64 {
	return r.Fixed + amount/10_000*r.BasisPoints + amount%10_000*r.BasisPoints/10_000
}
