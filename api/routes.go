package api

import (
	"bytes"

	"github.com/valyala/fasthttp"
)

// route is one path of the contract.
type route struct {
	pattern string // as in openapi.yaml; the metrics' label
	allow   string // the Allow header
	rank    rank   // whose requests these are, when there is not room for all
	methods []method
	metrics *routeMetrics
}

type method struct {
	name    string
	buyer   bool // needs a token
	handler func(*Server, *exchange) error
}

// The routes' indexes in the table below.
const (
	atHealth = iota
	atReady
	atOpenAPI
	atSale
	atReservations
	atBatch
	atChallenge
	atReservation
	atCheckout
	atOrder
	atWebhook
	atQueue
	atTicket
	atQueueEvents
	atSaleEvents
	atScript
	atTypes
	atPages
	atNowhere  // no such path
	atUnparsed // not even a request
	routeCount
)

func routeTable() [routeCount]route {
	const get, post, del = fasthttp.MethodGet, fasthttp.MethodPost, fasthttp.MethodDelete
	return [routeCount]route{
		atHealth:       {pattern: "/healthz", allow: "GET, HEAD", rank: supervisors, methods: []method{{get, false, (*Server).health}}},
		atReady:        {pattern: "/readyz", allow: "GET, HEAD", rank: supervisors, methods: []method{{get, false, (*Server).ready}}},
		atOpenAPI:      {pattern: "/openapi.json", allow: "GET, HEAD", rank: browsers, methods: []method{{get, false, (*Server).openAPI}}},
		atSale:         {pattern: "/v1/sales/{sale}", allow: "GET, HEAD", rank: browsers, methods: []method{{get, false, (*Server).getSale}}},
		atReservations: {pattern: "/v1/sales/{sale}/reservations", allow: "POST", rank: newcomers, methods: []method{{post, true, (*Server).reserve}}},
		atBatch:        {pattern: "/v1/sales/{sale}/reservations:batch", allow: "POST", rank: newcomers, methods: []method{{post, true, (*Server).reserveBatch}}},
		atChallenge:    {pattern: "/v1/sales/{sale}/challenge", allow: "GET, HEAD", rank: newcomers, methods: []method{{get, true, (*Server).getChallenge}}},
		atReservation: {pattern: "/v1/reservations/{id}", allow: "GET, HEAD, DELETE", rank: holders, methods: []method{
			{get, true, (*Server).getReservation}, {del, true, (*Server).release}}},
		atCheckout: {pattern: "/v1/reservations/{id}/checkout", allow: "POST", rank: holders, methods: []method{{post, true, (*Server).checkout}}},
		atOrder:    {pattern: "/v1/orders/{id}", allow: "GET, HEAD", rank: holders, methods: []method{{get, true, (*Server).getOrder}}},
		atWebhook:  {pattern: "/v1/webhooks/{provider}", allow: "POST", rank: holders, methods: []method{{post, false, (*Server).webhook}}},
		atQueue: {pattern: "/v1/sales/{sale}/queue", allow: "GET, HEAD, POST, DELETE", rank: newcomers, methods: []method{
			{get, false, (*Server).getQueue}, {post, true, (*Server).joinQueue}, {del, true, (*Server).leaveQueue}}},
		atTicket:      {pattern: "/v1/sales/{sale}/queue/{ticket}", allow: "GET, HEAD", rank: browsers, methods: []method{{get, false, (*Server).getTicket}}},
		atQueueEvents: {pattern: "/v1/sales/{sale}/queue/events", allow: "GET, HEAD", rank: browsers, methods: []method{{get, false, (*Server).queueEvents}}},
		atSaleEvents:  {pattern: "/v1/sales/{sale}/events", allow: "GET, HEAD", rank: browsers, methods: []method{{get, false, (*Server).saleEvents}}},
		atScript:      {pattern: "/flashsale.js", allow: "GET, HEAD", rank: browsers, methods: []method{{get, false, (*Server).script}}},
		atTypes:       {pattern: "/flashsale.d.ts", allow: "GET, HEAD", rank: browsers, methods: []method{{get, false, (*Server).scriptTypes}}},
		atPages: {pattern: "/shop/", allow: "GET, HEAD, POST", rank: browsers, methods: []method{
			{get, false, (*Server).pages}, {post, false, (*Server).pages}}},
		atNowhere:  {pattern: "unmatched", rank: browsers},
		atUnparsed: {pattern: "unparsed", rank: browsers},
	}
}

