package ops

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/flashsale-engine/flashsale/engine"
)

const maxBody = 4 << 20 // bytes: a sale of 10,000 SKUs fits

// saleBody is the body of PUT /admin/v1/sales/{sale}.
type saleBody struct {
	Name          string     `json:"name"`
	Currency      string     `json:"currency"`
	OpensAt       *time.Time `json:"opens_at,omitempty"`
	ClosesAt      *time.Time `json:"closes_at,omitempty"`
	HoldTTL       string     `json:"hold_ttl,omitempty"`
	HoldCap       string     `json:"hold_cap,omitempty"`
	PerBuyerLimit int        `json:"per_buyer_limit"`
	Shards        *int       `json:"shards,omitempty"`
	Items         []itemBody `json:"items"`

	Admission *admissionBody `json:"admission,omitempty"` // the waiting room; null or absent: none
}

type itemBody struct {
	SKU       string `json:"sku"`
	Title     string `json:"title,omitempty"`
	UnitPrice int64  `json:"unit_price"`
	Stock     int64  `json:"stock"`
}

// itemView is an item with what the gate says of it.
type itemView struct {
	itemBody
	Available int64 `json:"available"`
	Held      int64 `json:"held"`
	Paying    int64 `json:"paying"`
	Sold      int64 `json:"sold"`
	InFlight  int64 `json:"in_flight,omitempty"` // between two shards
}

// saleView is a sale as operators see it.
type saleView struct {
	Sale          string             `json:"sale"`
	Name          string             `json:"name"`
	Currency      string             `json:"currency"`
	State         engine.SaleState   `json:"state"`
	Allowed       []engine.SaleState `json:"allowed_states"`
	Epoch         int64              `json:"epoch"`
	OpensAt       *time.Time         `json:"opens_at,omitempty"`
	ClosesAt      *time.Time         `json:"closes_at,omitempty"`
	HoldTTL       string             `json:"hold_ttl"`
	HoldCap       string             `json:"hold_cap"`
	PerBuyerLimit int                `json:"per_buyer_limit"`
	Shards        int                `json:"shards"`
	Gate          string             `json:"gate"` // live, absent (a draft) or frozen
	Breaker       string             `json:"payment_breaker,omitempty"`
	Items         []itemView         `json:"items"`

	Admission *admissionBody `json:"admission,omitempty"`
}

func (s *Server) putSale(w http.ResponseWriter, r *http.Request) error {
	var b saleBody
	if err := decode(w, r, &b); err != nil {
		return err
	}
	sale, err := b.sale(r.PathValue("sale"))
	if err != nil {
		return err
	}
	return s.put(w, r, sale)
}

// sale reads the terms of a draft.
func (b *saleBody) sale(id string) (*engine.Sale, error) {
	sale := &engine.Sale{ID: id, Name: b.Name, Currency: b.Currency, State: engine.SaleDraft, PerBuyerLimit: b.PerBuyerLimit, Shards: 1}
	if b.Shards != nil {
		sale.Shards = *b.Shards
	}
	var err error
	if sale.HoldTTL, err = duration("hold_ttl", b.HoldTTL, engine.DefaultHoldTTL); err != nil {
		return nil, err
	}
	if sale.HoldCap, err = duration("hold_cap", b.HoldCap, max(engine.DefaultHoldCap, 2*sale.HoldTTL)); err != nil {
		return nil, err
	}
	if b.OpensAt != nil {
		sale.OpensAt = b.OpensAt.UTC().Truncate(time.Millisecond)
	}
	if b.ClosesAt != nil {
		sale.ClosesAt = b.ClosesAt.UTC().Truncate(time.Millisecond)
	}
	if sale.Admission, err = b.Admission.terms(); err != nil {
		return nil, err
	}
	for _, it := range b.Items {
		sale.Items = append(sale.Items, engine.Item{SKU: it.SKU, Title: it.Title, UnitPrice: it.UnitPrice, Stock: it.Stock})
	}
	return sale, nil
}

