package waiters

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"sort"
	"time"

	"github.com/flashsale-engine/flashsale/loadtest/rest"
)

// document is the room's public one.
type document struct {
	State      string    `json:"state"`
	Commitment string    `json:"commitment"`
	Seed       string    `json:"seed"`
	N          *int64    `json:"n"`
	OpenedAt   time.Time `json:"opened_at"`
	Front      int64     `json:"front"`
	Rate       float64   `json:"rate"`
	Reach      *int64    `json:"reach"`
	Limit      string    `json:"limit"`
	Joined     int64     `json:"joined"`
	Claimed    int64     `json:"claimed"`
	Left       int64     `json:"left"`
	Lapsed     int64     `json:"lapsed"`
	Now        time.Time `json:"now"`
}

// stock is what the gate says of the sale's units.
type stock struct{ Available, Held, Paying, Sold int64 }

// moment is what was known at one look.
type moment struct {
	at time.Time // when the answer was here
	document
	stock
}

// look fetches the document once, for all, as a CDN would; and the units, which only
// the run's judge needs.
func (r *run) look(ctx context.Context) (m moment, err error) {
	if err := rest.JSON(ctx, http.MethodGet, r.e.api+r.queue, "", nil, &m.document); err != nil {
		return m, err
	}
	m.at = time.Now()
	var v struct{ Items []stock }
	if err := rest.JSON(ctx, http.MethodGet, r.e.admin+"/admin/v1/sales/"+saleID, adminToken, nil, &v); err != nil {
		return m, err
	}
	if len(v.Items) != 1 {
		return m, fmt.Errorf("waiters: the sale has %d items, not one", len(v.Items))
	}
	m.stock = v.Items[0]
	return m, nil
}

// timeline is what the edge saw, in order.
type timeline []moment

// first gives the first moment from i on of which f is true; f must stay true.
func (t timeline) first(f func(moment) bool) (moment, bool) {
	i := sort.Search(len(t), func(i int) bool { return f(t[i]) })
	if i == len(t) {
		return moment{}, false
	}
	return t[i], true
}

// sold is how many units are known to have been sold by a time.
func (t timeline) sold(by time.Time) int64 {
	i := sort.Search(len(t), func(i int) bool { return t[i].at.After(by) })
	if i == 0 {
		return 0
	}
	return t[i-1].Sold
}

// reached brackets when the front passed a place: not before, and by.
func (t timeline) reached(place int64) (notBefore, by time.Time, ok bool) {
	i := sort.Search(len(t), func(i int) bool { return t[i].Front > place })
	if i == len(t) {
		return time.Time{}, time.Time{}, false
	}
	if i > 0 {
		notBefore = t[i-1].Now
	}
	return notBefore, t[i].Now, true
}

// fronts brackets the front that an answer of this time may have known: documents
// may be two seconds old, one at the node and one on the way.
func (t timeline) fronts(at time.Time) (least, most int64) {
	for _, m := range t {
		if m.Now.Before(at.Add(-2 * time.Second)) {
			least = m.Front
		}
		most = m.Front
		if m.Now.After(at) {
			break
		}
	}
	return least, most
}

// events is the document as it comes over the event stream.
func (d *document) event(data []byte) error { return json.Unmarshal(data, d) }
