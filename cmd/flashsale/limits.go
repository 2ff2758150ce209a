package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"net/netip"
	"strings"

	"github.com/flashsale-engine/flashsale/admission/limit"
	"github.com/flashsale-engine/flashsale/api"
	"github.com/flashsale-engine/flashsale/challenge"
)

// Who may come how often; docs/limits.md.

func (s *Settings) validateLimits(p *problems) {
	if _, err := s.rules(); err != nil {
		p.add("limit: %v", err)
	}
	if _, err := s.proxies(); err != nil {
		p.add("trusted-proxies: %v", err)
	}
	if !strings.EqualFold(s.ForwardedHeader, api.HeaderXForwardedFor) && !strings.EqualFold(s.ForwardedHeader, api.HeaderForwarded) {
		p.add("forwarded-header: %q is neither %s nor %s", s.ForwardedHeader, api.HeaderXForwardedFor, api.HeaderForwarded)
	}
	if s.MaxConnsPerIP < 0 {
		p.add("max-conns-per-ip: %d; 0 is no limit", s.MaxConnsPerIP)
	}
	if s.LimitFree < 0 || s.LimitFree > 1 {
		p.add("limit-free: %g is not between 0 and 1", s.LimitFree)
	}
	if s.LimitKeys < 1 || s.LimitKeys > 1<<26 {
		p.add("limit-keys: %d is not between 1 and %d", s.LimitKeys, 1<<26)
	}
	if s.DoorSecret != "" && len(s.DoorSecret) < 16 {
		p.add("door-secret: %d bytes; at least 16", len(s.DoorSecret))
	}
}

func (s *Settings) rules() (limit.Rules, error) {
	r := limit.Defaults()
	for _, text := range s.Limit {
		if err := r.Parse(text); err != nil {
			return r, err
		}
	}
	return r, nil
}

// proxies reads networks, and addresses, which are networks of one.
func (s *Settings) proxies() (out []netip.Prefix, err error) {
	for _, text := range s.TrustedProxies {
		p, err := netip.ParsePrefix(text)
		if a, alone := netip.ParseAddr(text); alone == nil {
			p, err = netip.PrefixFrom(a, a.BitLen()), nil
		}
		if err != nil {
			return nil, err
		}
		if p = p.Masked(); p.Bits() == 0 {
			return nil, errBelieveAll
		}
		out = append(out, p)
	}
	return out, nil
}

var errBelieveAll = errors.New("a network of all addresses would believe everybody; name the proxies' own")

// doorSecret is what all nodes share to hide names and to sign challenges: its own
// setting, or made of others that they share anyway.
func (s *Settings) doorSecret(purpose string) []byte {
	secret := s.DoorSecret
	if secret == "" {
		secret = s.BuyerKey
	}
	if secret == "" {
		secret = strings.Join(s.AdminToken, "\n")
	}
	m := hmac.New(sha256.New, []byte(secret))
	m.Write([]byte("flashsale door: " + purpose))
	return m.Sum(nil)
}

// openLimits prepares what counts the buyers' requests.
func (n *node) openLimits(o *api.Options) error {
	rules, err := n.set.rules()
	if err != nil {
		return &exit{exitUsage, err}
	}
	if o.TrustedProxies, err = n.set.proxies(); err != nil {
		return &exit{exitUsage, err}
	}
	o.ForwardedHeader, o.MaxConnsPerIP = n.set.ForwardedHeader, n.set.MaxConnsPerIP
	limits, err := limit.Open(limit.Options{Rules: rules, URL: n.at.RedisURL, Secret: n.set.doorSecret("limits"), Share: n.set.LimitFree, Keys: n.set.LimitKeys, Registerer: n.reg, Log: n.log})
	if err != nil {
		return &exit{exitUsage, err}
	}
	n.onClose(func() { _ = limits.Close() })
	o.Limits = limits
	return nil
}

func (s *Settings) validateChallenge(p *problems) {
	if s.Challenge == "off" || s.Challenge == "" {
		return
	}
	o := s.challenges()
	c, err := challenge.New(o)
	if err != nil {
		p.add("challenge, challenge-bits, turnstile-secret, turnstile-site-key, turnstile-url: %v", err)
	} else {
		c.Close()
	}
	if s.DoorSecret == "" && s.BuyerKey == "" {
		p.add("door-secret: set it, the same on all nodes: a challenge that one gives is solved at another")
	}
}

func (s *Settings) challenges() challenge.Options {
	return challenge.Options{Kind: s.Challenge, Secret: s.doorSecret("challenges"), Sales: s.ChallengeSales, Above: s.ChallengeAbove, Bits: s.ChallengeBits,
		SiteKey: s.TurnstileSiteKey, TurnstileSecret: s.TurnstileSecret, VerifyURL: s.TurnstileURL}
}

// openChallenges prepares what asks the buyers for a proof, if anything does.
func (n *node) openChallenges(o *api.Options) error {
	if n.set.Challenge == "off" || n.set.Challenge == "" {
		return nil
	}
	c := n.set.challenges()
	c.Board, c.Registerer = n.board, n.reg
	made, err := challenge.New(c)
	if err != nil {
		return &exit{exitUsage, err}
	}
	n.onClose(made.Close)
	o.Challenges = made
	return nil
}
