package challenge

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/flashsale-engine/flashsale/internal/telemetry"
	"github.com/flashsale-engine/flashsale/outside"
)

// Cloudflare Turnstile, or what speaks its language:
//
//	POST URL   secret, response, remoteip, idempotency_key, as a form
//	200        {"success":true} or {"success":false,"error-codes":["timeout-or-duplicate"]}
//
// A token is good once. The idempotency key is made of token, buyer and sale, so that a
// repeated request hears the same answer, and another buyer with the same token does not.

// token is what a page's widget gave.
type token struct{ text, from, sale, buyer string }

type verdict struct{ why string } // "": it is good

const (
	maxToken  = 2048     // bytes, by Turnstile's own account
	maxAnswer = 64 << 10 // bytes
)

func (c *Challenges) prepare() error {
	u, err := url.Parse(c.o.VerifyURL)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return errors.New("challenge: the URL of siteverify must be of the form https://host/path")
	}
	if c.o.TurnstileSecret == "" || c.o.SiteKey == "" {
		return errors.New("challenge: Turnstile needs its secret and its site key")
	}
	if c.o.Client == nil {
		c.o.Client = &http.Client{
			Transport:     telemetry.Transport(&http.Transport{Proxy: http.ProxyFromEnvironment, MaxIdleConnsPerHost: 64, IdleConnTimeout: 90 * time.Second}),
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}
	}
	c.far, err = outside.New(c.o.Board, outside.Config{Name: "challenge", Timeout: time.Second, Budget: 2 * time.Second, Tries: 2, Concurrency: 256})
	if err != nil {
		return err
	}
	c.verify = outside.NewCall(c.far, outside.Spec[token, verdict]{Op: "siteverify", Do: c.siteverify, Again: outside.Always,
		Result: func(v verdict, err error) string {
			switch {
			case err != nil:
				return "error"
			case v.why != "":
				return "refused"
			}
			return "ok"
		}})
	return nil
}

func (c *Challenges) ask(ctx context.Context, t token) (why string, away bool) {
	if t.text == "" || len(t.text) > maxToken {
		return "the token is empty or too long", false
	}
	v, err := c.verify.Do(ctx, t)
	if err != nil {
		return "the token cannot be verified just now; solve this challenge instead", true
	}
	return v.why, false
}

func (c *Challenges) siteverify(ctx context.Context, t token) (none verdict, err error) {
	sum := sha256.Sum256(fmt.Appendf(nil, "%d %s %d %s %s", len(t.sale), t.sale, len(t.buyer), t.buyer, t.text))
	sum[6], sum[8] = sum[6]&0x0f|0x80, sum[8]&0x3f|0x80 // a UUID of version 8
	form := url.Values{"secret": {c.o.TurnstileSecret}, "response": {t.text},
		"idempotency_key": {fmt.Sprintf("%x-%x-%x-%x-%x", sum[:4], sum[4:6], sum[6:8], sum[8:10], sum[10:16])}}
	if t.from != "" {
		form.Set("remoteip", t.from)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.o.VerifyURL, strings.NewReader(form.Encode()))
	if err != nil {
		return none, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	res, err := c.o.Client.Do(req)
	if err != nil {
		return none, err
	}
	defer func() { _ = res.Body.Close() }()
	raw, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return none, err
	}
	var out struct {
		Success *bool    `json:"success"`
		Errors  []string `json:"error-codes"`
	}
	if err := json.Unmarshal(raw, &out); err != nil || out.Success == nil {
		return none, fmt.Errorf("siteverify answers %d, and no JSON with success", res.StatusCode)
	}
	if *out.Success {
		return none, nil
	}
	for _, code := range out.Errors {
		switch code {
		case "internal-error", "missing-input-secret", "invalid-input-secret", "bad-request": // theirs or ours, not the buyer's
			return none, fmt.Errorf("siteverify answers %s", code)
		}
	}
	if len(out.Errors) > 0 && out.Errors[0] == "timeout-or-duplicate" {
		return verdict{"the token has been used, or is too old"}, nil
	}
	return verdict{"the token is not good"}, nil
}
