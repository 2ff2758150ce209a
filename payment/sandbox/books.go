package sandbox

import (
	"net/http"
	"slices"
	"strings"
)

// Books are all payments and what they add up to, at one instant, to compare
// with the orders. In every currency authorised = captured + voided + open.
type Books struct {
	Object  string            `json:"object"`
	Count   int               `json:"count"`
	States  map[Status]int    `json:"states"` // payments by status
	Totals  map[string]Totals `json:"totals"` // by currency, lower case
	Doubles []Double          `json:"doubles"`
	Intents []*Intent         `json:"intents,omitempty"` // oldest first
}

// Totals are amounts in minor units.
type Totals struct {
	Authorised int64 `json:"authorised"` // ever reserved
	Captured   int64 `json:"captured"`
	Voided     int64 `json:"voided"` // reserved, and given back without being taken
	Open       int64 `json:"open"`   // still reserved
	Refunded   int64 `json:"refunded"`
	Captures   int   `json:"captures"`
	Refunds    int   `json:"refunds"`
}

// Double is an attempt, or a reservation, for which money was taken more than once.
type Double struct {
	By       string   `json:"by"` // attempt or reservation: the metadata's name
	Name     string   `json:"name"`
	Intents  []string `json:"intents"`
	Captured int64    `json:"captured"`
	Refunded int64    `json:"refunded"`
}

// Books gives the books as they stand.
func (s *Server) Books() (Books, error) {
	s.mu.Lock()
	all := make([]*Intent, 0, len(s.order))
	for _, id := range s.order {
		in, err := s.intent(id)
		if err != nil {
			s.mu.Unlock()
			return Books{}, err
		}
		all = append(all, in)
	}
	s.mu.Unlock() // what all points to never changes
	return addUp(all), nil
}

func addUp(all []*Intent) Books {
	b := Books{Object: "books", Count: len(all), States: map[Status]int{}, Totals: map[string]Totals{}, Doubles: []Double{}, Intents: all}
	taken := map[[2]string][]*Intent{}
	for _, in := range all {
		b.States[in.Status]++
		if in.Currency != "" { // a tombstone has none
			b.Totals[in.Currency] = b.Totals[in.Currency].with(in)
		}
		if in.Status != Captured {
			continue
		}
		for _, by := range []string{"attempt", "reservation"} {
			if name := in.Metadata[by]; name != "" {
				k := [2]string{by, name}
				taken[k] = append(taken[k], in)
			}
		}
	}
	for k, list := range taken {
		if len(list) < 2 {
			continue
		}
		d := Double{By: k[0], Name: k[1]}
		for _, in := range list {
			d.Intents = append(d.Intents, in.ID)
			d.Captured += in.AmountReceived
			d.Refunded += in.AmountRefunded
		}
		b.Doubles = append(b.Doubles, d)
	}
	slices.SortFunc(b.Doubles, func(x, y Double) int { return strings.Compare(x.By+x.Name, y.By+y.Name) })
	return b
}

func (t Totals) with(in *Intent) Totals {
	t.Authorised += in.AmountAuthorised
	t.Captured += in.AmountReceived
	t.Refunded += in.AmountRefunded
	t.Refunds += len(in.Refunds)
	switch in.Status {
	case Authorised:
		t.Open += in.AmountAuthorised
	case Captured:
		t.Captures++
		t.Voided += in.AmountAuthorised - in.AmountReceived
	default:
		t.Voided += in.AmountAuthorised
	}
	return t
}

// getBooks is GET /books; ?intents=false leaves the payments out.
func (s *Server) getBooks(w http.ResponseWriter, r *http.Request) {
	b, err := s.Books()
	if err != nil {
		writeProblem(w, internal(err.Error()))
		return
	}
	if r.URL.Query().Get("intents") == "false" {
		b.Intents = nil
	}
	writeJSON(w, http.StatusOK, b)
}
