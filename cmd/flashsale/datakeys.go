package main

import (
	"fmt"
	"net"
	"os"
	"strings"

	"github.com/flashsale-engine/flashsale/orders/record"
	"github.com/flashsale-engine/flashsale/vault"
)

// needsDataKeys says whether a node with these roles handles contacts.
func needsDataKeys(roles []string) bool { return has(roles, roleAPI) || has(roles, roleNotify) }

const makeDataKeys = "make a keyset with flashsale data key new > FILE, keep it apart from the database and its backups, and give every node --data-keys FILE"

func (s *Settings) validateDataKeys(p *problems, roles []string) {
	if s.DataKeys != "" {
		if _, err := openVault(s.DataKeys); err != nil {
			p.add("data-keys: %v", err)
		}
		return
	}
	for name, a := range map[string]string{"listen": s.Listen, "admin-listen": s.AdminListen} {
		if host, _, err := net.SplitHostPort(a); err == nil && !loopback(host) && needsDataKeys(roles) {
			p.add("data-keys: a node that is reached from other machines (%s %s) must not keep buyers' contact data in clear: %s", name, a, makeDataKeys)
			return
		}
	}
}

// openVault reads the keyset that --data-keys gives or names.
func openVault(given string) (*vault.Vault, error) {
	if !strings.HasPrefix(strings.TrimSpace(given), "{") {
		text, err := os.ReadFile(given)
		if err != nil {
			return nil, err
		}
		given = string(text)
	}
	return vault.Open(given)
}

// sealer is the record's, or nil without a keyset.
func (n *node) sealer() (record.Sealer, error) {
	if n.set.DataKeys == "" {
		if needsDataKeys(n.roles) {
			n.log.Warn("buyers' contact data is kept in clear", "cure", makeDataKeys)
		}
		return nil, nil
	}
	v, err := openVault(n.set.DataKeys)
	if err != nil {
		return nil, fail(exitUsage, "data-keys: %w", err)
	}
	return v, nil
}

func (c *doctorCmd) unsealed() (out []diagnosis) {
	if c.DataKeys == "" && needsDataKeys(c.Roles) {
		return append(out, diagnosis{"data-keys", true, "unsafe", "buyers' contact data is kept in clear; " + makeDataKeys})
	}
	if info, err := os.Stat(strings.TrimPrefix(c.DataKeys, "@")); err == nil && info.Mode().Perm()&0o077 != 0 {
		out = append(out, diagnosis{"data-keys", true, "unsafe", fmt.Sprintf("others on this machine may read %s (mode %#o); chmod 600", c.DataKeys, info.Mode().Perm())})
	}
	return out
}
