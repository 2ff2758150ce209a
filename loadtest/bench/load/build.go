package load

import (
	"bytes"
	"fmt"
	"strconv"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/flashsale-engine/flashsale/api/buyertoken"
)

// Buyer is the name of the i-th buyer; all have the same length.
func Buyer(i int) string { return fmt.Sprintf("buyer-%07d", i) }

// Tokens signs a token per buyer, as the storefront would have.
func Tokens(key string, n int) ([][]byte, error) {
	out := make([][]byte, n)
	for i := range out {
		t, err := buyertoken.Mint([]byte(key), Buyer(i), "", 12*time.Hour)
		if err != nil {
			return nil, err
		}
		out[i] = []byte(t)
	}
	return out, nil
}

// serviceToken signs the token of a back end that may name buyers.
func serviceToken(key string) ([]byte, error) {
	now := time.Now()
	t, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{"sub": "bench-service", "aud": buyertoken.DefaultAudience,
		"iat": now.Unix(), "exp": now.Add(time.Hour).Unix(), "scope": "reservations:batch"}).SignedString([]byte(key))
	return []byte(t), err
}

// builder makes requests out of parts that are ready.
type builder struct {
	spec    *Spec
	tokens  [][]byte
	buyers  [][]byte
	heads   [][]byte // per sale
	bodies  [][]byte // per SKU, with headers that need its length
	body    []byte   // scratch of Batch
	service []byte   // the token of Batch
}

const letters = "abcdefghijklmnop"

// appendKey writes n in 16 letters. Digits would look like a card's number, at
// which the engine looks twice; keys in life are UUIDs.
func appendKey(dst []byte, n uint64) []byte {
	for shift := 60; shift >= 0; shift -= 4 {
		dst = append(dst, letters[n>>shift&15])
	}
	return dst
}

func newBuilder(s *Spec, tokens [][]byte) *builder {
	b := &builder{spec: s, tokens: tokens}
	for i := range s.Buyers {
		b.buyers = append(b.buyers, []byte(Buyer(i)))
	}
	for _, sale := range s.Sales {
		path := "/v1/sales/" + sale + "/reservations"
		if s.Kind == Batch {
			path += ":batch"
		}
		b.heads = append(b.heads, []byte("POST "+path+" HTTP/1.1\r\nHost: "+s.Addr+"\r\nAuthorization: Bearer "))
	}
	for _, sku := range s.SKUs {
		body := `{"lines":[{"sku":"` + sku + `","quantity":1}]}`
		b.bodies = append(b.bodies, []byte("\"\r\nContent-Type: application/json\r\nContent-Length: "+strconv.Itoa(len(body))+"\r\n\r\n"+body))
	}
	return b
}

// pick gives the n-th request's sale, buyer and SKU: every buyer once per sale.
func (b *builder) pick(n uint64) (sale, buyer, sku int) {
	people := uint64(b.spec.Buyers)
	mixed := n * 0x9e3779b97f4a7c15
	return int(n / people % uint64(len(b.spec.Sales))), int(n % people), int(mixed >> 33 % uint64(len(b.spec.SKUs)))
}

// first writes the n-th request.
func (b *builder) first(dst []byte, n uint64) []byte {
	switch b.spec.Kind {
	case Batch:
		return b.batch(dst, n)
	case Script:
		for i := range uint64(b.spec.Depth) {
			dst = b.script(dst, n*uint64(b.spec.Depth)+i)
		}
		return dst
	}
	sale, buyer, sku := b.pick(n)
	dst = append(dst, b.heads[sale]...)
	dst = append(dst, b.tokens[buyer]...)
	dst = append(dst, "\r\nIdempotency-Key: \""...)
	dst = appendKey(dst, b.spec.Next+n)
	return append(dst, b.bodies[sku]...)
}

var released, checkout = []byte("DELETE /v1/reservations/"), []byte("POST /v1/reservations/")

const pay = `{"payment_method":"pm_card_visa","contact":{"email":"b@example.com"}}`

var payTail = []byte("\"\r\nContent-Type: application/json\r\nPrefer: wait=10\r\nContent-Length: " + strconv.Itoa(len(pay)) + "\r\n\r\n" + pay)

