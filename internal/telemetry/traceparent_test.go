package telemetry

import (
	"regexp"
	"strings"
	"testing"
)

func TestOnlyValidTraceContextsArePassedOn(t *testing.T) {
	const good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	for in, want := range map[string]bool{
		good: true, "01" + good[2:]: true, "01" + good[2:] + "-more": true,
		"": false, good[:54]: false, good + "-more": false, "01" + good[2:] + "more": false, "ff" + good[2:]: false,
		strings.ToUpper(good): false, strings.Replace(good, "-", "_", 1): false,
		"00-00000000000000000000000000000000-00f067aa0ba902b7-01": false,
		"00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01": false,
		"00-4bf92f3577b34da6a3ce929d0e0e473g-00f067aa0ba902b7-01": false,
		"01" + good[2:] + "-a\x01":                                false,
		"01" + good[2:] + "-" + strings.Repeat("a", 300):          false,
	} {
		if got := Valid([]byte(in)); got != want {
			t.Errorf("%q: %v", in, got)
		}
	}
}

func FuzzTraceparent(f *testing.F) {
	f.Add("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
	f.Add("01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x")
	shape := regexp.MustCompile(`^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}(-[!-~]*)?$`)
	f.Fuzz(func(t *testing.T, s string) {
		m := shape.FindStringSubmatch(s)
		want := m != nil && len(s) <= 256 && m[1] != "ff" && strings.Trim(m[2], "0") != "" && strings.Trim(m[3], "0") != "" && (m[4] == "" || m[1] != "00")
		if got := Valid([]byte(s)); got != want {
			t.Errorf("%q: %v, not %v", s, got, want)
		}
	})
}
