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
	for _, s := range suites {
		for _, m := range s.mutants {
			if names[m.name] || m.breaks == "" || len(m.patches) == 0 {
				t.Errorf("%s: twice, or without words or patches", m.name)
			}
			names[m.name] = true
			if _, err := m.patched(root, s.dir); err != nil {
				t.Error(err)
			}
		}
	}
	if len(truthMutants) < 10 || len(gateMutants) < 12 || len(checkoutMutants)+len(writerMutants) < 10 {
		t.Errorf("%d mutants of the gate, %d of the checkout, %d of the writer", len(gateMutants), len(checkoutMutants), len(writerMutants))
	}
}
