package buyerkeys

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"

	"github.com/flashsale-engine/flashsale/api"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// setOf is a JWK Set with an Ed25519 key per kid.
func setOf(kids ...string) string {
	var keys []string
	for _, kid := range kids {
		seed := bytes.Repeat([]byte(kid[:1]), ed25519.SeedSize)
		public := ed25519.NewKeyFromSeed(seed).Public().(ed25519.PublicKey)
		keys = append(keys, fmt.Sprintf(`{"kid":%q,"kty":"OKP","crv":"Ed25519","x":%q}`, kid, base64.RawURLEncoding.EncodeToString(public)))
	}
	return `{"keys":[` + strings.Join(keys, ",") + `]}`
}

// site serves a set, or whatever a test wants instead.
type site struct {
	*httptest.Server
	handler atomic.Pointer[http.HandlerFunc]
	asked   atomic.Int64
}

func newSite(t *testing.T, text string) *site {
	t.Helper()
	s := &site{}
	s.says(text)
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.asked.Add(1)
		(*s.handler.Load())(w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *site) does(f http.HandlerFunc) { s.handler.Store(&f) }
func (s *site) says(text string) {
	s.does(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(text)) })
}
func (s *site) status(code int) {
	s.does(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) })
}

// used is what a source hands out.
type used struct {
	mu    sync.Mutex
	keys  int
	times int
	told  chan int // of each time, how many keys; nil: nobody listens
}

func (u *used) use(keys []api.Key) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.keys, u.times = len(keys), u.times+1
	if u.told != nil {
		u.told <- len(keys)
	}
	return nil
}

func open(t *testing.T, from string) (*Source, *used, *prometheus.Registry, *bytes.Buffer) {
	t.Helper()
	reg, log, u := prometheus.NewRegistry(), &bytes.Buffer{}, &used{}
	s, err := New(Config{From: from, Every: time.Hour, Registerer: reg, Log: slog.New(slog.NewTextHandler(log, nil))})
	must(t, err)
	t.Cleanup(s.Close)
	s.Use(u.use)
	return s, u, reg, log
}

// put says which look is under way, and gives the one that was.
func (s *Source) put(l *look) *look {
	s.mu.Lock()
	defer s.mu.Unlock()
	was := s.now
	s.now = l
	return was
}

// look has the set looked at now.
func (s *Source) lookNow() { <-s.begin(false).done }

func TestKeysFollowTheSetAndStayWhenItCannotBeRead(t *testing.T) {
	at := newSite(t, setOf("a"))
	s, u, reg, log := open(t, at.URL)
	keys, err := s.Read(t.Context())
	must(t, err)
	if len(keys) != 1 {
		t.Fatalf("%d keys", len(keys))
	}
	at.says(setOf("a", "b"))
	s.lookNow()
	s.lookNow() // unchanged: nobody is told
	if u.keys != 2 || u.times != 1 {
		t.Errorf("%+v", u)
	}
	at.status(503)
	s.lookNow()
	at.says("<html>")
	s.lookNow()
	if u.times != 1 || s.count.Load() != 2 {
		t.Errorf("an outage changed the keys: %+v", u)
	}
	if n := strings.Count(log.String(), "cannot be read"); n != 1 {
		t.Errorf("an outage is told %d times:\n%s", n, log)
	}
	if n := testutil.ToFloat64(s.failed); n != 2 {
		t.Errorf("%v failures", n)
	}
	at.says(setOf("b"))
	s.lookNow()
	if u.keys != 1 || u.times != 2 || !strings.Contains(log.String(), "can be read again") {
		t.Errorf("%+v\n%s", u, log)
	}
	if n, err := testutil.GatherAndCount(reg, "flashsale_buyer_keys", "flashsale_buyer_keys_age_seconds", "flashsale_buyer_keys_refresh_failures_total"); err != nil || n != 3 {
		t.Errorf("%d metrics, %v", n, err)
	}
}

func TestAServerThatIsOddIsNotTrusted(t *testing.T) {
	other := newSite(t, setOf("evil"))
	at := newSite(t, "")
	to := func(where string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, where, http.StatusFound) }
	}
	for name, c := range map[string]struct {
		does    http.HandlerFunc
		refused bool // waiting would not mend it
	}{
		"garbage":  {func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>")) }, true},
		"oversize": {func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, maxSet+1)) }, true},
		"a secret": {func(w http.ResponseWriter, _ *http.Request) {
			_, _ = fmt.Fprintf(w, `{"keys":[{"kty":"oct","k":%q}]}`, strings.Repeat("A", 64))
		}, true},
		"elsewhere":          {to(other.URL), true},
		"elsewhere by https": {to(strings.Replace(at.URL, "http:", "https:", 1)), true},
		"in circles":         {to("/again"), true},
		"not found":          {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(404) }, true},
		"in trouble":         {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) }, false},
		"busy":               {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(429) }, false},
	} {
		at.does(c.does)
		s, err := New(Config{From: at.URL})
		must(t, err)
		if keys, err := s.Read(t.Context()); err == nil || Refused(err) != c.refused {
			t.Errorf("%s: %d keys, %v", name, len(keys), err)
		}
		s.Close()
	}
	if other.asked.Load() != 0 {
		t.Error("another host was asked")
	}
	at.does(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/" {
			http.Redirect(w, r, "/set", http.StatusFound)
			return
		}
		_, _ = w.Write([]byte(setOf("a")))
	})
	s, _, _, _ := open(t, at.URL)
	if _, err := s.Read(t.Context()); err != nil {
		t.Errorf("within its host: %v", err)
	}
}

