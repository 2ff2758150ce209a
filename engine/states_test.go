package engine

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// The pictures in docs/states.md and the tables here are the same machines.
func TestTheStatesPageDrawsTheTables(t *testing.T) {
	page, err := os.ReadFile("../docs/states.md")
	if err != nil {
		t.Fatal(err)
	}
	for title, moves := range map[string]map[string][]string{
		"## Reservation":     plain(ReservationMoves),
		"## Payment attempt": plain(PaymentMoves),
		"## Sale":            plain(SaleMoves),
	} {
		_, section, ok := strings.Cut(string(page), title+"\n")
		if !ok {
			t.Fatalf("docs/states.md has no section %q", title)
		}
		section, _, _ = strings.Cut(section, "\n## ")
		drawn := map[string][]string{}
		for _, m := range regexp.MustCompile(`(?m)^ +(\w+) --> (\w+)`).FindAllStringSubmatch(section, -1) {
			drawn[m[1]] = append(drawn[m[1]], m[2])
		}
		for from, to := range moves {
			slices.Sort(to)
			slices.Sort(drawn[from])
			if !slices.Equal(to, drawn[from]) {
				t.Errorf("%s: from %s the table allows %v and the page draws %v", title, from, to, drawn[from])
			}
			delete(drawn, from)
			if !strings.Contains(section, "**"+from+"**") {
				t.Errorf("%s: state %s has no paragraph", title, from)
			}
		}
		for from := range drawn {
			t.Errorf("%s: the page draws a state %s that the table lacks", title, from)
		}
	}
}

func plain[S ~string](moves map[S][]S) map[string][]string {
	out := map[string][]string{}
	for from, tos := range moves {
		list := []string{}
		for _, to := range tos {
			list = append(list, string(to))
		}
		out[string(from)] = list
	}
	return out
}

func TestEveryStateLeadsToAFinalOne(t *testing.T) {
	t.Run("reservation", func(t *testing.T) { leadsToFinal(t, ReservationMoves) })
	t.Run("payment", func(t *testing.T) { leadsToFinal(t, PaymentMoves) })
	t.Run("sale", func(t *testing.T) { leadsToFinal(t, SaleMoves) })
}

func leadsToFinal[S ~string](t *testing.T, moves map[S][]S) {
	t.Helper()
	for from := range moves {
		seen, ends := map[S]bool{}, false
		for todo := []S{from}; len(todo) > 0; {
			s := todo[0]
			todo = todo[1:]
			if seen[s] {
				continue
			}
			seen[s] = true
			next, ok := moves[s]
			if !ok {
				t.Fatalf("%s leads to %s, which is not a state", from, s)
			}
			ends = ends || len(next) == 0
			todo = append(todo, next...)
		}
		if !ends {
			t.Errorf("%s never ends", from)
		}
	}
}

func TestEveryCodeHasAStatusAndSaysWhatToDo(t *testing.T) {
	for code, class := range Codes {
		if class.Status < 400 || class.Status > 599 {
			t.Errorf("%s: status %d", code, class.Status)
		}
		if len(class.WhatToDo) < 10 || !strings.HasSuffix(class.WhatToDo, ".") {
			t.Errorf("%s does not say what to do: %q", code, class.WhatToDo)
		}
		if class.Status == 503 && !class.Transient {
			t.Errorf("%s: a 503 that is not transient", code)
		}
	}
}
