package sandbox

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"
)

// control posts to the control endpoint and wants a 200.
func control(t testing.TB, s *Server, path, payload string) got {
	t.Helper()
	g := send(t, s, "POST", "/control"+path, "", payload)
	if g.status != 200 {
		t.Fatalf("/control%s %s: %d %s", path, payload, g.status, g.raw)
	}
	return g
}

// pay authorises with a good card under the key, which is the attempt too.
func pay(t testing.TB, s *Server, key string) got {
	t.Helper()
	return send(t, s, "POST", "/v1/payment_intents", key, body("pm_card_visa", key))
}

func found(t testing.TB, s *Server, attempt string) (status Status) {
	t.Helper()
	g := send(t, s, "GET", "/v1/payment_intents/search?attempt="+attempt, "", "")
	if len(g.Data) == 1 {
		status = g.Data[0].Status
	}
	return status
}

// abandoned sends a request and says whether its connection was cut without an answer.
func abandoned(t testing.TB, s *Server, path, key, payload string) (cut bool) {
	t.Helper()
	defer func() {
		if p := recover(); p != nil {
			if cut = p == http.ErrAbortHandler; !cut { //nolint:errorlint // a panic value
				panic(p)
			}
		}
	}()
	r := httptest.NewRequest("POST", path, strings.NewReader(payload))
	r.Header.Set("Idempotency-Key", key)
	s.Handler().ServeHTTP(httptest.NewRecorder(), r)
	return false
}

func TestAScriptedFaultMeetsTheNextRequestsOfItsKindAndNoOthers(t *testing.T) {
	for _, c := range []struct {
		fault  string
		status int
		done   Status // what the books say afterwards; empty: nothing
	}{
		{`{"fault":"error"}`, 500, ""},
		{`{"fault":"error_after"}`, 500, Authorised},
		{`{"fault":"rate_limit"}`, 429, ""},
		{`{"fault":"outage"}`, 503, ""},
		{`{"fault":"slow","delay_ms":40}`, 200, Authorised},
		{`{"fault":"decline"}`, 402, Declined},
		{`{"fault":"decline","decline_code":"lost_card"}`, 402, Declined},
		{`{"fault":"requires_action"}`, 200, NeedsAction},
		{`{"fault":"processing"}`, 200, Processing},
	} {
		t.Run(c.fault, func(t *testing.T) {
			s := newServer(t, Config{})
			var waited time.Duration
			s.wait = func(d time.Duration, _ <-chan struct{}) bool { waited += d; return true }
			control(t, s, "/next", c.fault)
			send(t, s, "GET", "/v1/payment_intents", "", "") // another kind: not meant
			g := pay(t, s, "a")
			if g.status != c.status || found(t, s, "a") != c.done {
				t.Fatalf("%d %s, then %q", g.status, g.raw, found(t, s, "a"))
			}
			if limited := c.status == 429 || c.status == 503; limited != (g.header.Get("Retry-After") == "1") {
				t.Fatalf("Retry-After %q", g.header.Get("Retry-After"))
			}
			if strings.Contains(c.fault, "lost_card") && g.Error.DeclineCode != "lost_card" {
				t.Fatal(g.raw)
			}
			if strings.Contains(c.fault, "slow") != (waited == 40*time.Millisecond) {
				t.Fatalf("waited %s", waited)
			}
			if again := pay(t, s, "b"); again.status != 200 || again.Status != Authorised {
				t.Fatalf("the next one: %d %s", again.status, again.raw)
			}
		})
	}
}

func TestATimeoutIsCutWithoutAnAnswerBeforeOrAfterTheWork(t *testing.T) {
	for fault, want := range map[string]Status{"timeout_before": Authorised, "timeout_after": Captured} {
		s := newServer(t, Config{})
		control(t, s, "", `{"hang_ms":1}`)
		id := pay(t, s, "a").ID
		control(t, s, "/next", fmt.Sprintf(`{"op":"capture","fault":%q,"count":2}`, fault))
		for range 2 {
			if !abandoned(t, s, "/v1/payment_intents/"+id+"/capture", "", "") {
				t.Fatalf("%s: it answered", fault)
			}
		}
		if now := found(t, s, "a"); now != want {
			t.Fatalf("%s: %s", fault, now)
		}
		if g := send(t, s, "POST", "/v1/payment_intents/"+id+"/capture", "", ""); g.Status != Captured {
			t.Fatalf("%s, then: %s", fault, g.raw)
		}
	}
}

