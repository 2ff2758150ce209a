package chaos

import (
	"strings"
	"testing"

	"github.com/flashsale-engine/flashsale/loadtest"
)

// goodBooks are two orders, both paid, one of them told to its buyer.
func goodBooks() (books, []loadtest.Told) {
	b := books{
		orders: map[string]bookedOrder{"ord_1": {"confirmed", "ann", 1500}, "ord_2": {"confirmed", "bob", 1500}, "ord_3": {"refused", "cid", 1500}},
		units:  map[[2]string]int64{{"one", "A"}: 2},
		stock:  map[[2]string][2]int64{{"one", "A"}: {2, 2}},
		intents: []intent{
			{ID: "pi_1", Status: "succeeded", Received: 1500, Metadata: map[string]string{"order": "ord_1"}},
			{ID: "pi_2", Status: "succeeded", Received: 1500, Metadata: map[string]string{"order": "ord_2"}},
			{ID: "pi_3", Status: "canceled", Metadata: map[string]string{"order": "ord_3"}},
			{ID: "pi_4", Status: "succeeded", Received: 1500, Refunded: 1500, Metadata: map[string]string{"order": "ord_4"}},
		},
	}
	return b, []loadtest.Told{{Order: "ord_1", Buyer: "ann"}}
}

func TestBooksThatAgreeAreRight(t *testing.T) {
	b, told := goodBooks()
	if w := b.wrongs(told); len(w) > 0 {
		t.Error(w)
	}
}

func TestWhateverIsWrongInTheBooksIsFound(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(b *books)
		want  string
	}{
		"an acknowledged order is gone": {func(b *books) { delete(b.orders, "ord_1"); b.intents = b.intents[1:] }, "LOST: order ord_1"},
		"an acknowledged order was refused": {func(b *books) {
			b.orders["ord_1"] = bookedOrder{"refused", "ann", 1500}
			b.intents = b.intents[1:]
		}, "LOST: order ord_1"},
		"an acknowledged order is another's": {func(b *books) { b.orders["ord_1"] = bookedOrder{"confirmed", "eve", 1500} }, "belongs to eve"},
		"more in orders than in stock":       {func(b *books) { b.units[[2]string{"one", "A"}] = 3 }, "OVERSOLD"},
		"more sold than in stock":            {func(b *books) { b.stock[[2]string{"one", "A"}] = [2]int64{1, 2} }, "OVERSOLD"},
		"sold without orders":                {func(b *books) { b.units[[2]string{"one", "A"}] = 1 }, "DRIFT"},
		"money without an order":             {func(b *books) { delete(b.orders, "ord_2") }, "UNPAID: payment pi_2"},
		"money for a refused order":          {func(b *books) { b.intents[2].Status, b.intents[2].Received = "succeeded", 1500 }, "UNPAID: payment pi_3"},
		"an order without money":             {func(b *books) { b.intents = b.intents[:1] }, "order ord_2 costs 1500 and 0"},
		"an order paid twice": {func(b *books) {
			b.intents = append(b.intents, intent{ID: "pi_5", Status: "succeeded", Received: 1500, Metadata: map[string]string{"order": "ord_1"}})
		}, "order ord_1 costs 1500 and 3000"},
		"an authorisation that nobody ended": {func(b *books) { b.intents[2].Status = "requires_capture" }, "still authorised"},
		"a buyer over the limit":             {func(b *books) { b.buyers = [][]string{{"one", "ann", "3"}} }, "the limit is 2"},
	} {
		t.Run(name, func(t *testing.T) {
			b, told := goodBooks()
			c.spoil(&b)
			if w := strings.Join(b.wrongs(told), "\n"); !strings.Contains(w, c.want) {
				t.Errorf("found: %q", w)
			}
		})
	}
}

func TestBuyersWithoutAnAnswerAreWrong(t *testing.T) {
	lossy := Plan{Events: []Event{{Fault: "redis.flushall"}}}
	for name, c := range map[string]struct {
		r     Report
		wrong bool
	}{
		"all served":                        {Report{Crowd: crowd{Arrivals: 3, Confirmed: 3}}, false},
		"pending":                           {Report{Crowd: crowd{Pending: 1}}, true},
		"unfinished":                        {Report{Crowd: crowd{Unfinished: 1}}, true},
		"refused":                           {Report{Crowd: crowd{Refused: 1}}, true},
		"refused after the gate forgot":     {Report{Crowd: crowd{Refused: 1}, Plan: lossy}, false},
		"pending after the gate forgot":     {Report{Crowd: crowd{Pending: 1}, Plan: lossy}, true},
		"an answer that is none":            {Report{Crowd: crowd{Failed: 1, Failures: map[string]int64{"checkout 404 not_found": 1}}}, true},
		"given back, as the state table is": {Report{Crowd: crowd{Failed: 1, Failures: map[string]int64{"checkout 409 reservation_released": 1}}}, false},
	} {
		t.Run(name, func(t *testing.T) {
			c.r.crowdWrongs()
			if wrong := len(c.r.Wrong) > 0; wrong != c.wrong {
				t.Errorf("found: %v", c.r.Wrong)
			}
		})
	}
}
