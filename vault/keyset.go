package vault

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/keyset"
	tinkpb "github.com/tink-crypto/tink-go/v2/proto/tink_go_proto"
)

// A keyset is Tink's JSON, in clear: whoever can read the file can read the data.
// It is kept where secrets are, away from the database and from its backups.
//
// Nodes read it when they start. So a new key goes round in two steps: every node
// knows it (Add) before any wraps by it (Promote); and it leaves (Drop) once
// nothing is wrapped by it any more.

// Key is one of a keyset.
type Key struct {
	ID      uint32
	Primary bool // new data keys are wrapped by it
}

// New makes a keyset of one key.
func New() (string, error) {
	h, err := keyset.NewHandle(aead.AES256GCMKeyTemplate())
	if err != nil {
		return "", fmt.Errorf("vault: %w", err)
	}
	return write(h)
}

// Keys lists a keyset's keys, the oldest first.
func Keys(text string) ([]Key, error) {
	h, err := read(text)
	if err != nil {
		return nil, err
	}
	return keysOf(h), nil
}

// Add gives the keyset with a new key, which is not primary yet.
func Add(text string) (out string, id uint32, err error) {
	out, err = change(text, func(m *keyset.Manager) (err error) {
		id, err = m.Add(aead.AES256GCMKeyTemplate())
		return err
	})
	return out, id, err
}

// Promote makes a key the primary one.
func Promote(text string, id uint32) (string, error) {
	return change(text, func(m *keyset.Manager) error { return m.SetPrimary(id) })
}

// Drop takes a key out. What is still wrapped by it cannot be read any more.
func Drop(text string, id uint32) (string, error) {
	return change(text, func(m *keyset.Manager) error { return m.Delete(id) })
}

func change(text string, do func(*keyset.Manager) error) (string, error) {
	h, err := read(text)
	if err != nil {
		return "", err
	}
	m := keyset.NewManagerFromHandle(h)
	if err := do(m); err != nil {
		return "", fmt.Errorf("vault: %w", err)
	}
	if h, err = m.Handle(); err != nil {
		return "", fmt.Errorf("vault: %w", err)
	}
	return write(h)
}

// template is the one kind of key that is taken.
const template = "type.googleapis.com/google.crypto.tink.AesGcmKey"

// read never repeats what it was given: it is a secret, or what somebody took for one.
func read(text string) (*keyset.Handle, error) {
	h, err := insecurecleartextkeyset.Read(keyset.NewJSONReader(strings.NewReader(text)))
	if err != nil {
		return nil, errors.New("vault: this is not a keyset; flashsale data key new makes one")
	}
	for _, k := range h.KeysetInfo().GetKeyInfo() {
		if k.GetTypeUrl() != template || k.GetStatus() != tinkpb.KeyStatusType_ENABLED || k.GetOutputPrefixType() != tinkpb.OutputPrefixType_TINK {
			return nil, fmt.Errorf("vault: key %d of the keyset is not an enabled AES-GCM key with Tink's prefix", k.GetKeyId())
		}
	}
	for _, k := range insecurecleartextkeyset.KeysetMaterial(h).GetKey() {
		if n := len(k.GetKeyData().GetValue()); n < dataKeySize {
			return nil, fmt.Errorf("vault: key %d of the keyset is shorter than AES-256's", k.GetKeyId())
		}
	}
	return h, nil
}

func write(h *keyset.Handle) (string, error) {
	var b bytes.Buffer
	if err := insecurecleartextkeyset.Write(h, keyset.NewJSONWriter(&b)); err != nil {
		return "", fmt.Errorf("vault: %w", err)
	}
	return b.String() + "\n", nil
}

func keysOf(h *keyset.Handle) (out []Key) {
	info := h.KeysetInfo()
	for _, k := range info.GetKeyInfo() {
		out = append(out, Key{ID: k.GetKeyId(), Primary: k.GetKeyId() == info.GetPrimaryKeyId()})
	}
	return out
}