func TestACardThatTimesOutBeforeTheChargeNeverLeavesAPayment(t *testing.T) {
	s := newServer(t, Config{HangFor: time.Millisecond})
	for range 2 {
		if !abandoned(t, s, "/v1/payment_intents", "a", body("pm_sandbox_timeoutBeforeCharge", "a")) {
			t.Fatal("it answered")
		}
	}
	if now := found(t, s, "a"); now != "" {
		t.Fatal(now)
	}
	if g := send(t, s, "POST", "/v1/attempts/a/cancel", "", ""); g.Status != Cancelled {
		t.Fatal(g.raw)
	}
}

func TestCardsMisbehaveAsTheyAreCalled(t *testing.T) {
	for method, c := range map[string]struct {
		status int
		code   string
		done   Status
	}{
		"pm_card_mastercard":                         {200, "", Authorised},
		"pm_card_visa_chargeDeclined":                {402, "card_declined", Declined},
		"pm_card_chargeDeclinedExpiredCard":          {402, "expired_card", Declined},
		"pm_card_chargeDeclinedIncorrectCvc":         {402, "incorrect_cvc", Declined},
		"pm_card_chargeDeclinedProcessingError":      {402, "processing_error", Declined},
		"pm_card_visa_chargeDeclinedLostCard":        {402, "card_declined", Declined},
		"pm_card_radarBlock":                         {402, "card_declined", Declined},
		"pm_sandbox_rateLimit":                       {429, "rate_limit", ""},
		"pm_sandbox_outage":                          {503, "outage", ""},
		"pm_sandbox_errorAfterCharge":                {500, "internal", Authorised},
		"pm_card_threeDSecure2Required":              {200, "", NeedsAction},
		"pm_sandbox_processingDeclined":              {200, "", Processing},
		"pm_card_visa_chargeDeclinedLostCard_almost": {400, "resource_missing", ""},
	} {
		s := newServer(t, Config{})
		g := send(t, s, "POST", "/v1/payment_intents", "a", body(method, "a"))
		if g.status != c.status || g.Error.Code != c.code || found(t, s, "a") != c.done {
			t.Errorf("%s: %d %s, then %q", method, g.status, g.raw, found(t, s, "a"))
		}
	}
	for name, m := range Methods {
		if m.Does == "" {
			t.Errorf("%s does not say what it does", name)
		}
	}
}

func TestAFaultCanWaitForOneKeyAlone(t *testing.T) {
	s := newServer(t, Config{})
	control(t, s, "/next", `[{"op":"any","fault":"error","key":"b"},{"op":"authorise","fault":"decline","count":1}]`)
	if g := pay(t, s, "a"); g.status != 402 {
		t.Fatalf("a: %s", g.raw)
	}
	if g := pay(t, s, "b"); g.status != 500 {
		t.Fatalf("b: %s", g.raw)
	}
	if g := pay(t, s, "b"); g.status != 200 {
		t.Fatalf("b again: %s", g.raw)
	}
	if !s.faults.calm.Load() {
		t.Fatal("nothing is left, and requests still ask for their fate")
	}
}

func TestScriptsThatMeanNothingAreRefused(t *testing.T) {
	s := newServer(t, Config{})
	for _, bad := range []string{`{"fault":"flood"}`, `{"op":"dance","fault":"error"}`, `{"op":"capture","fault":"decline"}`, `{"op":"webhook","fault":"error"}`,
		`{"op":"authorise","fault":"late"}`, `{"fault":"error","count":-1}`, `{"fault":"error","delay_ms":-1}`, `{"fault":"error","cuont":1}`, `{}`, ``, `[{"fault":"error"},{}]`} {
		if g := send(t, s, "POST", "/control/next", "", bad); g.status != 400 {
			t.Errorf("%s: %d", bad, g.status)
		}
	}
	if g := send(t, s, "GET", "/control/next", "", ""); strings.Contains(g.raw, "error\"") {
		t.Errorf("part of a bad list was taken: %s", g.raw)
	}
	control(t, s, "/next", `{"fault":"error","count":5}`)
	if g := send(t, s, "DELETE", "/control/next", "", ""); g.status != 200 || strings.Contains(g.raw, "count") {
		t.Errorf("forgotten: %s", g.raw)
	}
	if g := pay(t, s, "a"); g.status != 200 {
		t.Errorf("a forgotten fault came: %s", g.raw)
	}
}

