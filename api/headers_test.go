package api

import (
	"strings"
	"testing"
	"time"

	"github.com/flashsale-engine/flashsale/engine"
)

func TestIdempotencyKeysAreQuotedOrBare(t *testing.T) {
	for in, want := range map[string]string{
		`abc`: "abc", `"abc"`: "abc", `6f1c7b1e-8a55-4b0f-9a60-1f3d3b1f2c77`: "6f1c7b1e-8a55-4b0f-9a60-1f3d3b1f2c77",
		`a b`: "a b", `"a\"b\\c"`: `a"b\c`, strings.Repeat("k", 255): strings.Repeat("k", 255), `a"b`: `a"b`,
		``: "", `"`: "", `""`: "", `"abc`: "", `"a"b"`: "", `"a\b"`: "", `"a\"`: "", `"a";p=1`: "", "a\tb": "", "é": "", "a\x7f": "",
		strings.Repeat("k", 256): "",
	} {
		got, ok := parseIdempotencyKey(in)
		if ok != (want != "") || ok && got != want {
			t.Errorf("%q: %q %v, want %q", in, got, ok, want)
		}
	}
}

func TestPreferWaitIsAPreference(t *testing.T) {
	const none = -time.Second
	for _, c := range []struct {
		in   []string
		want time.Duration
	}{
		{nil, none}, {[]string{""}, none}, {[]string{"wait"}, none}, {[]string{"wait="}, none}, {[]string{"wait=x"}, none},
		{[]string{"wait=-1"}, none}, {[]string{"wait=1.5"}, none}, {[]string{"waiting=1"}, none}, {[]string{"respond-async"}, none},
		{[]string{"wait=0"}, 0}, {[]string{"wait=7"}, 7 * time.Second}, {[]string{`wait="7"`}, 7 * time.Second}, {[]string{"Wait = 7"}, 7 * time.Second},
		{[]string{"respond-async, wait=7"}, 7 * time.Second}, {[]string{"respond-async", "wait=7"}, 7 * time.Second},
		{[]string{"wait=7; foo=bar"}, 7 * time.Second}, {[]string{"wait=7, wait=8"}, 7 * time.Second},
		{[]string{"wait=31"}, 30 * time.Second}, {[]string{"wait=99999999999999999999"}, 30 * time.Second}, {[]string{"wait=999999999999999999999"}, none},
	} {
		var values [][]byte
		for _, v := range c.in {
			values = append(values, []byte(v))
		}
		got, ok := preferWait(values, 30*time.Second)
		if !ok {
			got = none
		}
		if got != c.want {
			t.Errorf("%q: %v, want %v", c.in, got, c.want)
		}
	}
}

func TestTagsAreComparedWeakly(t *testing.T) {
	for list, want := range map[string]bool{`"a"`: true, `W/"a"`: true, `"b", "a"`: true, `*`: true, `"b"`: false, ``: false, `a`: false} {
		if got := tagMatches(list, `"a"`); got != want {
			t.Errorf("%s: %v", list, got)
		}
	}
}

func TestTheUsualRequestIsReadWithFewAllocations(t *testing.T) {
	body := []byte(oneShoe)
	if n := testing.AllocsPerRun(200, func() { _, _ = reserveBody(body) }); n > 12 {
		t.Errorf("decoding allocates %v times", n)
	}
	key, err := HS256Key("", testSecret)
	must(t, err)
	v, err := newVerifier([]Key{key}, "flashsale", 100, time.Now)
	must(t, err)
	tok := []byte(token(t, anyBuyer))
	_, err = v.verify(tok, time.Now())
	must(t, err)
	if n := testing.AllocsPerRun(200, func() { _, _ = v.verify(tok, time.Now()) }); n > 0 {
		t.Errorf("a remembered token allocates %v times", n)
	}
	path := []byte(checkoutPath)
	if n := testing.AllocsPerRun(200, func() { match(path) }); n > 0 {
		t.Errorf("routing allocates %v times", n)
	}
	var h head
	raw := []byte("Host: x\r\nAuthorization: Bearer x\r\nidempotency-key: \tk \r\nX-Request-ID: a\r\n")
	if n := testing.AllocsPerRun(200, func() { h.read(raw) }); n > 0 || string(h.idempotencyKey.value) != "k" || h.authorization.times != 1 {
		t.Errorf("reading the headers allocates %v times and finds %+v", n, h)
	}
}

func FuzzIdempotencyKey(f *testing.F) {
	for _, s := range []string{"abc", `"abc"`, `"a\"b"`, `"`, `"a\`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		key, ok := parseIdempotencyKey(s)
		if !ok {
			return
		}
		if key == "" || len(key) > 255 {
			t.Errorf("%q gave %q", s, key)
		}
		quoted := `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(key) + `"`
		if again, ok := parseIdempotencyKey(quoted); !ok || again != key {
			t.Errorf("%q read as %q, which quoted reads as %q", s, key, again)
		}
	})
}

func FuzzPrefer(f *testing.F) {
	for _, s := range []string{"wait=5", "respond-async, wait=7; a=b", `wait="3"`, "wait=99999999999999999999", ",;="} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if w, ok := preferWait([][]byte{[]byte(s)}, 30*time.Second); w < 0 || w > 30*time.Second || w%time.Second != 0 || !ok && w != 0 {
			t.Errorf("%q: %v %v", s, w, ok)
		}
	})
}

// FuzzPath holds that a path is matched in one way only, and that an id which
// parses is the one spelling of itself or at least never another's.
func FuzzPath(f *testing.F) {
	for _, s := range []string{reservationPath, checkoutPath, orderPath, reservePath, "/v1/sales/demo", "/healthz", "/v1/orders//", "/"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		at, param := match([]byte(s))
		if at < 0 || at >= routeCount || strings.Contains(string(param), "/") {
			t.Fatalf("%q: %d %q", s, at, param)
		}
		if at != atNowhere {
			pattern := strings.NewReplacer("{sale}", string(param), "{id}", string(param)).Replace(routeTable()[at].pattern)
			if pattern != s {
				t.Errorf("%q matched %q", s, pattern)
			}
		}
		if id, ok := engine.ParseReservationID(string(param)); ok {
			if again, ok := engine.ParseReservationID(id.String()); !ok || again != id {
				t.Errorf("%q reads as %s, which reads as %s", param, id, again)
			}
		}
	})
}
