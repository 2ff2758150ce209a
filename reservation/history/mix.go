package history

import (
	"fmt"
	"sort"
	"strings"
)

// Mix counts operations by kind and answer, for people.
func Mix(ops []Op) string {
	n := map[string]int{}
	for i := range ops {
		o := &ops[i]
		what := o.Kind.String() + " "
		switch {
		case o.Unknown:
			what += "unanswered"
		case o.Code != "":
			what += string(o.Code)
		case o.Out.Replayed || o.Kind == Find:
			what += "sees " + string(o.Out.State)
		case o.Kind == Counters:
			what += "read"
		default:
			what += "makes " + string(o.Out.State)
		}
		n[what]++
	}
	var keys []string
	for k := range n {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	var b strings.Builder
	for _, k := range keys {
		fmt.Fprintf(&b, "%9d %s\n", n[k], k)
	}
	return b.String()
}