func TestRatesHoldAndTheSameSeedGivesTheSameStory(t *testing.T) {
	story := func(seed int) (out []string) {
		s := newServer(t, Config{})
		control(t, s, "", fmt.Sprintf(`{"decline_rate":0.1,"error_rate":0.05,"timeout_after_rate":0.1,"timeout_before_rate":0.05,"rate_limit_rate":0.1,"hang_ms":1,"seed":%d,"ops":["authorise"]}`, seed))
		for i := range 400 {
			key := fmt.Sprint("k", i)
			out = append(out, answerOf(t, s, key)+" "+string(found(t, s, key)))
		}
		return out
	}
	first := story(7)
	if !slices.Equal(first, story(7)) {
		t.Error("the same seed told another story")
	}
	if slices.Equal(first, story(8)) {
		t.Error("another seed told the same story")
	}
	counts := map[string]int{}
	for _, line := range first {
		counts[line]++
	}
	for what, around := range map[string]int{"cut requires_capture": 36, "cut ": 20, "429 ": 40, "402 requires_payment_method": 28, "500 ": 10, "500 requires_capture": 9, "200 requires_capture": 252} {
		if n := counts[what]; n < around/3 || n > around*2 {
			t.Errorf("%q came %d times, expected around %d: %v", what, n, around, counts)
		}
	}
}

// answerOf authorises and gives the status of the answer, or "cut".
func answerOf(t testing.TB, s *Server, key string) (what string) {
	t.Helper()
	defer func() {
		if p := recover(); p != nil {
			what = "cut"
		}
	}()
	return fmt.Sprint(pay(t, s, key).status)
}

func TestRatesLeaveReadsAndOtherOperationsAlone(t *testing.T) {
	s := newServer(t, Config{})
	control(t, s, "", `{"error_rate":1,"ops":["capture"]}`)
	g := pay(t, s, "a")
	if g.status != 200 {
		t.Fatalf("authorise: %s", g.raw)
	}
	if g := send(t, s, "GET", "/v1/payment_intents/"+g.ID, "", ""); g.status != 200 {
		t.Fatalf("read: %s", g.raw)
	}
	if g := send(t, s, "POST", "/v1/payment_intents/"+g.ID+"/capture", "", ""); g.status != 500 {
		t.Fatalf("capture: %s", g.raw)
	}
}

func TestLatencyJittersBetweenItsBounds(t *testing.T) {
	s := newServer(t, Config{})
	control(t, s, "", `{"latency_ms":20,"jitter_ms":10}`)
	var waits []time.Duration
	s.wait = func(d time.Duration, _ <-chan struct{}) bool { waits = append(waits, d); return true }
	for i := range 50 {
		pay(t, s, fmt.Sprint(i))
	}
	least, most := slices.Min(waits), slices.Max(waits)
	if len(waits) != 50 || least < 20*time.Millisecond || most >= 30*time.Millisecond || least == most {
		t.Fatalf("%d waits between %s and %s", len(waits), least, most)
	}
}

func TestAnOutageEndsByItselfAndSaysWhen(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	s := newServer(t, Config{Now: func() time.Time { return now }})
	control(t, s, "", `{"outage_for_ms":10000}`)
	now = now.Add(4 * time.Second)
	if g := pay(t, s, "a"); g.status != 503 || g.header.Get("Retry-After") != "6" {
		t.Fatalf("%d, Retry-After %s", g.status, g.header.Get("Retry-After"))
	}
	if c := s.Control(); !c.Outage || c.OutageForMS != 6000 {
		t.Fatalf("%+v", c)
	}
	control(t, s, "", `{"seed":1}`) // something else does not prolong it
	now = now.Add(6 * time.Second)
	if g := pay(t, s, "a"); g.status != 200 {
		t.Fatalf("%d %s", g.status, g.raw)
	}
	if c := s.Control(); c.Outage || c.OutageForMS != 0 || !s.faults.calm.Load() {
		t.Fatalf("%+v", c)
	}
	control(t, s, "", `{"outage":true,"outage_for_ms":10000}`)
	control(t, s, "", `{"outage":false}`)
	if g := pay(t, s, "b"); g.status != 200 {
		t.Fatalf("ended by hand: %d", g.status)
	}
}

