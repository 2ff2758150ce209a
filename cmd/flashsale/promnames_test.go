package main

import (
	"regexp"
	"slices"
	"strings"
	"testing"
)

// promSelectors gives what a PromQL expression reads: metric names, each with the
// labels that it matches. It knows as much of the language as it takes to tell a
// metric from everything else; a selector without a name is called "".
func promSelectors(expr string) (out []promSelector) {
	for i := 0; i < len(expr); {
		c := expr[i]
		switch {
		case c == '#': // to the end of the line
			for i < len(expr) && expr[i] != '\n' {
				i++
			}
		case c == '"' || c == '\'' || c == '`':
			i = pastText(expr, i)
		case c == '[':
			i += strings.IndexByte(expr[i:]+"]", ']') + 1
		case c == '{':
			out = append(out, promSelector{labels: labelsIn(expr[i:pastBraces(expr, i)])})
			i = pastBraces(expr, i)
		case c >= '0' && c <= '9':
			i += len(promNumber.FindString(expr[i:]))
		case promNameStart(c):
			name := promName.FindString(expr[i:])
			i += len(name)
			next := strings.TrimLeft(expr[i:], " \n\t")
			switch {
			case slices.Contains(promGrouping, name):
				if strings.HasPrefix(next, "(") { // labels
					i += strings.IndexByte(expr[i:], ')') + 1
				}
			case slices.Contains(promWords, strings.ToLower(name)), strings.HasPrefix(next, "("), promAggregated.MatchString(next):
			case strings.HasPrefix(next, "{"):
				i += strings.IndexByte(expr[i:], '{')
				out = append(out, promSelector{name, labelsIn(expr[i:pastBraces(expr, i)])})
				i = pastBraces(expr, i)
			default:
				out = append(out, promSelector{name: name})
			}
		default:
			i++
		}
	}
	return out
}

type promSelector struct {
	name   string
	labels []string
}

var (
	promName       = regexp.MustCompile(`^[a-zA-Z_:][a-zA-Z0-9_:]*`)
	promNumber     = regexp.MustCompile(`^[0-9][0-9a-zA-Z.]*`)
	promLabel      = regexp.MustCompile(`([a-zA-Z_][a-zA-Z0-9_]*)\s*(=~|!~|!=|=)\s*("(?:[^"\\]|\\.)*"|'[^']*')`)
	promGrouping   = []string{"by", "without", "on", "ignoring", "group_left", "group_right"}
	promAggregated = regexp.MustCompile(`^(by|without)\b`) // what stands before is sum, max or another function
	promWords      = []string{"and", "or", "unless", "bool", "offset", "inf", "nan"}
)

func promNameStart(c byte) bool { return promName.Match([]byte{c}) }

func pastText(s string, i int) int {
	for quote, j := s[i], i+1; j < len(s); j++ {
		if s[j] == '\\' && quote != '`' {
			j++
		} else if s[j] == quote {
			return j + 1
		}
	}
	return len(s)
}

func pastBraces(s string, i int) int {
	for i++; i < len(s); {
		switch s[i] {
		case '}':
			return i + 1
		case '"', '\'', '`':
			i = pastText(s, i)
		default:
			i++
		}
	}
	return len(s)
}

func labelsIn(braces string) (out []string) {
	for _, m := range promLabel.FindAllStringSubmatch(braces, -1) {
		out = append(out, m[1])
	}
	return out
}

func TestSelectorsAreFoundInWhateverStandsAroundThem(t *testing.T) {
	for expr, want := range map[string]string{
		`up == 0`: "up",
		`max by (sale, shard) (flashsale_gate_frozen_seconds) > 5`:                                             "flashsale_gate_frozen_seconds",
		`sum(rate(a_total{x="}{b_total", y=~'z|"'}[5m])) / on (sale) group_left () sum without (c) (d)`:        "a_total{x,y} d",
		`histogram_quantile(0.95, sum by (le) (rate(h_bucket[1m]))) > 1e3 and vector(0) or time() - t{k!="v"}`: "h_bucket t{k}",
		"x offset 5m > bool 3 # not_this\n unless y":                                                           "x y",
		`{job="flashsale"}`:                            "{job}",
		`flashsale:ratio_rate5m > 14.4 * 0.001`:        "flashsale:ratio_rate5m",
		`increase(m[$__range]) * -Inf`:                 "m",
		`label_replace(v, "dst", "$1", "src", "(.*)")`: "v",
	} {
		var got []string
		for _, s := range promSelectors(expr) {
			text := s.name
			if len(s.labels) > 0 {
				text += "{" + strings.Join(s.labels, ",") + "}"
			}
			got = append(got, text)
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: %q, not %q", expr, strings.Join(got, " "), want)
		}
	}
}
