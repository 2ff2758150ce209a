package problem_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/flashsale-engine/flashsale/engine"
	"github.com/flashsale-engine/flashsale/internal/problem"
)

func TestAnErrorBecomesTheProblemThatItIs(t *testing.T) {
	secret := errors.New("dial tcp 10.0.0.1: refused")
	for name, c := range map[string]struct {
		err    error
		code   engine.Code
		status int
		retry  int
	}{
		"a refusal":                       {engine.E(engine.CodeSoldOut, "none"), engine.CodeSoldOut, 409, 0},
		"a wrapped one":                   {fmt.Errorf("x: %w", engine.Wrap(secret, engine.CodeUnavailable, "away").After(1500*time.Millisecond)), engine.CodeUnavailable, 503, 2},
		"a 503 that states no time":       {engine.E(engine.CodeOverloaded, ""), engine.CodeOverloaded, 503, 1},
		"a transient 409 that states one": {engine.E(engine.CodeAttemptInProgress, "").After(time.Second), engine.CodeAttemptInProgress, 409, 1},
		"no answer":                       {fmt.Errorf("%w: %w", engine.ErrUnknown, secret), engine.CodeUnavailable, 503, 1},
		"a deadline":                      {context.DeadlineExceeded, engine.CodeUnavailable, 503, 1},
		"a stranger":                      {secret, engine.CodeInternal, 500, 0},
		"a code that does not exist":      {engine.E("invented", "boo"), engine.CodeInternal, 500, 0},
	} {
		t.Run(name, func(t *testing.T) {
			p := problem.Of(c.err)
			if p.Code != c.code || p.Status != c.status || p.RetryAfter() != c.retry {
				t.Errorf("got %s %d, Retry-After %d", p.Code, p.Status, p.RetryAfter())
			}
			if text := string(p.Document("req_1")); strings.Contains(text, "10.0.0.1") || !strings.Contains(text, `"request_id":"req_1"`) {
				t.Errorf("the document is %s", text)
			}
		})
	}
}

func TestExtensionMembersDoNotReplaceTheProblemsOwn(t *testing.T) {
	doc := problem.Of(engine.E(engine.CodeSaleNotOpen, "not yet").With("opens_at", "2026-11-27T09:00:00Z").With("status", 200)).Document("")
	var m map[string]any
	if err := json.Unmarshal(doc, &m); err != nil {
		t.Fatal(err)
	}
	if m["status"] != 409.0 || m["opens_at"] != "2026-11-27T09:00:00Z" || m["detail"] != "not yet" {
		t.Errorf("got %s", doc)
	}
}

func TestEveryCodeOfTheEngineBecomesItsProblem(t *testing.T) {
	for code, class := range engine.Codes {
		var m struct {
			Type, Title, Detail string
			Status              int
			Code                engine.Code
			WhatToDo            string `json:"what_to_do"`
		}
		if err := json.Unmarshal(problem.Of(engine.E(code, "d")).Document(""), &m); err != nil {
			t.Fatal(err)
		}
		if m.Status != class.Status || m.WhatToDo != class.WhatToDo || m.Code != code || !strings.HasSuffix(m.Type, string(code)) || m.Title == "" {
			t.Errorf("%s: %+v", code, m)
		}
	}
}