func (s *Server) put(w http.ResponseWriter, r *http.Request, sale *engine.Sale) error {
	now, created, err := s.Lifecycle.Put(r.Context(), sale, actor(r))
	if err != nil {
		return err
	}
	status := http.StatusOK
	if created {
		status = http.StatusCreated
	}
	return s.show(w, r, now, status)
}

// moves maps the path's verb to the state that it leads to.
var moves = map[string]engine.SaleState{
	"arm": engine.SaleArmed, "open": engine.SaleOpen, "pause": engine.SalePaused, "drain": engine.SaleDraining, "close": engine.SaleClosed,
}

func (s *Server) moveSale(w http.ResponseWriter, r *http.Request) error {
	to, ok := moves[r.PathValue("move")]
	if !ok {
		return engine.E(engine.CodeNotFound, "no move %q: use arm, open, pause, drain or close", r.PathValue("move"))
	}
	sale, err := s.Lifecycle.Move(r.Context(), r.PathValue("sale"), to, actor(r))
	if err != nil {
		return err
	}
	return s.show(w, r, sale, http.StatusOK)
}

func (s *Server) addStock(w http.ResponseWriter, r *http.Request) error {
	var b struct {
		SKU    string `json:"sku"`
		Delta  int64  `json:"delta"`
		Reason string `json:"reason"`
	}
	if err := decode(w, r, &b); err != nil {
		return err
	}
	if err := reasoned(b.Reason, 200, "why the stock changes"); err != nil {
		return err
	}
	act := engine.Act{Actor: actor(r), Reason: b.Reason, Key: strings.Trim(r.Header.Get("Idempotency-Key"), `"`)}
	sale, err := s.Lifecycle.AddStock(r.Context(), r.PathValue("sale"), b.SKU, b.Delta, act)
	if err != nil {
		return err
	}
	return s.show(w, r, sale, http.StatusOK)
}

func (s *Server) getSale(w http.ResponseWriter, r *http.Request) error {
	sale, err := s.Lifecycle.Store.Get(r.Context(), r.PathValue("sale"))
	if err != nil {
		return err
	}
	return s.show(w, r, sale, http.StatusOK)
}

func (s *Server) listSales(w http.ResponseWriter, r *http.Request) error {
	sales, err := s.Lifecycle.Store.List(r.Context())
	if err != nil {
		return err
	}
	out := make([]saleView, 0, len(sales))
	for _, sale := range sales {
		v := view(sale)
		v.Items, v.Gate = nil, ""
		out = append(out, v)
	}
	reply(w, http.StatusOK, map[string]any{"sales": out})
	return nil
}

// show replies with a sale and the gate's counters.
func (s *Server) show(w http.ResponseWriter, r *http.Request, sale *engine.Sale, status int) error {
	v := view(sale)
	v.Gate = "absent"
	if s.Breaker != nil {
		v.Breaker = s.Breaker()
	}
	if sale.Epoch > 0 {
		counters, err := s.Reader.Counters(r.Context(), sale)
		switch {
		case engine.CodeOf(err) == engine.CodeGateFrozen:
			v.Gate = "frozen"
		case err != nil:
			return err
		default:
			v.Gate = "live"
		}
		for _, c := range counters {
			it := &v.Items[c.No]
			it.Stock, it.Available, it.Held, it.Paying, it.Sold, it.InFlight = c.Stock, c.Available, c.Held, c.Paying, c.Sold, c.InFlight
		}
	}
	reply(w, status, v)
	return nil
}

func view(s *engine.Sale) saleView {
	v := saleView{Sale: s.ID, Name: s.Name, Currency: s.Currency, State: s.State, Allowed: engine.SaleMoves[s.State], Epoch: s.Epoch,
		HoldTTL: s.HoldTTL.String(), HoldCap: s.HoldCap.String(), PerBuyerLimit: s.PerBuyerLimit, Shards: s.Shards}
	if !s.OpensAt.IsZero() {
		v.OpensAt = &s.OpensAt
	}
	if !s.ClosesAt.IsZero() {
		v.ClosesAt = &s.ClosesAt
	}
	v.Admission = admissionView(s.Admission)
	for _, it := range s.Items {
		v.Items = append(v.Items, itemView{itemBody: itemBody{it.SKU, it.Title, it.UnitPrice, it.Stock}})
	}
	return v
}

