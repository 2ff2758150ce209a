// Package vault seals buyers' contact data: an envelope of AES-256-GCM by Tink.
//
// Each contact has a data key of its own, made when the contact is written, used
// for it alone and kept beside it, wrapped by the keyset's primary key. So the
// hot path asks nobody, two nodes cannot disagree about a key, other primary keys
// are put around the data keys without opening what these seal, and a contact is
// forgotten, wherever copies of its ciphertext lie, once its data key is.
package vault

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/aead/subtle"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/tink"
)

// dataKeySize is that of AES-256.
const dataKeySize = 32

// ErrNoKey says that the keyset lacks the key that something is wrapped by.
var ErrNoKey = errors.New("vault: the keyset lacks the key that this is wrapped by")

// Vault seals and opens. It may be used by many goroutines.
type Vault struct {
	wrap    tink.AEAD
	primary uint32
	ids     []uint32
}

// Open reads a keyset, as New and its kin write it.
func Open(text string) (*Vault, error) {
	h, err := read(text)
	if err != nil {
		return nil, err
	}
	return open(h)
}

func open(h *keyset.Handle) (*Vault, error) {
	wrap, err := aead.New(h)
	if err != nil {
		return nil, fmt.Errorf("vault: %w", err)
	}
	v := &Vault{wrap: wrap}
	for _, k := range keysOf(h) {
		v.ids = append(v.ids, k.ID)
		if k.Primary {
			v.primary = k.ID
		}
	}
	return v, nil
}

// Seal gives plain under a new data key, and that key wrapped. bind is what both
// belong to: they open with the same only.
func (v *Vault) Seal(plain, bind []byte) (key, sealed []byte, err error) {
	data := make([]byte, dataKeySize)
	_, _ = rand.Read(data) // it never fails: crypto/rand
	if key, err = v.wrap.Encrypt(data, bind); err != nil {
		return nil, nil, fmt.Errorf("vault: wrap a data key: %w", err)
	}
	box, err := subtle.NewAESGCM(data)
	if err == nil {
		sealed, err = box.Encrypt(plain, bind)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("vault: seal: %w", err)
	}
	return key, sealed, nil
}

// Open gives what Seal has sealed: ErrNoKey.
func (v *Vault) Open(key, sealed, bind []byte) ([]byte, error) {
	data, err := v.unwrap(key, bind)
	if err != nil {
		return nil, err
	}
	box, err := subtle.NewAESGCM(data)
	if err != nil {
		return nil, fmt.Errorf("vault: open: %w", err)
	}
	plain, err := box.Decrypt(sealed, bind)
	if err != nil {
		return nil, fmt.Errorf("vault: open: %w", err)
	}
	return plain, nil
}

// Rewrap puts the primary key around a data key: ErrNoKey.
func (v *Vault) Rewrap(key, bind []byte) ([]byte, error) {
	data, err := v.unwrap(key, bind)
	if err != nil {
		return nil, err
	}
	return v.wrap.Encrypt(data, bind)
}

// Primary is the id of the key that Seal and Rewrap wrap by.
func (v *Vault) Primary() uint32 { return v.primary }

func (v *Vault) unwrap(key, bind []byte) ([]byte, error) {
	if id := WrappedBy(key); !slices.Contains(v.ids, id) {
		return nil, fmt.Errorf("%w: %d", ErrNoKey, id)
	}
	data, err := v.wrap.Decrypt(key, bind)
	if err != nil {
		return nil, fmt.Errorf("vault: unwrap a data key: %w", err)
	}
	return data, nil
}

// WrappedBy gives the id of the key that a wrapped data key names: Tink writes it
// behind a byte of its own. Zero: this is none.
func WrappedBy(key []byte) uint32 {
	if len(key) < 5 || key[0] != 1 {
		return 0
	}
	return binary.BigEndian.Uint32(key[1:])
}
