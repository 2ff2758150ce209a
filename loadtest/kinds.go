package loadtest

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Kind names how a buyer behaves.
type Kind string

// The kinds of buyers.
const (
	KindBuyer     Kind = "buyer"       // reserves, hesitates, pays
	KindBrowser   Kind = "browser"     // looks at the sale a few times; one in ten then buys
	KindQueuer    Kind = "queuer"      // waits in the sale's waiting room, and then is a buyer
	KindAbandoner Kind = "abandoner"   // holds units and walks away without a word
	KindRetrier   Kind = "retrier"     // comes again after a no, and with another card after a decline
	KindDouble    Kind = "doubleclick" // sends each request twice at once, under one key
	KindTabs      Kind = "twotabs"     // does everything in two tabs at once, under a key each
	KindBot       Kind = "bot"         // asks again without a pause, whatever it is told
)

// state is where a buyer is, and a way says for each kind of buyer what they do there
// and where its outcome leads. An outcome that leads nowhere is the visit's end.
type state string

type deed struct {
	do   func(*visit, context.Context) End
	next map[End]state
}

type way struct {
	start state
	deeds map[state]deed
}

// Outcomes that are no end: they must lead somewhere.
const (
	isHeld End = "is_held"
	goesOn End = "goes_on"
	again  End = "again"
)

// The ways of all kinds. What a kind does not do otherwise it does as the buyer does.
var ways = map[Kind]way{
	KindBuyer: {"reserving", nil},
	KindBrowser: {"browsing", map[state]deed{
		"browsing": {(*visit).browse, map[End]state{again: "browsing", goesOn: "reserving"}}}},
	KindQueuer: {"queueing", map[state]deed{
		"queueing": {(*visit).queue, map[End]state{goesOn: "reserving"}}}},
	KindAbandoner: {"reserving", map[state]deed{
		"deciding": {(*visit).leave, nil}}},
	KindRetrier: {"reserving", map[state]deed{
		"reserving": {(*visit).reserve, map[End]state{isHeld: "deciding", SoldOut: "sulking", Expired: "sulking"}},
		"paying":    {(*visit).checkout, map[End]state{Pending: "polling", Declined: "sulking", Expired: "sulking"}},
		"sulking":   {(*visit).comeAgain, map[End]state{again: "reserving", goesOn: "paying"}}}},
	KindDouble: {"reserving", map[state]deed{
		"reserving": {(*visit).reserveTwice, map[End]state{isHeld: "deciding"}},
		"paying":    {(*visit).payTwice, map[End]state{Pending: "polling"}}}},
	KindTabs: {"reserving", map[state]deed{
		"reserving": {(*visit).reserveInTabs, map[End]state{isHeld: "deciding"}},
		"paying":    {(*visit).payInTabs, map[End]state{Pending: "polling"}}}},
	KindBot: {"hammering", map[state]deed{
		"hammering": {(*visit).hammer, map[End]state{isHeld: "paying"}}}},
}

var asBuyer = map[state]deed{
	"reserving": {(*visit).reserve, map[End]state{isHeld: "deciding"}},
	"deciding":  {(*visit).decide, map[End]state{goesOn: "paying"}},
	"paying":    {(*visit).checkout, map[End]state{Pending: "polling"}},
	"polling":   {(*visit).poll, nil},
}

// Kinds are all kinds, by name.
func Kinds() []Kind { return slices.Sorted(maps.Keys(ways)) }

// Share is how many of a crowd, in parts of all weights, are of a kind.
type Share struct {
	Kind   Kind    `json:"kind"`
	Weight float64 `json:"weight"`
}

// Mix is of whom a crowd consists; an empty one of buyers.
type Mix []Share

// Mixes are those that have names.
var Mixes = map[string]Mix{
	"buyers": {{KindBuyer, 1}},
	"shop":   {{KindBuyer, 45}, {KindBrowser, 35}, {KindAbandoner, 10}, {KindRetrier, 10}},
	"drop":   {{KindBuyer, 50}, {KindBrowser, 5}, {KindAbandoner, 10}, {KindRetrier, 20}, {KindDouble, 5}, {KindTabs, 5}, {KindBot, 5}},
	"bots":   {{KindBuyer, 45}, {KindRetrier, 15}, {KindTabs, 10}, {KindBot, 30}},
}

// ParseMix reads a mix by its name or as kind=weight,kind=weight.
func ParseMix(text string) (Mix, error) {
	if m, ok := Mixes[text]; ok {
		return m, nil
	}
	var m Mix
	for part := range strings.SplitSeq(text, ",") {
		name, number, found := strings.Cut(strings.TrimSpace(part), "=")
		weight, err := strconv.ParseFloat(number, 64)
		if !found || err != nil {
			return nil, fmt.Errorf("loadtest: mix %q: %q is neither kind=weight nor one of %s", text, part, strings.Join(slices.Sorted(maps.Keys(Mixes)), ", "))
		}
		m = append(m, Share{Kind(name), weight})
	}
	return m, m.check()
}

func (m Mix) check() error {
	total := 0.0
	for _, s := range m {
		if _, ok := ways[s.Kind]; !ok {
			return fmt.Errorf("loadtest: %q is no kind of buyer; there are %s", s.Kind, strings.Trim(fmt.Sprint(Kinds()), "[]"))
		}
		if !(s.Weight >= 0) || s.Weight > 1e9 {
			return fmt.Errorf("loadtest: a mix with %v of %s", s.Weight, s.Kind)
		}
		total += s.Weight
	}
	if len(m) > 0 && total <= 0 {
		return fmt.Errorf("loadtest: a mix of nobody")
	}
	return nil
}

// pick draws one of the crowd.
func (m Mix) pick(rng *rand.Rand) Kind {
	total := 0.0
	for _, s := range m {
		total += s.Weight
	}
	at := rng.Float64() * total
	for _, s := range m {
		if at -= s.Weight; at < 0 {
			return s.Kind
		}
	}
	return m[0].Kind
}

// walk goes the whole way of a visit's kind.
func (v *visit) walk(ctx context.Context) End {
	way := ways[v.kind]
	for at := way.start; ; {
		d, own := way.deeds[at]
		if !own {
			d = asBuyer[at]
		}
		v.end = d.do(v, ctx)
		next, on := d.next[v.end]
		if !on {
			break
		}
		at = next
	}
	if v.end == Confirmed {
		v.tally.latency(StepJourney, v.arrival, time.Since(v.arrival))
		v.tally.bought(v.bought)
	}
	return v.end
}
