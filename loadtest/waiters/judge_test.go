package waiters

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/flashsale-engine/flashsale/admission"
	"github.com/flashsale-engine/flashsale/api/buyertoken"
)

var noon = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

func at(seconds float64) time.Time { return noon.Add(time.Duration(seconds * float64(time.Second))) }

// sale is a run of 1,000 waiters for 10,000 units as it should be: the front reaches 200
// places in 100 seconds, whoever is beyond what is left is told, all units are sold.
func sale() *run {
	cfg := Config{Seed: 7, Waiters: 1000, Units: 10_000}.WithDefaults()
	r := &run{cfg: cfg, e: &engineUnderTest{}, n: 1000, holder: make([]atomic.Uint32, 1100), placed: map[int64]int64{}, confirmed: map[string]string{}}
	for i := range 1000 {
		r.holder[i].Store(uint32(i + 1))
	}
	seed := admission.Seed{1, 2, 3}
	r.shuffle = admission.NewShuffle(seed, 1000)
	r.marks.joining, r.marks.joined, r.marks.opened, r.marks.ended = at(-11), at(-1), noon, at(100)
	n := r.n
	r.before = document{Commitment: admission.Commitment(saleID, seed)}
	for s := range 101 {
		reach := int64(max(1300-20*s, 200))
		r.timeline = append(r.timeline, moment{at: at(float64(s)), stock: stock{Sold: int64(100 * s)}, document: document{Now: at(float64(s)), Front: int64(2 * s), Reach: &reach, Joined: 1000,
			Commitment: r.before.Commitment, Seed: fmt.Sprintf("%x", seed), N: &n}})
	}
	for ticket := range r.n {
		r.placed[ticket] = int64(r.shuffle.Place(uint64(ticket)))
	}
	return r
}

// reasons judges fairness and honesty.
func reasons(r *run) (Report, string) {
	out := r.report()
	var all []string
	fail := func(format string, args ...any) { all = append(all, fmt.Sprintf(format, args...)) }
	r.judgeOrder(&out, fail)
	r.judgeGlances(fail)
	r.judgeHonesty(&out, fail)
	return out, strings.Join(all, "\n")
}

func TestASaleThatIsAsItShouldBePasses(t *testing.T) {
	r := sale()
	r.claims = []claim{{ticket: 1, place: 100, sent: at(52), got: at(52.1), admitted: true},
		{ticket: 2, place: 100, sent: at(49), got: at(49.1), early: true},
		{ticket: 1, place: 100, sent: at(90), got: at(90.1), admitted: true}, // the same again
		{ticket: 3, place: 100, sent: at(82), got: at(82.1)}}                 // when its lease was over
	r.lates = []lateJoin{{at(10), at(10.2), 1000, "waiting"}, {at(10.1), at(10.15), 1001, "waiting"}}
	r.holder[1000].Store(1001)
	r.glances = []glance{{at(50), 150, "waiting"}, {at(50), 90, "reached"}, {at(50), 101, "reached"}}
	out, why := reasons(r)
	if why != "" || out.Fairness.Admissions != 1 || out.Fairness.TurnedAway != 1 || out.Fairness.LateJoiners != 2 {
		t.Errorf("%s\n%+v", why, out.Fairness)
	}
	// 800 places were not reached, of which some gave their tickets back.
	var told int64
	for _, b := range out.Honesty.Bands {
		told += b.Waiters
	}
	gone := 0
	for place := int64(200); place < 1000; place++ {
		if r.cfg.fate(int(r.shuffle.Ticket(uint64(place)))).leaves {
			gone++
		}
	}
	if told != int64(800-gone) || gone == 0 {
		t.Errorf("%d were told, and %d had left", told, gone)
	}
	// Place 600 is out of reach after 35 seconds, place 200 after 55.
	if b := out.Honesty.Bands; b[0].Max != 35 || b[3].Max != 55 || b[3].Seen <= 55 || b[3].Seen > 58 || b[3].Sold != 0.53 {
		t.Errorf("%+v", b)
	}
	r.judgePlaces(context.Background(), &out, func(format string, args ...any) { t.Errorf(format, args...) })
	if !out.Fairness.All || !strings.HasPrefix(out.Fairness.Checker, "OK") {
		t.Errorf("%+v", out.Fairness)
	}
	if svg, err := out.Picture(); err != nil || !strings.Contains(string(svg), "1,000 wait for 10,000 units") {
		t.Errorf("%v %s", err, svg)
	}
}

