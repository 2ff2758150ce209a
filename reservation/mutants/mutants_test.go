package main

import "testing"

// A mutant that no longer applies is found here, in seconds, and not by the
// minutes of `make mutants`.
func TestEveryMutantsPatchApplies(t *testing.T) {
	root, err := moduleRoot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, m := range mutants {
		if names[m.name] || m.breaks == "" || len(m.patches) == 0 {
			t.Errorf("%s: twice, or without words or patches", m.name)
		}
		names[m.name] = true
		if _, err := m.patched(root); err != nil {
			t.Error(err)
		}
	}
	if len(mutants) < 12 {
		t.Errorf("%d mutants", len(mutants))
	}
}
