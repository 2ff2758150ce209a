package main

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/flashsale-engine/flashsale/orders"
	"github.com/flashsale-engine/flashsale/orders/record"
	"github.com/flashsale-engine/flashsale/reservation"
)

// doctorCmd checks the configuration and every dependency, live, and says what to do.
type doctorCmd struct {
	Settings `embed:""`
	Backends `embed:""`
	Roles    []string `help:"What the node does." default:"api,relay,writer,reaper,payments,notify"`
	JSON     bool     `help:"Print JSON for machines."`
}

// diagnosis is one thing that the doctor looked at.
type diagnosis struct {
	Check  string `json:"check"`
	OK     bool   `json:"ok"`
	Level  string `json:"level"` // ok, unsafe (works, but should not face the world) or broken
	Detail string `json:"detail"`
}

func (c *doctorCmd) Run(w *world) error {
	var found []diagnosis
	look := func(check string, err error, good, cure string) {
		d := diagnosis{Check: check, OK: err == nil, Level: "ok", Detail: good}
		if err != nil {
			d.Level, d.Detail = "broken", strings.TrimSpace(err.Error()+"\n"+cure)
		}
		found = append(found, d)
	}
	look("configuration", c.Validate(c.Roles, c.Backends), "usable", "")
	ctx, cancel := context.WithTimeout(w, 15*time.Second)
	defer cancel()
	look("redis", pingRedis(ctx, c.RedisURL), redactURL(c.RedisURL)+" answers", "Start Redis or set --redis-url.")
	look("postgres", pingPostgres(ctx, c.PostgresURL), redactURL(c.PostgresURL)+" answers", "Start Postgres or set --postgres-url.")
	look("kafka", orders.Ping(ctx, strings.Split(c.KafkaBrokers, ",")), c.KafkaBrokers+" answer", "Start Kafka or set --kafka-brokers.")
	if c.PaymentURL != "" || c.StripeKey == "" {
		look("payment provider", pingHTTP(ctx, c.PaymentURL), c.PaymentURL+" answers", "Start the provider (flashsale sandbox) or set --payment-url.")
	}
	if c.BuyerJWKS != "" {
		good, err := c.keySet(ctx)
		look("buyer keys", err, good, "Have the storefront publish its JWK Set there, or set --buyer-jwks.")
	}
	if c.AdminOIDCIssuer != "" {
		look("identity provider", c.askStaff(ctx), c.AdminOIDCIssuer+" says where its keys are", "Look at --admin-oidc-issuer; until it answers, admin tokens alone are known.")
	}
	found = append(append(append(found, c.unsafe()...), c.unsealed()...), unfitRedis(ctx, c.RedisURL)...)
	found = append(found, c.unfitKafka(ctx)...)
	return c.report(w, found)
}

func (c *doctorCmd) report(w *world, found []diagnosis) error {
	broken := 0
	for _, d := range found {
		if d.Level == "broken" {
			broken++
		}
	}
	if c.JSON {
		if err := printJSON(w.stdout, found); err != nil {
			return err
		}
	} else {
		t := tabwriter.NewWriter(w.stdout, 0, 0, 2, ' ', 0)
		for _, d := range found {
			fmt.Fprintf(t, "%s\t%s\t%s\n", d.Level, d.Check, strings.ReplaceAll(d.Detail, "\n", "; "))
		}
		if err := t.Flush(); err != nil {
			return err
		}
	}
	if broken > 0 {
		return fail(exitUnavailable, "%d of %d checks failed", broken, len(found))
	}
	return nil
}

func pingRedis(ctx context.Context, url string) error {
	gate, err := reservation.Open(reservation.Options{URL: url})
	if err != nil {
		return err
	}
	defer func() { _ = gate.Close() }()
	return gate.Ping(ctx)
}

// unfitRedis lists what works and may cost buyers their holds.
func unfitRedis(ctx context.Context, url string) (out []diagnosis) {
	gate, err := reservation.Open(reservation.Options{URL: url})
	if err != nil {
		return nil // said already
	}
	defer func() { _ = gate.Close() }()
	unfit, err := gate.Unfit(ctx)
	if err != nil {
		return nil
	}
	for _, u := range unfit {
		out = append(out, diagnosis{"redis", true, "unsafe", u})
	}
	return out
}

// unfitKafka lists what works and may cost events that Kafka acknowledged.
func (c *doctorCmd) unfitKafka(ctx context.Context) (out []diagnosis) {
	unfit, err := orders.Unfit(ctx, strings.Split(c.KafkaBrokers, ","), c.Topic, int(c.Partitions), int(c.Replication))
	if err != nil {
		return nil // that it does not answer is said already
	}
	for _, u := range unfit {
		out = append(out, diagnosis{"kafka", true, "unsafe", u})
	}
	return out
}

func pingPostgres(ctx context.Context, url string) error {
	db, err := record.Open(ctx, url, record.Options{MaxConns: 1})
	if err != nil {
		return err
	}
	defer db.Close()
	return db.Ping(ctx)
}

func pingHTTP(ctx context.Context, base string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(base, "/")+"/healthz", nil)
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s/healthz answers %s", base, res.Status)
	}
	return nil
}

// redactURL hides a password.
func redactURL(s string) string {
	u, err := url.Parse(s)
	if err != nil {
		return "(not a URL)"
	}
	return u.Redacted()
}
