package vault_test

import (
	"bytes"
	"errors"
	"regexp"
	"strings"
	"testing"

	"github.com/flashsale-engine/flashsale/vault"
)

func keyset(t testing.TB) string {
	t.Helper()
	text, err := vault.New()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func open(t testing.TB, text string) *vault.Vault {
	t.Helper()
	v, err := vault.Open(text)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestWhatIsSealedOpensWithWhatItBelongsToOnly(t *testing.T) {
	v := open(t, keyset(t))
	plain, bind := []byte("ada@example.org"), []byte("attempt 1")
	key, sealed, err := v.Seal(plain, bind)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(sealed, plain) || bytes.Contains(key, plain) {
		t.Fatal("it is written in clear")
	}
	if got, err := v.Open(key, sealed, bind); err != nil || !bytes.Equal(got, plain) {
		t.Fatalf("%q, %v", got, err)
	}
	otherKey, otherSealed, _ := v.Seal(plain, bind)
	if bytes.Equal(otherKey, key) || bytes.Equal(otherSealed, sealed) {
		t.Fatal("two contacts share a key or a ciphertext")
	}
	turned := bytes.Clone(sealed)
	turned[len(turned)-1] ^= 1
	for name, do := range map[string]func() ([]byte, error){
		"moved to another attempt":  func() ([]byte, error) { return v.Open(key, sealed, []byte("attempt 2")) },
		"under another's data key":  func() ([]byte, error) { return v.Open(otherKey, sealed, bind) },
		"with a bit turned":         func() ([]byte, error) { return v.Open(key, turned, bind) },
		"without its data key":      func() ([]byte, error) { return v.Open(nil, sealed, bind) },
		"with a key cut short":      func() ([]byte, error) { return v.Open(key[:9], sealed, bind) },
		"under a stranger's keyset": func() ([]byte, error) { return open(t, keyset(t)).Open(key, sealed, bind) },
	} {
		if got, err := do(); err == nil {
			t.Errorf("%s: it opens as %q", name, got)
		}
	}
}

func TestKeysRotate(t *testing.T) {
	first := keyset(t)
	bind := []byte("b")
	key, sealed, err := open(t, first).Seal([]byte("x"), bind)
	if err != nil {
		t.Fatal(err)
	}
	added, id, err := vault.Add(first)
	if err != nil {
		t.Fatal(err)
	}
	if got := open(t, added).Primary(); got != vault.WrappedBy(key) || got == id {
		t.Fatalf("a key that was only added wraps already: %d", got)
	}
	promoted, err := vault.Promote(added, id)
	if err != nil {
		t.Fatal(err)
	}
	v := open(t, promoted)
	if got, err := v.Open(key, sealed, bind); err != nil || string(got) != "x" {
		t.Fatalf("the old key does not open any more: %q, %v", got, err)
	}
	again, err := v.Rewrap(key, bind)
	if err != nil || vault.WrappedBy(again) != id || v.Primary() != id {
		t.Fatalf("wrapped by %d, %v; the primary is %d", vault.WrappedBy(again), err, id)
	}
	if _, err := v.Rewrap(key, []byte("c")); err == nil {
		t.Fatal("a data key was wrapped anew for something that it does not belong to")
	}
	dropped, err := vault.Drop(promoted, vault.WrappedBy(key))
	if err != nil {
		t.Fatal(err)
	}
	v = open(t, dropped)
	if got, err := v.Open(again, sealed, bind); err != nil || string(got) != "x" {
		t.Fatalf("rewrapped: %q, %v", got, err)
	}
	if _, err := v.Open(key, sealed, bind); !errors.Is(err, vault.ErrNoKey) {
		t.Fatalf("wrapped by a key that is gone: %v", err)
	}
	if _, err := vault.Drop(dropped, id); err == nil {
		t.Fatal("the primary key was dropped")
	}
	if _, err := vault.Promote(dropped, vault.WrappedBy(key)); err == nil {
		t.Fatal("a key that is not there was promoted")
	}
}

func TestWhatIsNoKeysetIsRefusedAndNotRepeated(t *testing.T) {
	short := regexp.MustCompile(`"Gi[^"]*"`).ReplaceAllString(keyset(t), `"GhAAAAAAAAAAAAAAAAAAAAAA"`) // AES-128
	for _, text := range []string{"", "{}", "hunter2-is-my-secret", `{"primaryKeyId":1,"key":[]}`, short} {
		_, err := vault.Open(text)
		if err == nil {
			t.Errorf("%q was taken", text)
		} else if text != "" && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("the error repeats it: %v", err)
		}
	}
}

func BenchmarkSeal(b *testing.B) {
	v := open(b, keyset(b))
	plain, bind := bytes.Repeat([]byte("x"), 200), make([]byte, 64)
	for b.Loop() {
		if _, _, err := v.Seal(plain, bind); err != nil {
			b.Fatal(err)
		}
	}
}
