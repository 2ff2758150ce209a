package main

import (
	"fmt"
	"time"

	"github.com/flashsale-engine/flashsale/api/buyertoken"
)

// Signer is how the trying-out commands sign buyers.
type Signer struct {
	BuyerKey string `help:"HS256 secret of buyer tokens; default: the last demo's." placeholder:"SECRET" type:"secret"`
	Audience string `help:"The aud of buyer tokens." default:"flashsale"`
}

func (s *Signer) key() (string, error) {
	if s.BuyerKey != "" {
		return s.BuyerKey, nil
	}
	r, err := lastDemo()
	if err != nil || r.BuyerKey == "" {
		return "", fail(exitUsage, "no buyer key: give --buyer-key or FLASHSALE_BUYER_KEY (no running demo was found to take it from)")
	}
	return r.BuyerKey, nil
}

type tokenCmd struct {
	Signer
	Buyer string        `help:"The buyer's id: the token's sub." required:"" placeholder:"ID"`
	Scope string        `help:"What a service may do beyond a buyer: reservations:batch." placeholder:"SCOPE"`
	TTL   time.Duration `help:"How long the token is good." default:"1h"`
}

func (c *tokenCmd) Run(w *world) error {
	key, err := c.key()
	if err != nil {
		return err
	}
	token, err := buyertoken.MintScoped([]byte(key), c.Buyer, c.Audience, c.Scope, c.TTL)
	if err != nil {
		return fail(exitUsage, "%v", err)
	}
	_, err = fmt.Fprintln(w.stdout, token)
	return err
}

type envCmd struct{}

func (envCmd) Run(w *world) error {
	r, err := lastDemo()
	if err != nil {
		return fail(exitUsage, "no running demo was found; start one with: flashsale demo")
	}
	for _, v := range [][2]string{{"API", r.API}, {"ADMIN", r.Admin}, {"ADMIN_TOKEN", r.AdminToken}, {"BUYER_KEY", r.BuyerKey}, {"POSTGRES", r.Postgres}, {"SANDBOX", r.Sandbox}} {
		fmt.Fprintf(w.stdout, "export %s='%s'\n", v[0], v[1])
	}
	return nil
}
