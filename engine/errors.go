package engine

import (
	"errors"
	"fmt"
	"time"
)

// Code names an outcome for machines. The set is closed: Codes lists it, and
// openapi.yaml is tested against it.
type Code string

// The closed set of refusal codes.
const (
	CodeInvalidRequest      Code = "invalid_request"
	CodeUnauthenticated     Code = "unauthenticated"
	CodeForbidden           Code = "forbidden"
	CodeNotFound            Code = "not_found"
	CodeMethodNotAllowed    Code = "method_not_allowed"
	CodePayloadTooLarge     Code = "payload_too_large"
	CodeUnsupportedMedia    Code = "unsupported_media_type"
	CodeSoldOut             Code = "sold_out"
	CodeBuyerLimit          Code = "buyer_limit"
	CodeSaleNotOpen         Code = "sale_not_open"
	CodeSaleState           Code = "sale_state"
	CodeSaleLocked          Code = "sale_locked"
	CodeReservationExpired  Code = "reservation_expired"
	CodeReservationReleased Code = "reservation_released"
	CodeReservationLost     Code = "reservation_lost"
	CodePaymentInProgress   Code = "payment_in_progress"
	CodeAttemptInProgress   Code = "attempt_in_progress"
	CodeAttemptsExhausted   Code = "attempts_exhausted"
	CodeAlreadyPaid         Code = "already_paid"
	CodePaymentDeclined     Code = "payment_declined"
	CodeOrderRefused        Code = "order_refused"
	CodeKeyMissing          Code = "idempotency_key_missing"
	CodeKeyReused           Code = "idempotency_key_reused"
	CodeAdmissionRequired   Code = "admission_required"
	CodeChallengeRequired   Code = "challenge_required"
	CodeRateLimited         Code = "rate_limited"
	CodeOverloaded          Code = "overloaded"
	CodeGateFrozen          Code = "gate_frozen"
	CodeUnavailable         Code = "unavailable"
	CodePaymentUnavailable  Code = "payment_unavailable"
	CodeInternal            Code = "internal"
)

// Class is what a code means for HTTP and for a retrying client.
type Class struct {
	Status    int    // HTTP status
	Transient bool   // the same request may succeed later, unchanged
	WhatToDo  string // one sentence for the developer who reads it
}