func (s *Server) listHolds(w http.ResponseWriter, r *http.Request) error {
	sale, err := s.Lifecycle.Store.Get(r.Context(), r.PathValue("sale"))
	if err != nil {
		return err
	}
	want := r.URL.Query()["state"]
	w.Header().Set("Content-Type", "application/x-ndjson")
	enc := json.NewEncoder(w)
	return s.Reader.Holds(r.Context(), sale, func(h engine.Hold) error {
		if len(want) > 0 && !slices.Contains(want, string(h.State)) {
			return nil
		}
		lines, total := sale.Price(h.Lines)
		return enc.Encode(map[string]any{"id": h.ID.String(), "buyer_key": fmt.Sprintf("%x", h.ID.Buyer), "state": h.State, "lines": lines, "total": total,
			"created_at": h.ID.CreatedAt(), "expires_at": h.ExpiresAt.UTC(), "seq": h.Seq, "attempts": h.Attempts})
	})
}

func (s *Server) getOrder(w http.ResponseWriter, r *http.Request) error {
	id, err := namedReservation(r.PathValue("id"))
	if err != nil {
		return err
	}
	o, err := s.Orders.Order(r.Context(), id)
	if err != nil {
		return err
	}
	reply(w, http.StatusOK, orderView(o))
	return nil
}

// namedReservation reads the id of an order or of a reservation.
func namedReservation(text string) (engine.ReservationID, error) {
	id, ok := engine.ParseOrderID(text)
	if !ok {
		if id, ok = engine.ParseReservationID(text); !ok {
			return id, engine.E(engine.CodeNotFound, "no order %q", text)
		}
	}
	return id, nil
}

func (s *Server) listOrders(w http.ResponseWriter, r *http.Request) error {
	sale, err := s.Lifecycle.Store.Get(r.Context(), r.PathValue("sale"))
	if err != nil {
		return err
	}
	limit := 50
	if q := r.URL.Query().Get("limit"); q != "" {
		if limit, err = strconv.Atoi(q); err != nil || limit < 1 || limit > 1000 {
			return engine.E(engine.CodeInvalidRequest, "limit: %q is not between 1 and 1000", q).With("field", "limit")
		}
	}
	orders, err := s.Orders.Recent(r.Context(), sale.No, limit)
	if err != nil {
		return err
	}
	out := make([]map[string]any, 0, len(orders))
	for _, o := range orders {
		out = append(out, orderView(o))
	}
	reply(w, http.StatusOK, map[string]any{"orders": out})
	return nil
}

func orderView(o engine.Order) map[string]any {
	return map[string]any{"id": o.ID.Order(), "reservation": o.ID.String(), "sale": o.SaleID, "buyer": o.Buyer, "state": o.State, "lines": o.Lines, "total": o.Total,
		"payment": map[string]any{"provider": o.Provider, "state": o.Payment, "attempt": o.Attempt.String()}, "placed_at": o.PlacedAt.UTC(), "reason": o.Reason, "epoch": o.Epoch, "seq": o.Seq}
}

// decode reads one JSON value, refusing what it does not know by name.
func decode(w http.ResponseWriter, r *http.Request, v any) error {
	raw, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return engine.E(engine.CodePayloadTooLarge, "the body exceeds %d bytes", maxBody)
	}
	if err != nil {
		return engine.E(engine.CodeInvalidRequest, "the body could not be read")
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return engine.E(engine.CodeInvalidRequest, "the body is not as documented: %s", strings.TrimPrefix(err.Error(), "json: "))
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return engine.E(engine.CodeInvalidRequest, "the body has more than one JSON value")
	}
	return nil
}

func duration(field, s string, otherwise time.Duration) (time.Duration, error) {
	if s == "" {
		return otherwise, nil
	}
	d, err := time.ParseDuration(s)
	if err != nil || d < 0 {
		return 0, engine.E(engine.CodeInvalidRequest, "%s: %q is not a duration such as 90s or 2m", field, s).With("field", field)
	}
	return d, nil
}
