package api

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/flashsale-engine/flashsale/engine"
)

func keysOf(t *testing.T, pairs ...pair) []Key {
	t.Helper()
	var jwks []string
	for _, p := range pairs {
		jwks = append(jwks, p.jwk)
	}
	keys, _, err := KeySet(setOf(jwks...), true)
	must(t, err)
	return keys
}

func TestAKeyThatWasTakenOutVerifiesNothingMoreNotEvenWhatIsRemembered(t *testing.T) {
	a, b, c := edPair(t, "a"), ecPair(t, "b"), octPair("c", testSecret)
	v, err := newVerifier(keysOf(t, a, b), "flashsale", 100, time.Now)
	must(t, err)
	ok := func(p pair, tok string, want bool) {
		t.Helper()
		for range 2 {
			if _, err := v.verify([]byte(tok), v.now()); (err == nil) != want {
				t.Errorf("%s: %v", p.kid, err)
			}
		}
	}
	ofA, ofB, ofC := a.token(t), b.token(t), c.token(t)
	ok(a, ofA, true)
	ok(b, ofB, true)
	ok(c, ofC, false)
	must(t, v.set(keysOf(t, c, b, a)))
	if n := v.trust.Load().cache.len(); n != 2 {
		t.Errorf("a new key made the others' tokens forgotten: %d remembered", n)
	}
	ok(c, ofC, true)
	late := v.trust.Load()
	must(t, v.set(keysOf(t, b, c)))
	// Somebody who was verifying all the while writes to the memory of then.
	name := nameToken([]byte(ofA))
	if _, _, err := late.check([]byte(ofA), &name, v.now()); err != nil {
		t.Error(err)
	}
	ok(a, ofA, false)
	ok(b, ofB, true)
	other := edPair(t, "a") // the same kid, another key
	must(t, v.set(keysOf(t, other)))
	ok(a, ofA, false)
	ok(b, ofB, false)
	ok(other, other.token(t), true)
	if v.set(nil) == nil {
		t.Error("no keys at all were accepted")
	}
	ok(other, other.token(t), true)
}

func TestAnUnknownKidBringsNewKeysAndNothingElseDoes(t *testing.T) {
	a, b, es := edPair(t, "a"), edPair(t, "b"), ecPair(t, "es")
	v, err := newVerifier(keysOf(t, a), "flashsale", 100, time.Now)
	must(t, err)
	asked := 0
	v.unknown = func() { asked++ }
	nameless := a
	nameless.kid = ""
	for _, tok := range []string{a.token(t), a.token(t), "a.b.c", nameless.token(t), sign(t, a.method, "a", b.secret, claims()), sign(t, a.method, nil, b.secret, claims())} {
		_, _ = v.verify([]byte(tok), v.now())
	}
	if asked != 0 {
		t.Errorf("asked %d times for keys that are there", asked)
	}
	if _, err := v.verify([]byte(b.token(t)), v.now()); engine.CodeOf(err) != engine.CodeUnauthenticated || asked != 1 {
		t.Errorf("%v, asked %d times", err, asked)
	}
	v.unknown = func() { must(t, v.set(keysOf(t, a, b, es))) }
	for _, p := range []pair{es, b} { // of an algorithm that had no key before, too
		if _, err := v.verify([]byte(p.token(t)), v.now()); err != nil {
			t.Error(err)
		}
	}
}

// A request sees either set of keys, and never the memory of the other.
func TestKeysAreReplacedUnderLoad(t *testing.T) {
	a, b := edPair(t, "a"), octPair("b", testSecret)
	d := open(t, &fake{}, func(o *Options) { o.Keys = keysOf(t, a, b) })
	both, one := keysOf(t, a, b), keysOf(t, b)
	ofA, ofB := a.token(t), b.token(t)
	var stop atomic.Bool
	var all sync.WaitGroup
	for range 2 {
		all.Go(func() {
			for !stop.Load() {
				d.do("GET", orderPath, "", header{"Authorization": "Bearer " + ofB}).expect(t, 200, "")
			}
		})
	}
	for range 50 {
		must(t, d.server.SetKeys(both))
		d.do("GET", orderPath, "", header{"Authorization": "Bearer " + ofA}).expect(t, 200, "")
		must(t, d.server.SetKeys(one))
		d.do("GET", orderPath, "", header{"Authorization": "Bearer " + ofA}).expect(t, 401, engine.CodeUnauthenticated)
	}
	stop.Store(true)
	all.Wait()
}

func TestThePlainWayOfARememberedTokenDoesNotAllocateAfterARotation(t *testing.T) {
	a, b := edPair(t, "a"), edPair(t, "b")
	v, err := newVerifier(keysOf(t, a), "flashsale", 100, time.Now)
	must(t, err)
	v.unknown = func() {}
	must(t, v.set(keysOf(t, a, b)))
	tok := []byte(b.token(t))
	now := v.now()
	_, err = v.verify(tok, now)
	must(t, err)
	if n := testing.AllocsPerRun(200, func() { _, _ = v.verify(tok, now) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}