// Codes classifies every code once. A code that is not here does not exist.
var Codes = map[Code]Class{
	CodeInvalidRequest:      {400, false, "Correct the request as the detail says and send it again with a new Idempotency-Key."},
	CodeUnauthenticated:     {401, false, "Send a valid buyer token: Authorization: Bearer <JWT signed by the storefront>."},
	CodeForbidden:           {403, false, "The token is valid but does not permit this; use one with the role that the detail names."},
	CodeNotFound:            {404, false, "Check the id; it may belong to another buyer or sale."},
	CodeMethodNotAllowed:    {405, false, "Use a method that the Allow header names."},
	CodePayloadTooLarge:     {413, false, "Send a smaller body; the limit is in the detail."},
	CodeUnsupportedMedia:    {415, false, "Send the Content-Type that the detail names."},
	CodeSoldOut:             {409, false, "No unit is left; units may come back when holds expire."},
	CodeBuyerLimit:          {409, false, "The buyer already has as many units as the sale allows; ask for fewer."},
	CodeSaleNotOpen:         {409, true, "Wait until the sale is open; opens_at says when, if it is known."},
	CodeSaleState:           {409, false, "The sale's state does not allow this move; the allowed ones are in the answer."},
	CodeSaleLocked:          {409, false, "A sale's terms cannot change once it is armed; create another sale or change stock by the stock call."},
	CodeReservationExpired:  {409, false, "The hold's time is over; reserve again. No money was taken."},
	CodeReservationReleased: {409, false, "The hold was released; reserve again."},
	CodeReservationLost:     {410, false, "The hold was lost when the sale's gate had to be rebuilt; reserve again. No money is taken."},
	CodePaymentInProgress:   {409, true, "A payment is under way; wait for its result before releasing."},
	CodeAttemptInProgress:   {409, true, "Another payment attempt of this reservation is under way; wait for its result."},
	CodeAttemptsExhausted:   {409, false, "The reservation has used all its payment attempts; it returns to stock when its time is over."},
	CodeAlreadyPaid:         {409, false, "The reservation is paid already; read the order."},
	CodePaymentDeclined:     {402, false, "The payment was declined; try another payment method with a new Idempotency-Key while the hold lasts."},
	CodeOrderRefused:        {409, false, "The stock could not cover the order; the payment is voided and no money is taken."},
	CodeKeyMissing:          {400, false, "Send an Idempotency-Key header, a new one for each distinct request."},
	CodeKeyReused:           {422, false, "This Idempotency-Key was used with another body; use a new key."},
	CodeAdmissionRequired:   {403, true, "Join the sale's queue and send its admission token."},
	CodeChallengeRequired:   {403, true, "Solve the challenge in this answer and send the request again with its kind, a space and the solution in Challenge-Solution."},
	CodeRateLimited:         {429, true, "Slow down and retry after the time that Retry-After gives."},
	CodeOverloaded:          {503, true, "The engine is at capacity; retry after the time that Retry-After gives."},
	CodeGateFrozen:          {503, true, "The sale's gate is being rebuilt; retry after the time that Retry-After gives. No order is lost."},
	CodeUnavailable:         {503, true, "A part of the engine cannot be reached; retry with the same Idempotency-Key."},
	CodePaymentUnavailable:  {503, true, "The payment provider cannot be reached; your hold is kept. Retry with the same Idempotency-Key."},
	CodeInternal:            {500, true, "An unexpected fault; retry with the same Idempotency-Key, and report the request id if it persists."},
}

// Error is a refusal or fault with a code for machines and a sentence for
// people. Adapters classify a driver's error once, into one of these.
type Error struct {
	Code       Code
	Detail     string         // what happened, for people; never holds secrets
	RetryAfter time.Duration  // zero: none stated
	Fields     map[string]any // extension members of the problem document
	Err        error          // the cause, for logs
	Replayed   bool           // it repeats the answer that the same key was given before
}

func (e *Error) Error() string {
	s := string(e.Code)
	if e.Detail != "" {
		s += ": " + e.Detail
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap gives the cause, so that errors.Is sees deadlines and driver errors.
func (e *Error) Unwrap() error { return e.Err }

// Is makes errors.Is(err, engine.E(code, "")) compare by code.
func (e *Error) Is(target error) bool {
	var t *Error
	return errors.As(target, &t) && t.Code == e.Code && t.Err == nil
}

// E makes an Error; the detail is a format.
func E(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Detail: fmt.Sprintf(format, args...)}
}

// Wrap makes an Error around a cause.
func Wrap(err error, code Code, format string, args ...any) *Error {
	return &Error{Code: code, Detail: fmt.Sprintf(format, args...), Err: err}
}

// With adds an extension member and returns e.
func (e *Error) With(name string, value any) *Error {
	if e.Fields == nil {
		e.Fields = map[string]any{}
	}
	e.Fields[name] = value
	return e
}

// After states when a retry makes sense and returns e.
func (e *Error) After(d time.Duration) *Error { e.RetryAfter = d; return e }

// CodeOf gives the code of err: CodeInternal if it carries none, "" for nil.
func CodeOf(err error) Code {
	if err == nil {
		return ""
	}
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	return CodeInternal
}

// Transient says whether the same request may succeed later, unchanged.
func Transient(err error) bool { return Codes[CodeOf(err)].Transient }

// ErrUnknown marks an answer that never came: the act may or may not have
// happened. It is never read as a failure; it is resolved by repeating the act
// with the same idempotency key, or by look-up. Adapters wrap it into what they
// return when a request may have reached the other side.
var ErrUnknown = errors.New("outcome unknown")
