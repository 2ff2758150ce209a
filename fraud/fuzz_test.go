package fraud

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/flashsale-engine/flashsale/engine"
	"github.com/flashsale-engine/flashsale/outside"
)

type canned struct {
	status int
	body   string
}

func (c *canned) RoundTrip(*http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: c.status, Body: io.NopCloser(strings.NewReader(c.body))}, nil
}

// FuzzOnlyAPlainNoTurnsABuyerAway: whatever the score's answer, nobody is turned away
// but by the one word for it.
func FuzzOnlyAPlainNoTurnsABuyerAway(f *testing.F) {
	f.Add(200, `{"decision":"deny"}`)
	f.Add(500, `{"decision":"deny"}`)
	f.Add(200, `{"decision":"allow","decision":"deny"}`)
	f.Add(200, strings.Repeat(" ", maxAnswer)+`{"decision":"deny"}`)
	board, err := outside.NewBoard(nil)
	if err != nil {
		f.Fatal(err)
	}
	answer := &canned{}
	s, err := New(Config{URL: "http://score.test/", Board: board, Client: &http.Client{Transport: answer}})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, status int, body string) {
		answer.status, answer.body = status, body
		v, err := s.ask(t.Context(), engine.Attempt{})
		if v.Deny && (err != nil || status != 200 || !strings.Contains(strings.ToLower(body), "decision") || len(body) > maxAnswer) {
			t.Fatalf("%d %q turns a buyer away, %v", status, body, err)
		}
	})
}
