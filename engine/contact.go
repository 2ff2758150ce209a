package engine

import (
	"encoding/json"
	"fmt"
	"io"
)

// Contact is how the storefront reaches a buyer, as given at checkout. It is kept
// in one place of the record, sealed, and prints as nothing of it: not by fmt, not
// by slog, not as JSON. Who needs it names its fields, or calls Encode.
type Contact struct {
	Email   string  `json:"email,omitempty"`
	Address Address `json:"address,omitzero"`

	// Lost says why a contact that was given cannot be read any more: one of the
	// words below. The fields are empty then.
	Lost string `json:"-"`
}

// Address is where goods go.
type Address struct {
	Name       string `json:"name,omitempty"`
	Line1      string `json:"line1,omitempty"`
	Line2      string `json:"line2,omitempty"`
	City       string `json:"city,omitempty"`
	Region     string `json:"region,omitempty"`
	PostalCode string `json:"postal_code,omitempty"`
	Country    string `json:"country,omitempty"` // ISO 3166-1 alpha-2
}

// Why a contact is lost.
const (
	ContactErased     = "erased"     // for good, as somebody asked
	ContactUnreadable = "unreadable" // this node lacks the key
)

// same says whether two checkouts gave one contact. Of one that is lost nobody can
// tell any more, and then the rest of the request has to do.
func (c Contact) same(as Contact) bool { return c.Lost != "" || as.Lost != "" || c == as }

type contactFields Contact // without the methods

// Encode gives the contact as it is sealed; nil: there is none.
func (c Contact) Encode() []byte {
	if c == (Contact{}) {
		return nil
	}
	b, _ := json.Marshal(contactFields(c)) // strings only
	return b
}

// DecodeContact reads what Encode has written.
func DecodeContact(b []byte) (Contact, error) {
	var c contactFields
	if err := json.Unmarshal(b, &c); err != nil {
		return Contact{}, E(CodeInternal, "a contact on record cannot be read") // the cause may quote it
	}
	return Contact(c), nil
}

const hidden = "(contact)"

// Format implements fmt.Formatter: it tells nothing.
func (c Contact) Format(w fmt.State, _ rune) { _, _ = io.WriteString(w, hidden) }

// MarshalText keeps it out of JSON, of log lines above all.
func (c Contact) MarshalText() ([]byte, error) { return []byte(hidden), nil }
