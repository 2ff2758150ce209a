package bench

import (
	"fmt"
	"strings"
	"testing"
)

func TestThePictureOfOverloadNeedsItsFigures(t *testing.T) {
	r := Report{Measurements: map[string]Measurement{}}
	if _, err := r.Overload(); err == nil || !strings.Contains(err.Error(), "goodput_5x") {
		t.Errorf("without figures: %v", err)
	}
	for _, times := range offers[1:] {
		for _, name := range []string{"goodput_at_%gx", "admitted_p99_at_%gx", "overloaded_at_%gx"} {
			r.Measurements[fmt.Sprintf(name, times)] = Measurement{Spread: Spread{Median: 1000 * times, Min: 900 * times, Max: 1100 * times}}
		}
	}
	got, err := r.Overload()
	if err != nil || !strings.HasPrefix(string(got), "<svg") || strings.Count(string(got), "<polyline")+strings.Count(string(got), "<path") < 5 {
		t.Errorf("%v: %.300s", err, got)
	}
}
