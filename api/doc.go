// Package api is the public HTTP door of the sale. It decodes a request once
// and strictly, learns who the buyer is, counts the request against limits,
// asks the engine, and writes the answer: JSON, or an RFC 9457 problem.
//
// This is the only package that knows fasthttp. Whatever a request carries is
// copied at the edge, into strings and numbers: fasthttp reuses a request's
// memory for the next one, so nothing of it may be kept.
//
// openapi.yaml is the contract; openapi.json is the same document as it is
// served. Tests hold the two and the server's real answers together.
package api
