package main

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
	"time"
)

// buy is what a storefront does for one buyer: the same key again while the
// answer is transient, a new one after a decline, and after a 202 it polls. A
// reservation that is payable again is paid under the same key first: that tells
// whether the payment has ended or was only never sent.
func (s *storm) buy(id, token string, due time.Time) {
	for key, asked := 1, false; time.Now().Before(s.giveUp); asked = true {
		got := s.p.checkout(token, id, "pay-"+strconv.Itoa(key), "pm_card_visa")
		s.heard(due, got, asked)
		switch {
		case got.Status == 201:
			s.end(due, "order")
			return
		case got.Status == 202, got.Code == "already_paid":
			if state := s.poll(id, token); state != "held" {
				s.end(due, state)
				return
			}
		case got.Status == 402:
			key++
		case got.Header.Get("Retry-After") != "", got.Status == 0, got.Status == 408: // away, cut, or too slow in writing
			<-time.After(told(got))
		default:
			s.end(due, fmt.Sprint(got.Status, " ", got.Code))
			return
		}
	}
	s.end(due, "gave up")
}

// poll looks at a reservation until it is an order, payable again or over.
func (s *storm) poll(id, token string) string {
	for got := (reply{}); time.Now().Before(s.giveUp); <-time.After(told(got)) {
		got = s.p.reservation(token, id)
		switch state := got.text("state"); state {
		case "confirmed":
			return "order"
		case "held", "released", "expired", "refused":
			return state
		}
	}
	return "gave up"
}

// told is when to come back: as the answer says, or in a second; in part drawn,
// so that buyers who were turned away together do not return together.
func told(got reply) time.Duration {
	n, err := strconv.Atoi(got.Header.Get("Retry-After"))
	if err != nil {
		n = 1
	}
	d := time.Duration(n) * time.Second
	return d/2 + rand.N(d)
}

func (s *storm) phase(due time.Time) string {
	switch at := due.Sub(s.began); {
	case at < s.outage:
		return "before"
	case at < s.outage+s.still:
		return "during"
	}
	return "after"
}

func (s *storm) heard(due time.Time, got reply, asked bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests++
	if got.text("decline_code") == "payment_cancelled" {
		s.cancelled++
	}
	if asked {
		return
	}
	phase := s.phase(due)
	s.said[fmt.Sprintf("%s: %d %s", phase, got.Status, got.Code)]++
	s.answered[phase] = append(s.answered[phase], time.Since(due))
}

func (s *storm) end(due time.Time, how string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.became[how]++
	if how == "order" {
		phase := s.phase(due)
		s.ordered[phase] = append(s.ordered[phase], time.Since(due))
	}
}

func (s *storm) report(t *testing.T, mode string, states map[string]int, toldAll, took time.Duration) {
	t.Logf("breakers %s: %d buyers in %s, silence of %s; checkouts sent: %d, of payments that had been cancelled unseen: %d", mode, s.n, s.lasts, s.still, s.requests, s.cancelled)
	t.Logf("first answers %v", s.said)
	for _, phase := range phases {
		a, o := s.answered[phase], s.ordered[phase]
		t.Logf("%-7s %5d buyers: first answer p50 %s p99 %s; order known p50 %s p99 %s", phase, len(a), quantile(a, 50), quantile(a, 99), quantile(o, 50), quantile(o, 99))
	}
	if s.opened > 0 {
		t.Logf("the breaker opened %s after the silence began and was closed %s after it ended", s.opened.Round(10*time.Millisecond), s.closed.Round(10*time.Millisecond))
	}
	t.Logf("buyers ended as %v, holds as %v; the last was told %s after the last came, and all was captured and verified %s after", s.became, states, toldAll.Round(10*time.Millisecond), took.Round(10*time.Millisecond))
}

func quantile(all []time.Duration, percent int) time.Duration {
	if len(all) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(all))
	return sorted[(len(sorted)-1)*percent/100].Round(100 * time.Microsecond)
}
