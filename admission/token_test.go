package admission_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/flashsale-engine/flashsale/admission"
	"github.com/flashsale-engine/flashsale/engine"
)

var (
	noon  = time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)
	room  = admission.Room{Sale: 7, ID: "demo", Epoch: 3}
	buyer = engine.BuyerKey{1, 2, 3, 4, 5, 6, 7, 8}
	right = admission.Token{Sale: 7, Epoch: 3, Buyer: buyer, Ticket: 1 << 31, Expires: noon.Add(time.Minute)}
	oldK  = bytes.Repeat([]byte{1}, 32)
	newK  = bytes.Repeat([]byte{2}, 32)
)

func keysOf(t testing.TB, signing byte, keys map[byte][]byte) *admission.Keys {
	t.Helper()
	k, err := admission.NewKeys(signing, keys)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func sign(t testing.TB, k *admission.Keys, token admission.Token) string {
	t.Helper()
	text, err := k.Sign(token)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestATokenAdmitsWhomItIsFor(t *testing.T) {
	k := keysOf(t, 1, map[byte][]byte{1: oldK})
	text := sign(t, k, right)
	if len(text) != 62 {
		t.Errorf("a token of %d characters: %s", len(text), text)
	}
	got, err := k.Verify(text, room, buyer, noon)
	if err != nil || got != right || got.ID() != right.ID() {
		t.Fatalf("%+v, %v", got, err)
	}
	for name, c := range map[string]struct {
		room  admission.Room
		buyer engine.BuyerKey
		now   time.Time
		want  error
	}{
		"another sale":                {admission.Room{Sale: 8, ID: "demo", Epoch: 3}, buyer, noon, admission.ErrTokenOther},
		"an epoch that came after it": {admission.Room{Sale: 7, ID: "demo", Epoch: 4}, buyer, noon, nil},
		"an epoch before it":          {admission.Room{Sale: 7, ID: "demo", Epoch: 2}, buyer, noon, admission.ErrTokenOther},
		"another buyer":               {room, engine.BuyerKey{}, noon, admission.ErrTokenOther},
		"just in time":                {room, buyer, right.Expires.Add(-time.Millisecond), nil},
		"just too late":               {room, buyer, right.Expires, admission.ErrTokenExpired},
	} {
		if _, err := k.Verify(text, c.room, c.buyer, c.now); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAnyOtherSpellingOfATokenIsRefused(t *testing.T) {
	k := keysOf(t, 1, map[byte][]byte{1: oldK, 2: newK})
	text := sign(t, k, right)
	for i := range text {
		for _, c := range []byte("A_z0\n=") {
			if text[i] == c {
				continue
			}
			if _, err := k.Verify(text[:i]+string(c)+text[i+1:], room, buyer, noon); err == nil {
				t.Fatalf("with %q at %d it passes", c, i)
			}
		}
	}
	for _, other := range []string{"", "adm_", text[4:], text + "A", text + "\n", text[:len(text)-1], strings.ToUpper(text)} {
		if _, err := k.Verify(other, room, buyer, noon); err == nil {
			t.Errorf("%q passes", other)
		}
	}
}

func TestKeysRotate(t *testing.T) {
	before := keysOf(t, 1, map[byte][]byte{1: oldK})
	added := keysOf(t, 1, map[byte][]byte{1: oldK, 2: newK})
	signs := keysOf(t, 2, map[byte][]byte{1: oldK, 2: newK})
	after := keysOf(t, 2, map[byte][]byte{2: newK})
	for _, c := range []struct {
		by, at *admission.Keys
		want   error
	}{
		{before, added, nil}, {added, before, nil}, {added, signs, nil}, {signs, added, nil}, {signs, after, nil},
		{signs, before, admission.ErrTokenForged}, {before, after, admission.ErrTokenForged},
		{before, keysOf(t, 1, map[byte][]byte{1: newK}), admission.ErrTokenForged},
	} {
		if _, err := c.at.Verify(sign(t, c.by, right), room, buyer, noon); !errors.Is(err, c.want) {
			t.Errorf("%v, want %v", err, c.want)
		}
	}
}

func TestKeysThatCannotWorkAreRefused(t *testing.T) {
	if _, err := admission.NewKeys(1, map[byte][]byte{2: newK}); err == nil {
		t.Error("nothing to sign with, and no word of it")
	}
	if _, err := admission.NewKeys(1, map[byte][]byte{1: []byte("short")}); err == nil {
		t.Error("a short key, and no word of it")
	}
	late := right
	late.Expires = noon.AddDate(100, 0, 0)
	if _, err := keysOf(t, 1, map[byte][]byte{1: oldK}).Sign(late); err == nil {
		t.Error("an expiry that does not fit, and no word of it")
	}
}

func TestATokensIDNamesTheRight(t *testing.T) {
	again := right
	again.Expires = noon
	if again.ID() != right.ID() {
		t.Error("the same right, issued again, has another id")
	}
	seen := map[admission.TokenID]bool{right.ID(): true}
	for _, edit := range []func(*admission.Token){
		func(t *admission.Token) { t.Sale++ }, func(t *admission.Token) { t.Epoch++ },
		func(t *admission.Token) { t.Buyer[7]++ }, func(t *admission.Token) { t.Ticket++ },
	} {
		other := right
		edit(&other)
		if seen[other.ID()] {
			t.Errorf("%+v shares its id", other)
		}
		seen[other.ID()] = true
	}
}

func TestVerifyHardlyAllocates(t *testing.T) {
	k := keysOf(t, 1, map[byte][]byte{1: oldK})
	text := sign(t, k, right)
	n := testing.AllocsPerRun(1000, func() {
		if _, err := k.Verify(text, room, buyer, noon); err != nil {
			t.Fatal(err)
		}
	})
	if n > 3 { // the race detector's pool forgets on purpose
		t.Errorf("%.1f allocations", n)
	}
}

func FuzzVerify(f *testing.F) {
	k := keysOf(f, 1, map[byte][]byte{1: oldK, 2: newK})
	text := sign(f, k, right)
	f.Add(text)
	f.Add(sign(f, keysOf(f, 2, map[byte][]byte{2: newK}), right))
	f.Add("adm_" + strings.Repeat("A", 58))
	f.Add("adm_AQ\n" + strings.Repeat("_", 55))
	f.Fuzz(func(t *testing.T, s string) {
		got, err := k.Verify(s, room, buyer, noon)
		if err == nil && (got != right || s != text && s != sign(t, keysOf(t, 2, map[byte][]byte{2: newK}), right)) {
			t.Fatalf("%q passes as %+v", s, got)
		}
	})
}

func BenchmarkVerify(b *testing.B) {
	k := keysOf(b, 1, map[byte][]byte{1: oldK})
	text := sign(b, k, right)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := k.Verify(text, room, buyer, noon); err != nil {
			b.Fatal(err)
		}
	}
}
