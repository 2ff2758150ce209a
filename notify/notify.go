// Package notify tells the storefront what became of reservations that were paid
// for: order.confirmed and order.refused, by HTTP, signed as Standard Webhooks.
//
// Its source is durable (Source): a notice is written with its order, taken under
// a lease, and gone only once the storefront has answered 2xx. So each arrives at
// least once, in no promised order, always under the same webhook-id, by which
// the storefront tells a repetition. The stated degraded answer is later: a
// storefront that is away is told when it is back, and no checkout waits for it.
package notify

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/flashsale-engine/flashsale/engine"
	"github.com/flashsale-engine/flashsale/internal/telemetry"
	"github.com/flashsale-engine/flashsale/outside"
)

// Notice is an order that the storefront is to be told of.
type Notice struct {
	Tries int // this one included
	Order engine.Order
}

// message is what is sent.
type message struct {
	id   string
	body []byte
}

// of makes a notice's message. It is the same in every delivery, but for a contact
// that has been erased since.
func of(n Notice) (message, error) {
	o := n.Order
	data := map[string]any{
		"id": o.ID.Order(), "reservation": o.ID.String(), "sale": o.SaleID, "buyer": o.Buyer, "state": o.State,
		"lines": o.Lines, "total": o.Total, "placed_at": o.PlacedAt.UTC(),
	}
	if o.Reason != "" {
		data["reason"] = o.Reason
	}
	if c := contact(o.Contact); len(c) > 0 {
		data["contact"] = c
	}
	body, err := json.Marshal(map[string]any{"type": "order." + string(o.State), "timestamp": o.PlacedAt.UTC(), "data": data})
	return message{id: "msg_" + strings.TrimPrefix(o.ID.Order(), "ord_"), body: body}, err
}

// contact is what the storefront needs to send the goods: data.contact has email
// and address as far as they were given, or says in lost why it has neither.
func contact(c engine.Contact) map[string]any {
	out := map[string]any{}
	if c.Email != "" {
		out["email"] = c.Email
	}
	if c.Address != (engine.Address{}) {
		out["address"] = c.Address
	}
	if c.Lost != "" {
		out["lost"] = c.Lost
	}
	return out
}

// Secret is a key that signs: whsec_ and base64 of 24 to 64 bytes.
type Secret []byte

// ParseSecret reads a secret in the form of Standard Webhooks.
func ParseSecret(s string) (Secret, error) {
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(s, "whsec_"))
	if err != nil || !strings.HasPrefix(s, "whsec_") || len(key) < 24 || len(key) > 64 {
		return nil, errors.New("a notification secret is whsec_ and base64 of 24 to 64 random bytes")
	}
	return key, nil
}

// Sign gives the webhook-signature header: one signature per secret, so that a
// storefront can rotate its own.
func Sign(secrets []Secret, id string, at time.Time, body []byte) string {
	out := make([]string, 0, len(secrets))
	for _, s := range secrets {
		mac := hmac.New(sha256.New, s)
		fmt.Fprintf(mac, "%s.%d.", id, at.Unix())
		mac.Write(body)
		out = append(out, "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil)))
	}
	return strings.Join(out, " ")
}

// endpoint is the storefront's.
type endpoint struct {
	url     string
	secrets []Secret
	client  *http.Client
}

func newEndpoint(target string, secrets []Secret, concurrency int) (*endpoint, error) {
	if u, err := url.Parse(target); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("notify: URL %q: want https://host/path", target)
	}
	if len(secrets) == 0 {
		return nil, errors.New("notify: without a secret nobody could tell our notifications from a stranger's")
	}
	return &endpoint{url: target, secrets: secrets, client: &http.Client{
		Transport:     telemetry.Transport(&http.Transport{MaxIdleConnsPerHost: concurrency, IdleConnTimeout: 90 * time.Second}),
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// post makes one try. Anything but 2xx is an error.
func (e *endpoint) post(ctx context.Context, m message) (none struct{}, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, e.url, bytes.NewReader(m.body))
	if err != nil {
		return none, err
	}
	now := time.Now()
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Webhook-Id", m.id)
	req.Header.Set("Webhook-Timestamp", strconv.FormatInt(now.Unix(), 10))
	req.Header.Set("Webhook-Signature", Sign(e.secrets, m.id, now, m.body))
	res, err := e.client.Do(req)
	if err != nil {
		return none, err
	}
	defer func() { _ = res.Body.Close() }()
	_, _ = io.Copy(io.Discard, io.LimitReader(res.Body, 64<<10)) // so that the connection can be used again
	if res.StatusCode/100 != 2 {
		return none, fmt.Errorf("the storefront answered %d", res.StatusCode)
	}
	return none, nil
}

// call is a delivery through the mechanism. One try: the source brings it back.
func (e *endpoint) call(b *outside.Board, c outside.Config) (*outside.Call[message, struct{}], error) {
	d, err := outside.New(b, c)
	if err != nil {
		return nil, err
	}
	return outside.NewCall(d, outside.Spec[message, struct{}]{Op: "deliver", Do: e.post}), nil
}
