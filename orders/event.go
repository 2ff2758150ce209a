package orders

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/flashsale-engine/flashsale/engine"
)

// EventVersion is the version of the wire form that this program writes, and
// the only one that it reads. EVENT.md describes it.
const EventVersion = 1

// Dead-letter reasons that the decoder gives.
const (
	DeadMalformed      = "malformed"
	DeadUnknownVersion = "unknown_version"
	// DeadRejected is an event that Postgres refused for a reason nobody foresaw.
	DeadRejected = "rejected_by_record"
)

// wire is the JSON form of engine.AcceptedEvent, version 1. A field may be added
// within the version; one may not be renamed, removed or given another meaning.
type wire struct {
	Version     int        `json:"version"`
	Reservation string     `json:"reservation"`
	Sale        string     `json:"sale"`
	Buyer       string     `json:"buyer"`
	Lines       []wireLine `json:"lines"`
	Total       wireMoney  `json:"total"`
	Attempt     string     `json:"attempt"`
	Provider    string     `json:"provider"`
	ProviderRef string     `json:"provider_ref,omitempty"`
	ReplyTo     string     `json:"reply_to,omitempty"`
	Traceparent string     `json:"traceparent,omitempty"`
}

type wireLine struct {
	No        uint16 `json:"no"`
	SKU       string `json:"sku"`
	Quantity  int    `json:"quantity"`
	UnitPrice int64  `json:"unit_price"`
}

type wireMoney struct {
	Amount   int64  `json:"amount"`
	Currency string `json:"currency"`
}

// Encode gives an event's wire form, or says why the event is not one.
func Encode(a engine.AcceptedEvent) ([]byte, error) {
	w := wire{
		Version: EventVersion, Reservation: a.ID.String(), Sale: a.SaleID, Buyer: a.Buyer,
		Lines: make([]wireLine, len(a.Lines)), Total: wireMoney(a.Total), Attempt: a.Attempt.String(),
		Provider: a.Provider, ProviderRef: a.ProviderRef, ReplyTo: a.ReplyTo, Traceparent: a.Traceparent,
	}
	for i, l := range a.Lines {
		w.Lines[i] = wireLine(l)
	}
	if _, err := w.event(); err != nil {
		return nil, engine.Wrap(err, engine.CodeInternal, "an event that the record could not read was not sent")
	}
	return json.Marshal(w)
}

// errVersion marks an event of a version that this program does not know.
var errVersion = errors.New("unknown version")

// Decode reads the wire form. Fields it does not know are ignored; every field
// that the record needs must be there and make sense.
func Decode(b []byte) (engine.AcceptedEvent, error) {
	var w wire
	err := json.Unmarshal(b, &w)
	if err != nil { // another version's fields may be of other types
		var of struct {
			Version int `json:"version"`
		}
		if json.Unmarshal(b, &of) != nil || of.Version == EventVersion {
			return engine.AcceptedEvent{}, err
		}
		w.Version = of.Version
	}
	if w.Version != EventVersion {
		return engine.AcceptedEvent{}, fmt.Errorf("%w: %d", errVersion, w.Version)
	}
	return w.event()
}

// maxText bounds every text of an event, in bytes.
const maxText = 1024

func (w *wire) event() (engine.AcceptedEvent, error) {
	a := engine.AcceptedEvent{
		SaleID: w.Sale, Buyer: w.Buyer, Total: engine.Money(w.Total),
		Provider: w.Provider, ProviderRef: w.ProviderRef, ReplyTo: w.ReplyTo, Traceparent: w.Traceparent,
	}
	var ok bool
	if a.ID, ok = engine.ParseReservationID(w.Reservation); !ok {
		return a, errors.New("reservation: not a reservation id")
	}
	if a.Attempt, ok = engine.ParseAttemptID(w.Attempt); !ok {
		return a, errors.New("attempt: not a payment attempt's id")
	}
	for _, f := range []struct {
		name, text string
		needed     bool
	}{
		{"sale", w.Sale, true}, {"buyer", w.Buyer, true}, {"total.currency", w.Total.Currency, true}, {"provider", w.Provider, true},
		{"provider_ref", w.ProviderRef, false}, {"reply_to", w.ReplyTo, false}, {"traceparent", w.Traceparent, false},
	} {
		if err := checkText(f.name, f.text, f.needed); err != nil {
			return a, err
		}
	}
	if w.Total.Amount < 0 {
		return a, errors.New("total.amount: negative")
	}
	var err error
	a.Lines, err = w.lines()
	return a, err
}

func (w *wire) lines() ([]engine.PricedLine, error) {
	if len(w.Lines) == 0 || len(w.Lines) > engine.MaxLines {
		return nil, fmt.Errorf("lines: %d, not 1 to %d", len(w.Lines), engine.MaxLines)
	}
	out := make([]engine.PricedLine, len(w.Lines))
	for i, l := range w.Lines {
		switch {
		case i > 0 && l.No <= w.Lines[i-1].No:
			return nil, fmt.Errorf("lines[%d].no: not in rising order", i)
		case l.Quantity < 1 || l.Quantity > engine.MaxQuantity:
			return nil, fmt.Errorf("lines[%d].quantity: %d is not between 1 and %d", i, l.Quantity, engine.MaxQuantity)
		case l.UnitPrice < 0 || l.UnitPrice > engine.MaxUnitPrice:
			return nil, fmt.Errorf("lines[%d].unit_price: %d is not between 0 and %d", i, l.UnitPrice, engine.MaxUnitPrice)
		}
		if err := checkText("sku", l.SKU, true); err != nil {
			return nil, fmt.Errorf("lines[%d].%w", i, err)
		}
		out[i] = engine.PricedLine(l)
	}
	return out, nil
}

// checkText refuses what Postgres would: it stores no NUL.
func checkText(name, s string, needed bool) error {
	switch {
	case needed && s == "":
		return fmt.Errorf("%s: missing", name)
	case len(s) > maxText:
		return fmt.Errorf("%s: longer than %d bytes", name, maxText)
	case strings.ContainsRune(s, 0):
		return fmt.Errorf("%s: contains NUL", name)
	}
	return nil
}