func TestControlsThatCannotBeAreRefusedAndChangeNothing(t *testing.T) {
	s := newServer(t, Config{})
	control(t, s, "", `{"ops":["capture"],"jitter_ms":3}`)
	for _, bad := range []string{`{"error_rate":0.6,"timeout_after_rate":0.6}`, `{"decline_rate":0.6,"action_rate":0.6}`, `{"webhook_forged_rate":2}`, `{"hang_ms":-1}`,
		`{"jitter_ms":700000}`, `{"retry_after_s":4000}`, `{"ops":["dance"]}`, `{"ops":["webhook"]}`, `{"rate_limit_rate":-0.1}`, ``} {
		if g := send(t, s, "POST", "/control", "", bad); g.status != 400 {
			t.Errorf("%s: %d", bad, g.status)
		}
	}
	if c := s.Control(); c.ErrorRate != 0 || c.JitterMS != 3 || len(c.Ops) != 1 || c.Ops[0] != OpCapture {
		t.Errorf("%+v", c)
	}
	if _, err := New(Config{Control: Control{ErrorRate: 2}}); err == nil {
		t.Error("a configuration with an error rate of 2 was taken")
	}
}

func TestASearchThatLagsSeesTheBooksAsTheyWere(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	s := newServer(t, Config{Now: func() time.Time { return now }})
	control(t, s, "", `{"search_lag_ms":1000}`)
	id := pay(t, s, "a").ID
	if st := found(t, s, "a"); st != "" {
		t.Fatalf("seen at once: %s", st)
	}
	now = now.Add(time.Second)
	send(t, s, "POST", "/v1/payment_intents/"+id+"/capture", "", "")
	if st := found(t, s, "a"); st != Authorised {
		t.Fatalf("after the capture: %q", st)
	}
	if g := send(t, s, "GET", "/v1/payment_intents/"+id, "", ""); g.Status != Captured {
		t.Fatalf("read by its id: %s", g.raw)
	}
	now = now.Add(time.Second)
	if st := found(t, s, "a"); st != Captured {
		t.Fatalf("in the end: %s", st)
	}
}

func TestSixtyFourCallersAtOnceEachGetTheirOwnPayment(t *testing.T) {
	s := newServer(t, Config{})
	if err := s.Start("127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}
	defer client.CloseIdleConnections()
	const callers, each = 64, 20
	errs := make(chan error, callers)
	for n := range callers {
		go func() {
			errs <- func() error {
				for i := range each {
					key := fmt.Sprintf("%d-%d", n, i)
					status, text, err := post(t.Context(), client, s.URL()+"/v1/payment_intents", key, strings.Replace(body("pm_card_visa", key), "rsv_1", key, 1))
					if err != nil || status != 200 {
						return fmt.Errorf("authorise: %d %s %w", status, text, err)
					}
					id, _, _ := strings.Cut(strings.TrimPrefix(text, `{"id":"`), `"`)
					if status, text, err = post(t.Context(), client, s.URL()+"/v1/payment_intents/"+id+"/capture", key+":capture", ""); err != nil || status != 200 || !strings.Contains(text, key) {
						return fmt.Errorf("capture: %d %s %w", status, text, err)
					}
				}
				return nil
			}()
		}()
	}
	for range callers {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	b, err := s.Books()
	if err != nil || b.Count != callers*each || b.Totals["usd"].Captured != callers*each*4999 || len(b.Doubles) != 0 {
		t.Fatalf("%d payments, %+v, %v", b.Count, b.Totals, err)
	}
}

func post(ctx context.Context, client *http.Client, url, key, payload string) (int, string, error) {
	r, err := http.NewRequestWithContext(ctx, "POST", url, strings.NewReader(payload))
	if err != nil {
		return 0, "", err
	}
	r.Header.Set("Idempotency-Key", key)
	res, err := client.Do(r)
	if err != nil {
		return 0, "", err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	return res.StatusCode, string(b), err
}
