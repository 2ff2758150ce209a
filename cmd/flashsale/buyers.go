package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/flashsale-engine/flashsale/api"
	"github.com/flashsale-engine/flashsale/buyerkeys"
	"github.com/flashsale-engine/flashsale/engine"
)

// openPublic makes the buyers' door, with the keys that their tokens are verified by.
func (n *node) openPublic(ctx context.Context) error {
	fixed, err := n.set.fixedKeys()
	if err != nil {
		return &exit{exitUsage, err}
	}
	o := api.Options{
		Engine: n.engine, Views: views{n}, Webhooks: webhooks{n}, Rooms: n.desk, SoldOut: n.engine.SoldOut, ReserveThen: n.engine.ReserveThen,
		TLS: config(n.doors.publicCert), Keys: fixed, Audience: n.set.Audience, Origins: n.set.CORSOrigins,
		MaxInFlight: n.set.MaxInFlight, TargetLatency: n.set.TargetLatency, Unguarded: n.set.Unguarded,
		MaxWait: n.set.MaxWait, RequestTimeout: n.router.Budget() + engine.PaymentMargin, Registerer: n.reg, Trace: n.trace, Trail: n.trail, Log: n.log, Pages: n.pages,
	}
	if err := errors.Join(n.openLimits(&o), n.openChallenges(&o)); err != nil {
		return err
	}
	if n.set.BuyerJWKS != "" {
		set, err := n.openKeySet(ctx)
		if err != nil {
			return err
		}
		o.Keys, o.UnknownKid = slices.Concat(fixed, set), n.keys.Unknown
	}
	if n.public, err = api.New(o); err != nil {
		return &exit{exitUsage, err}
	}
	if n.keys != nil {
		n.keys.Use(func(set []api.Key) error { return n.public.SetKeys(slices.Concat(fixed, set)) })
	}
	return nil
}

// openKeySet reads the JWK Set for the first time. One that does not answer is an
// outage like any other, and waited for.
func (n *node) openKeySet(ctx context.Context) (keys []api.Key, err error) {
	n.keys, err = buyerkeys.New(buyerkeys.Config{From: n.set.BuyerJWKS, Every: n.set.BuyerJWKSEvery, Board: n.board, Registerer: n.reg, Log: n.log})
	if err != nil {
		return nil, &exit{exitUsage, err}
	}
	n.onClose(n.keys.Close)
	where := buyerkeys.Shown(n.set.BuyerJWKS)
	away := outage{what: "the buyers' key set", where: where, flags: "--buyer-jwks"}
	var unfit error // waiting does not mend it
	err = n.answers(ctx, away, func(error) bool { return false }, func(ctx context.Context) (err error) {
		if keys, err = n.keys.Read(ctx); err != nil && (buyerkeys.Refused(err) || !buyerkeys.Remote(n.set.BuyerJWKS)) {
			unfit, err = err, nil
		}
		return err
	})
	if unfit != nil {
		return nil, fail(exitUsage, "the buyers' key set at %s: %w\n  Look at what is there, or at --buyer-jwks.", where, unfit)
	}
	return keys, err
}

// fixedKeys are the keys that stay as long as the node runs.
func (s *Settings) fixedKeys() (out []api.Key, err error) {
	if s.BuyerKey != "" {
		k, err := api.HS256Key("", []byte(s.BuyerKey))
		if err != nil {
			return nil, err
		}
		out = append(out, k)
	}
	for _, file := range s.BuyerPublicKeys {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		k, err := api.PublicKey(keyID(file), text)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		out = append(out, k)
	}
	return out, nil
}

// keySet is what doctor says of the JWK Set.
func (s *Settings) keySet(ctx context.Context) (good string, err error) {
	src, err := buyerkeys.New(buyerkeys.Config{From: s.BuyerJWKS})
	if err != nil {
		return "", err
	}
	defer src.Close()
	keys, err := src.Read(ctx)
	if err != nil {
		return "", fmt.Errorf("%s: %w", buyerkeys.Shown(s.BuyerJWKS), err)
	}
	return fmt.Sprintf("%s has %d usable keys", buyerkeys.Shown(s.BuyerJWKS), len(keys)), nil
}
