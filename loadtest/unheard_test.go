package loadtest

import (
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
)

// A reservation whose answer was lost, and whose time is over when the buyer
// repeats the request, is given as it is: expired. To a first request that is a
// contradiction.
func TestAHoldThatExpiredUnheardIsAnEndAndAFirstAnswerThatIsExpiredIsNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		expired := func(w http.ResponseWriter, r *request) {
			answerWith(w, 201, map[string]any{"id": "rsv_9", "buyer": r.buyer, "state": "expired", "lines": []line{{r.sku, r.quantity}}})
		}
		cfg := crowd()
		cfg.Buyers = 1
		s := newShop(t, 1)
		s.script = func(w http.ResponseWriter, r *request) bool {
			if !strings.HasSuffix(r.path, "/reservations") {
				return false
			}
			if r.nth == 1 {
				problem(w, 503, "unavailable", "1")
			} else {
				expired(w, r)
			}
			return true
		}
		out := ride(t, s, cfg)
		passes(t, out)
		if out.Expired != 1 || len(out.Orders) != 0 || len(out.Contradictions) != 0 {
			t.Errorf("expired %d, told %v, contradictions %v", out.Expired, out.Orders, out.Contradictions)
		}

		s = newShop(t, 1)
		s.script = func(w http.ResponseWriter, r *request) bool { expired(w, r); return true }
		out = ride(t, s, cfg)
		failsFor(t, out, `state "expired"`)
		if out.Failures["reserve 201 expired"] != 1 || len(out.Contradictions) != 1 {
			t.Errorf("failures %v, contradictions %v", out.Failures, out.Contradictions)
		}
	})
}

func TestAReportNamesTheOrdersThatBuyersWereTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := ride(t, newShop(t, 3), crowd())
		if len(out.Orders) != 3 {
			t.Fatalf("told: %v", out.Orders)
		}
		for _, o := range out.Orders {
			if !strings.HasPrefix(o.Order, "ord_") || !strings.HasPrefix(o.Reservation, "rsv_") || !strings.HasPrefix(o.Buyer, "load-") || o.SKU != "tee" || o.Units != 1 {
				t.Errorf("told: %+v", o)
			}
		}
	})
}