var (
	shopPath         = []byte("/shop/")
	challengeSuffix  = []byte("/challenge")
	eventsSuffix     = []byte("/events")
	salesPath        = []byte("/v1/sales/")
	reservationsPath = []byte("/v1/reservations/")
	ordersPath       = []byte("/v1/orders/")
	webhooksPath     = []byte("/v1/webhooks/")
)

// match finds a path's route and its one parameter. It reads the path as it was
// sent: ids need no escapes, so an escaped path is no path of ours, and there
// is nothing for two readers of a URL to disagree about.
func match(path []byte) (int, []byte) {
	switch {
	case string(path) == "/healthz":
		return atHealth, nil
	case string(path) == "/readyz":
		return atReady, nil
	case string(path) == "/openapi.json":
		return atOpenAPI, nil
	case string(path) == "/flashsale.js":
		return atScript, nil
	case string(path) == "/flashsale.d.ts":
		return atTypes, nil
	case bytes.HasPrefix(path, shopPath) || string(path) == "/shop":
		return atPages, nil
	}
	if rest, ok := bytes.CutPrefix(path, salesPath); ok {
		if sale, ok := bytes.CutSuffix(rest, batchSuffix); ok && len(sale) > 0 && bytes.IndexByte(sale, '/') < 0 {
			return atBatch, sale
		}
		if sale, ok := bytes.CutSuffix(rest, challengeSuffix); ok && len(sale) > 0 && bytes.IndexByte(sale, '/') < 0 {
			return atChallenge, sale
		}
		if sale, ok := bytes.CutSuffix(rest, eventsSuffix); ok && len(sale) > 0 && bytes.IndexByte(sale, '/') < 0 {
			return atSaleEvents, sale
		}
		if at, param := queuePath(rest); at != atNowhere {
			return at, param
		}
		return child(rest, "reservations", atSale, atReservations)
	}
	if rest, ok := bytes.CutPrefix(path, reservationsPath); ok {
		return child(rest, "checkout", atReservation, atCheckout)
	}
	if rest, ok := bytes.CutPrefix(path, ordersPath); ok {
		return child(rest, "", atOrder, atNowhere)
	}
	if rest, ok := bytes.CutPrefix(path, webhooksPath); ok {
		return child(rest, "", atWebhook, atNowhere)
	}
	return atNowhere, nil
}

// child reads "{id}" or "{id}/{below}".
func child(rest []byte, below string, self, childRoute int) (int, []byte) {
	id, tail, deeper := bytes.Cut(rest, []byte{'/'})
	switch {
	case len(id) == 0:
		return atNowhere, nil
	case !deeper:
		return self, id
	case string(tail) == below && below != "":
		return childRoute, id
	}
	return atNowhere, nil
}

// queuePath reads "{sale}/queue" and what is below. Of a ticket the parameter is both.
func queuePath(rest []byte) (int, []byte) {
	sale, tail, ok := bytes.Cut(rest, []byte("/queue"))
	switch {
	case !ok || len(sale) == 0 || bytes.IndexByte(sale, '/') >= 0:
	case len(tail) == 0:
		return atQueue, sale
	case string(tail) == "/events":
		return atQueueEvents, sale
	case len(tail) > 1 && tail[0] == '/' && bytes.IndexByte(tail[1:], '/') < 0:
		return atTicket, rest
	}
	return atNowhere, nil
}

// rankOf is whose requests a method's are: who only looks is a browser.
func (r *route) rankOf(m method) rank {
	if r.rank == newcomers && m.name == fasthttp.MethodGet {
		return browsers
	}
	return r.rank
}

func (r *route) method(name []byte) (method, bool) {
	if string(name) == fasthttp.MethodHead {
		name = []byte(fasthttp.MethodGet) // fasthttp leaves the body out
	}
	for _, m := range r.methods {
		if m.name == string(name) {
			return m, true
		}
	}
	return method{}, false
}