// second writes the request that follows the n-th, whose answer gave id.
func (b *builder) second(dst []byte, n uint64, id []byte) []byte {
	_, buyer, _ := b.pick(n)
	what := released
	if b.spec.Kind == Purchase {
		what = checkout
	}
	dst = append(append(dst, what...), id...)
	if b.spec.Kind == Purchase {
		dst = append(dst, "/checkout"...)
	}
	dst = append(dst, " HTTP/1.1\r\nHost: "...)
	dst = append(dst, b.spec.Addr...)
	dst = append(dst, "\r\nAuthorization: Bearer "...)
	dst = append(dst, b.tokens[buyer]...)
	if b.spec.Kind != Purchase {
		return append(dst, "\r\n\r\n"...)
	}
	dst = append(dst, "\r\nIdempotency-Key: \""...)
	dst = appendKey(dst, b.spec.Next+n)
	return append(dst, payTail...)
}

// batch writes Depth reservations of as many buyers for one sale.
func (b *builder) batch(dst []byte, n uint64) []byte {
	depth := uint64(b.spec.Depth)
	sale, _, _ := b.pick(n * depth)
	b.body = b.body[:0]
	for i := range depth {
		at := n*depth + i
		_, buyer, sku := b.pick(at)
		b.body = append(b.body, `{"buyer":"`...)
		b.body = append(b.body, b.buyers[buyer]...)
		b.body = append(b.body, `","idempotency_key":"`...)
		b.body = appendKey(b.body, b.spec.Next+at)
		b.body = append(b.body, `","lines":[{"sku":"`...)
		b.body = append(b.body, b.spec.SKUs[sku]...)
		b.body = append(b.body, "\",\"quantity\":1}]}\n"...)
	}
	dst = append(dst, b.heads[sale]...)
	dst = append(dst, b.service...)
	dst = append(dst, "\r\nContent-Type: application/x-ndjson\r\nContent-Length: "...)
	dst = strconv.AppendInt(dst, int64(len(b.body)), 10)
	return append(append(dst, "\r\n\r\n"...), b.body...)
}

func bulk(dst []byte, parts ...[]byte) []byte {
	size := 0
	for _, p := range parts {
		size += len(p)
	}
	dst = append(dst, '$')
	dst = strconv.AppendInt(dst, int64(size), 10)
	dst = append(dst, "\r\n"...)
	for _, p := range parts {
		dst = append(dst, p...)
	}
	return append(dst, "\r\n"...)
}

var scriptHead = []byte("*12\r\n$7\r\nEVALSHA\r\n")

// script writes one EVALSHA of script A: four keys and five arguments.
func (b *builder) script(dst []byte, at uint64) []byte {
	_, _, sku := b.pick(at)
	var rooms [2][16]byte
	id, prefix, name := appendKey(rooms[0][:0], b.spec.Next+at), []byte(b.spec.Keys), b.spec.SKUs[sku]
	who := at
	if b.spec.refused(at) {
		who--
	}
	buyer := appendKey(rooms[1][:0], b.spec.Next+who)
	dst = append(dst, scriptHead...)
	dst = bulk(dst, []byte(b.spec.SHA))
	dst = bulk(dst, []byte("4"))
	dst = bulk(dst, prefix, []byte("r:"), id)
	dst = bulk(dst, prefix, []byte("buyers"))
	dst = bulk(dst, prefix, []byte("stock:"), []byte(name))
	dst = bulk(dst, prefix, []byte("expiry"))
	dst = bulk(dst, id)
	dst = bulk(dst, buyer)
	dst = bulk(dst, []byte("1"))
	dst = bulk(dst, []byte("1"))
	return bulk(dst, []byte("1800000"))
}

// refused says whether the at-th call of Script must be refused.
func (s *Spec) refused(at uint64) bool {
	return s.Refuse > 1 && at%uint64(s.Refuse) == uint64(s.Refuse)-1
}

// granted counts the holds that the n-th pipeline of Script must get.
func (s *Spec) granted(n uint64) (holds int) {
	for i := range uint64(s.Depth) {
		if !s.refused(n*uint64(s.Depth) + i) {
			holds++
		}
	}
	return holds
}

// idIn finds the id of a reservation's answer.
func idIn(body []byte) []byte {
	const mark = `"id":"`
	at := bytes.Index(body, []byte(mark))
	if at < 0 {
		return nil
	}
	id := body[at+len(mark):]
	end := bytes.IndexByte(id, '"')
	if end < 0 {
		return nil
	}
	return id[:end]
}
