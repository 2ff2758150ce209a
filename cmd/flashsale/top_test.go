package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/flashsale-engine/flashsale/ops/live"
)

func TestTopShowsWhatTheConsoleShows(t *testing.T) {
	rate, used, now := 12.5, .3, time.Now().UTC()
	frame, err := json.Marshal(live.Live{At: now, Node: "n1", Proof: live.Proof{Lost: 3, Fast: &now}, Silent: []live.Silence{{Who: "the gate of other", Error: "unavailable"}},
		Sales: []live.Sale{{Sale: "other", State: "closed", Gate: "absent"},
			{Sale: "drop", State: "open", Gate: "live", Epoch: 2, Binds: "demand", SellRate: &rate, Units: &live.Units{Stock: 10, Available: 4, Held: 3, Paying: 2, Sold: 1, Conserved: true}}},
		Headroom: live.Headroom{Used: &used, By: "Redis", Knee: &live.Knee{Used: live.Interval{Value: .5, Low: .4, High: .7}, Binds: "Postgres", Rate: 12.5, Most: live.Interval{Value: 25, Low: 18, High: 31},
			Measured: "2026-11-29", On: "a processor"}},
		Needs: live.Needs{Redis: []live.Need{{Name: "CPU", Unit: "share"}}}})
	if err != nil {
		t.Fatal(err)
	}
	node := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer the-viewer's-secret" {
			w.WriteHeader(http.StatusUnauthorized)
			fmt.Fprint(w, `{"status":401,"code":"unauthenticated","detail":"this admin token is not known"}`)
			return
		}
		if r.URL.Path != "/admin/v1/live" || r.Header.Get("Accept") != "text/event-stream" {
			t.Errorf("asked for %s as %q", r.URL.Path, r.Header.Get("Accept"))
		}
		fmt.Fprintf(w, "event: past\ndata: []\n\nevent: live\ndata: %s\n\n", frame)
	}))
	defer node.Close()
	out, errs, status := command(t, "top", "--once", "--admin", node.URL, "--token", "the-viewer's-secret")
	for _, want := range []string{"OVERSOLD 0 · LOST 3 · DRIFT 0 · UNPAID 0", "everything not yet", "NO ANSWER from the gate of other", "10 stock = 4 available + 3 held + 2 paying + 1 sold", "sold 12.5/s", "CPU  –",
		"headroom 70% (most used: Redis)", "50% [40, 70] of the way to the knee (first there: Postgres); 12.5/s of 25/s [18, 31]; model of 2026-11-29, a processor"} {
		if !strings.Contains(out, want) {
			t.Errorf("it lacks %q:\n%s", want, out)
		}
	}
	if status != exitOK || errs != "" || strings.Contains(out, "\x1b[") {
		t.Errorf("status %d, %q", status, errs)
	}
	if _, errs, status := command(t, "sale", "status", "drop", "--watch", "--admin", node.URL, "--token", "another"); status != exitFound || !strings.Contains(errs, "not known") {
		t.Errorf("a token that nobody knows: status %d, %s", status, errs)
	}
}
