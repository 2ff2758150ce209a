package api

import (
	"errors"
	"time"

	"github.com/flashsale-engine/flashsale/engine"
	"github.com/flashsale-engine/flashsale/internal/trail"
)

// What buyers are told is noted for support, wherever an answer is written: a few
// words of a ring in memory, see internal/trail.

// credit notes what the gate has granted.
func (x *exchange) credit(r *engine.Reservation) {
	x.noted.Source, x.noted.Seq, x.noted.Epoch = trail.Gate, r.Seq, epochOf(r)
}

func epochOf(r *engine.Reservation) int64 {
	if r.Sale == nil {
		return 0
	}
	return r.Sale.Lease(r.Sale.Home(r.ID.Buyer)).Epoch
}

// blame notes who has refused.
func (x *exchange) blame(err error) { x.noted.Source, x.noted.Seq = blamed(err) }

func blamed(err error) (trail.Source, uint64) {
	var e *engine.Error
	if !errors.As(err, &e) {
		return trail.Node, 0
	}
	if seq, ok := e.Fields["seq"].(uint64); ok {
		return trail.Gate, seq
	}
	switch e.Code {
	case engine.CodeSoldOut: // the gate's own has its place
		return trail.Knowledge, 0
	case engine.CodeBuyerLimit, engine.CodeGateFrozen, engine.CodeReservationExpired, engine.CodeReservationReleased, engine.CodeAttemptsExhausted,
		engine.CodeAttemptInProgress, engine.CodePaymentInProgress, engine.CodeAlreadyPaid, engine.CodeSaleNotOpen:
		return trail.Gate, 0
	case engine.CodePaymentDeclined, engine.CodePaymentUnavailable:
		return trail.Provider, 0
	case engine.CodeOrderRefused:
		return trail.Record, 0
	}
	return trail.Node, 0
}

// skuOf names the SKU of a cart of one line.
func (s *Server) skuOf(lines []engine.CartLine) uint32 {
	if len(lines) != 1 {
		return 0
	}
	return s.opt.Trail.Name(lines[0].SKU)
}

func (s *Server) noteQuick(x *exchange, status int, now time.Time) {
	n := &x.noted
	n.At, n.Op, n.Status, n.Code, n.Sale, n.RequestID = now, trail.Reserve, status, x.code, s.opt.Trail.Name(x.sale.id), x.id
	s.opt.Trail.Note(n)
}

// noteUsual notes what came the usual way. Who was turned away before the token
// was looked at is taken for whom it names.
func (s *Server) noteUsual(x *exchange, status int) {
	n := &x.noted
	switch {
	case s.opt.Trail == nil:
		return
	case x.route == &s.metrics.routes[atReservations] && x.http.IsPost():
		n.Op, n.Sale = trail.Reserve, s.opt.Trail.Name(x.param)
	case x.route == &s.metrics.routes[atCheckout] && x.http.IsPost():
		n.Op = trail.Checkout
	case x.route == &s.metrics.routes[atReservation] && x.http.IsDelete():
		n.Op = trail.Release
	default:
		return
	}
	if n.Buyer = s.opt.Trail.Of(x.buyer); n.Buyer == 0 {
		buyer, _ := subject(x.head.authorization.value, x.room[:])
		n.Buyer, n.Unproven = s.opt.Trail.Of(buyer), true
	}
	n.At, n.Status, n.Code, n.RequestID = s.opt.Now(), status, x.code, x.id
	s.opt.Trail.Note(n)
}

func (s *Server) noteLine(b *batch, asked *engine.ReserveRequest, r *engine.Reservation, err error, code engine.Code) {
	if s.opt.Trail == nil {
		return
	}
	n := trail.Noted{Buyer: s.opt.Trail.Of(asked.Buyer), At: s.opt.Now(), Op: trail.Batch, Code: code, Sale: s.opt.Trail.Name(b.sale), SKU: s.skuOf(asked.Lines), RequestID: []byte(b.id)}
	if err != nil {
		n.Source, n.Seq = blamed(err)
	} else {
		n.Source, n.Seq, n.Epoch = trail.Gate, r.Seq, epochOf(r)
	}
	s.opt.Trail.Note(&n)
}
