package sandbox

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// stripePage is a list, or the result of a search.
type stripePage struct {
	Object   string `json:"object"`
	URL      string `json:"url"`
	HasMore  bool   `json:"has_more"`
	NextPage string `json:"next_page,omitempty"`
	Data     []any  `json:"data"`
}

// stripeList gives the payments, newest first.
func (s *Server) stripeList(c *call) {
	p := c.form.check(listParams)
	limit := 0
	if p == nil {
		limit, p = c.form.limit()
	}
	var list []*Intent
	if p == nil {
		list, p = s.newestFirst(c.form.get("starting_after"), c.form.get("ending_before"), limit+1)
	}
	if p != nil {
		s.answer(c, refuse(p))
		return
	}
	out := stripePage{Object: "list", URL: "/v1/payment_intents", HasMore: len(list) > limit, Data: []any{}}
	if len(list) > limit && c.form.get("ending_before") != "" {
		list = list[1:] // the one too many is the newest
	}
	for _, in := range list[:min(len(list), limit)] {
		out.Data = append(out.Data, stripeIntent(in, c.form))
	}
	s.answerJSON(c, out)
}

// newestFirst gives at most n payments that are older than after and newer than
// before, next to whichever of the two was given.
func (s *Server) newestFirst(after, before string, n int) ([]*Intent, *Problem) {
	s.mu.Lock()
	defer s.mu.Unlock()
	from, to := 0, len(s.order) // of s.order, which is oldest first
	for name, id := range map[string]string{"starting_after": after, "ending_before": before} {
		at, known := s.intents[id]
		switch {
		case id == "":
		case !known:
			return nil, invalid(name, "resource_missing", "no such payment_intent: "+id)
		case name == "starting_after":
			to = at.place
		default:
			from = at.place + 1
		}
	}
	if before != "" && after == "" {
		to = max(min(to, from+n), from)
	} else {
		from = min(max(from, to-n), to)
	}
	list := []*Intent{}
	for _, id := range slices.Backward(s.order[from:max(from, to)]) {
		in, err := s.intent(id)
		if err != nil {
			return nil, internal(err.Error())
		}
		list = append(list, in)
	}
	return list, nil
}

// clause is one condition of a search: field:'value', or metadata['name']:'value'.
var clause = regexp.MustCompile(`^\s*(?:metadata\[(?:'([^']+)'|"([^"]+)")\]|(status|currency))\s*:\s*(?:'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)")\s*(?:(?i:and)\s+|$)`)

type condition struct{ metadata, field, value string }

// parseSearch reads the part of Stripe's query language that looks things up:
// equality of metadata, status and currency, joined by AND.
func parseSearch(q string) ([]condition, *Problem) {
	var all []condition
	for strings.TrimSpace(q) != "" {
		m := clause.FindStringSubmatch(q)
		if m == nil {
			return nil, invalid("query", "query_invalid", "cannot read the query at: "+q+"; the sandbox knows metadata['name']:'value', status:'value', currency:'value' and AND")
		}
		value := m[4] + m[5]
		value = strings.NewReplacer(`\'`, `'`, `\"`, `"`, `\\`, `\`).Replace(value)
		all = append(all, condition{m[1] + m[2], m[3], value})
		q = q[len(m[0]):]
	}
	if len(all) == 0 {
		return nil, invalid("query", "parameter_missing", "say what to search: query=metadata['attempt']:'…'")
	}
	return all, nil
}

func (c condition) holds(in *Intent) bool {
	switch c.field {
	case "status":
		return string(in.Status) == c.value
	case "currency":
		return in.Currency == c.value
	}
	v, has := in.Metadata[c.metadata]
	return has && v == c.value
}

// stripeSearch is eventually consistent if the control wants a lag.
func (s *Server) stripeSearch(c *call) {
	f := c.form
	p := f.check(searchParams)
	limit, from := 0, 0
	if p == nil {
		limit, p = f.limit()
	}
	var conditions []condition
	if p == nil {
		conditions, p = parseSearch(f.get("query"))
	}
	if page := f.get("page"); p == nil && page != "" {
		var err error
		if from, err = strconv.Atoi(page); err != nil || from < 0 {
			p = invalid("page", "parameter_invalid", "page must be a next_page of an earlier answer")
		}
	}
	var found []*Intent
	if p == nil {
		found, p = s.searchFor(conditions)
	}
	if p != nil {
		s.answer(c, refuse(p))
		return
	}
	from = min(from, len(found))
	to := min(from+limit, len(found))
	out := stripePage{Object: "search_result", URL: "/v1/payment_intents/search", HasMore: to < len(found), Data: []any{}}
	if out.HasMore {
		out.NextPage = strconv.Itoa(to)
	}
	for _, in := range found[from:to] {
		out.Data = append(out.Data, stripeIntent(in, f))
	}
	s.answerJSON(c, out)
}

// searchFor gives what meets all conditions, newest first. By attempt it looks
// up, by anything else it goes through the books.
func (s *Server) searchFor(conditions []condition) ([]*Intent, *Problem) {
	s.mu.Lock()
	defer s.mu.Unlock()
	ids := s.order
	for _, c := range conditions {
		if c.metadata == "attempt" {
			ids = nil
			if first := s.byAttempt[c.value]; first != "" {
				ids = append([]string{first}, s.moreOf[c.value]...)
			}
			break
		}
	}
	var found []*Intent
	for _, id := range slices.Backward(ids) {
		in, err := s.intent(id)
		if err != nil {
			return nil, internal(err.Error())
		}
		if in = s.asSearched(in); in == nil {
			continue
		}
		if !slices.ContainsFunc(conditions, func(c condition) bool { return !c.holds(in) }) {
			found = append(found, in)
		}
	}
	return found, nil
}