func TestWhatMustNotBeIsFound(t *testing.T) {
	later := func(r *run, by int64) { // everybody is told so much later
		for i := range slices.Backward(r.timeline) {
			reach := *r.timeline[max(0, i-int(by))].Reach
			r.timeline[i].Reach = &reach
		}
	}
	for _, c := range []struct {
		name, want string
		do         func(r *run)
	}{
		{"pushed in", "place 100 was admitted before the front", func(r *run) {
			r.claims = []claim{{place: 100, sent: at(49.1), got: at(49.2), admitted: true, early: true}}
		}},
		{"admitted after the lease", "the lease is 30s", func(r *run) {
			r.claims = []claim{{place: 100, sent: at(82.5), got: at(82.6), admitted: true}}
		}},
		{"refused in time", "within the lease, and was not admitted", func(r *run) {
			r.claims = []claim{{place: 100, sent: at(60), got: at(60.1)}}
		}},
		{"late ones out of order", "ticket 1001 was handed out before a smaller one was asked for", func(r *run) {
			r.lates = []lateJoin{{at(11), at(11.2), 1000, "waiting"}, {at(10), at(10.5), 1001, "waiting"}}
		}},
		{"a ticket for two", "ticket 1000 was given to two", func(r *run) {
			r.lates = []lateJoin{{at(11), at(11.2), 1000, "waiting"}, {at(11), at(11.2), 1000, "waiting"}}
		}},
		{"hope at the door", `ticket 1000 was given out as "waiting"`, func(r *run) {
			r.lates = []lateJoin{{at(80), at(80.2), 1000, "waiting"}}
		}},
		{"a wrong poll", "place 150 was said to be reached", func(r *run) { r.glances = []glance{{at(50), 150, "reached"}} }},
		{"an old poll", "place 90 was said to be waiting", func(r *run) { r.glances = []glance{{at(50), 90, "waiting"}} }},
		{"told late", "some were not told yet when 83% of the units were sold; the bound is 78%", func(r *run) { later(r, 40) }},
		{"never told", "were never told", func(r *run) {
			for i := range r.timeline {
				r.timeline[i].Reach = nil
			}
		}},
		{"told too much", "20 places of 200 were reached after they had been told", func(r *run) {
			reach := int64(180)
			r.timeline[30].Reach = &reach
		}},
	} {
		r := sale()
		c.do(r)
		if _, why := reasons(r); !strings.Contains(why, c.want) {
			t.Errorf("%s: want %q, got %q", c.name, c.want, why)
		}
	}
}

func TestPlacesThatAreNotTheShufflesAreFound(t *testing.T) {
	for _, c := range []struct {
		name, want string
		do         func(r *run)
	}{
		{"a friend moved up", "were not confirmed", func(r *run) { r.placed[7], r.placed[8] = r.placed[8], r.placed[7] }},
		{"two at one place", "have the same place", func(r *run) { r.placed[7] = r.placed[8] }},
		{"another seed than was committed to", "commitment, seed or n have changed", func(r *run) { r.before.Commitment = admission.Commitment(saleID, admission.Seed{9}) }},
		{"a seed that changes", "commitment, seed or n have changed", func(r *run) { r.timeline[50].Seed = fmt.Sprintf("%x", admission.Seed{4}) }},
		{"a commitment to nothing", "were not confirmed", func(r *run) {
			r.before.Commitment = strings.Repeat("0", 64)
			for i := range r.timeline {
				r.timeline[i].Commitment = r.before.Commitment
			}
		}},
	} {
		r := sale()
		c.do(r)
		out, why := r.report(), ""
		r.judgePlaces(context.Background(), &out, func(format string, args ...any) { why += fmt.Sprintf(format, args...) + "\n" })
		if !strings.Contains(why, c.want) {
			t.Errorf("%s: want %q, got %q", c.name, c.want, why)
		}
	}
}

func TestATokenMadeOnTheFlyIsOneOfTheStorefronts(t *testing.T) {
	m := newMinter(buyerKey, time.Now(), time.Hour)
	for range 2 { // the second from a keyed hash that was used before
		tok, err := jwt.Parse(m.token("crowd-0000007"), func(*jwt.Token) (any, error) { return []byte(buyerKey), nil },
			jwt.WithValidMethods([]string{"HS256"}), jwt.WithAudience(buyertoken.DefaultAudience), jwt.WithExpirationRequired())
		if err != nil {
			t.Fatal(err)
		}
		if sub, _ := tok.Claims.GetSubject(); sub != "crowd-0000007" {
			t.Errorf("sub %q", sub)
		}
	}
}

func TestFatesAreDrawnFromTheSeed(t *testing.T) {
	c := Config{}.WithDefaults()
	var absent, late, want int
	for i := range 10_000 {
		f := c.fate(i)
		if f != c.fate(i) {
			t.Fatal("drawn twice, and another one")
		}
		if f.gone {
			absent++
		}
		if f.tardy {
			late++
		}
		if f.interested {
			want++
		}
	}
	if absent < 2800 || absent > 3200 || late < 140 || late > 260 || want < 8350 || want > 8650 {
		t.Errorf("%d gone, %d tardy, %d interested", absent, late, want)
	}
	other := c
	other.Seed = 2
	if c.fate(1) == other.fate(1) {
		t.Error("another seed draws the same")
	}
}

func TestACrowdThatCannotBeIsRefused(t *testing.T) {
	for _, c := range []Config{{Waiters: 1}, {Units: -1}, {Late: 2}, {Hurry: 0.5}, {Most: 2 * time.Hour}, {Connections: -1}} {
		if err := c.WithDefaults().Validate(); err == nil {
			t.Errorf("%+v", c)
		}
	}
}