func TestManyUnknownKidsCauseOneLookAndWaitASecondAtMost(t *testing.T) {
	at := newSite(t, setOf("a"))
	s, u, _, _ := open(t, at.URL)
	_, err := s.Read(t.Context())
	must(t, err)
	at.asked.Store(0)
	at.says(setOf("a", "b"))
	var all sync.WaitGroup
	for range 200 {
		all.Go(s.Unknown)
	}
	all.Wait()
	if l := s.put(nil); l != nil { // slower than a token's patience
		<-l.done
	}
	if at.asked.Load() != 1 || u.keys != 2 {
		t.Errorf("%d looks, %+v", at.asked.Load(), u)
	}
	s.Unknown() // too soon
	if l := s.begin(true); l != nil || at.asked.Load() != 1 {
		t.Errorf("%d looks, another under way: %v", at.asked.Load(), l != nil)
	}

	// A look without an end keeps all of them waiting, and nobody for longer than a second.
	endless := &look{began: time.Now(), done: make(chan struct{})}
	s.put(endless)
	for range 50 {
		all.Go(s.Unknown)
	}
	gone := make(chan struct{})
	go func() { all.Wait(); close(gone) }()
	select {
	case <-gone:
	case <-time.After(time.Minute):
		t.Error("they wait for the end of the look")
		close(endless.done)
		<-gone
	}
	if took := time.Since(endless.began); took < asksWait || at.asked.Load() != 1 {
		t.Errorf("%d looks, in %s", at.asked.Load(), took)
	}
}

func TestASlowServerIsGivenUp(t *testing.T) {
	at := newSite(t, "")
	done := make(chan struct{})
	at.does(func(w http.ResponseWriter, _ *http.Request) {
		for { // a byte now and then does not keep it going
			select {
			case <-done:
				return
			case <-time.After(100 * time.Millisecond):
				_, _ = w.Write([]byte(" "))
				w.(http.Flusher).Flush()
			}
		}
	})
	defer close(done)
	s, _, _, _ := open(t, at.URL)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if _, err := s.Read(ctx); err == nil || Refused(err) || ctx.Err() != nil {
		t.Errorf("%v, and the test's own time is over: %v", err, ctx.Err())
	}
}

func TestAFileIsReadAgain(t *testing.T) {
	file := filepath.Join(t.TempDir(), "set.json")
	must(t, os.WriteFile(file, []byte(setOf("a")), 0o600))
	must(t, Check(file))
	s, u, _, log := open(t, file)
	s.c.Every, u.told = 50*time.Millisecond, make(chan int, 1)
	_, err := s.Read(t.Context())
	must(t, err)
	var run sync.WaitGroup
	ctx, stop := context.WithCancel(t.Context())
	run.Go(func() { _ = s.Run(ctx) })
	defer run.Wait()
	defer stop()
	has := func(keys int) {
		t.Helper()
		select {
		case n := <-u.told:
			if n != keys {
				t.Fatalf("%d keys, not %d", n, keys)
			}
		case <-time.After(time.Minute):
			t.Fatalf("not %d keys\n%s", keys, log)
		}
	}
	// A look under way may have read the file before it changed: the next has not.
	lookAfresh := func() { s.lookNow(); s.lookNow() }
	secret := `{"keys":[{"kty":"oct","k":"` + strings.Repeat("A", 64) + `"},` + setOf("b")[len(`{"keys":[`):]
	put := func(text string) { // at once: a half-written set is none
		must(t, os.WriteFile(file+".new", []byte(text), 0o600))
		must(t, os.Rename(file+".new", file))
	}
	put(secret) // a secret may be in a file
	has(2)
	must(t, os.Remove(file))
	lookAfresh()
	if n := testutil.ToFloat64(s.failed); n == 0 || s.count.Load() != 2 {
		t.Errorf("without the file: %v failures, %d keys", n, s.count.Load())
	}
	put(setOf("b"))
	has(1)
}

func TestPlacesThatCannotBeTrustedAreRefused(t *testing.T) {
	for from, says := range map[string]string{
		"http://shop.example/set":      "use https",
		"http://127.0.0.1.example/set": "use https",
		"ftp://shop.example/set":       "https://host/path",
		"https://":                     "https://host/path",
		"no-such-file":                 "no such file",
	} {
		if err := Check(from); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", from, err)
		}
	}
	for _, from := range []string{"https://shop.example/set", "http://127.0.0.1:1/set", "http://[::1]/set", "http://localhost/set"} {
		must(t, Check(from))
	}
	if got := Shown("https://u:hunter2@h/set"); strings.Contains(got, "hunter2") {
		t.Error(got)
	}
}
