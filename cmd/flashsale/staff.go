package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"github.com/flashsale-engine/flashsale/ops"
	"github.com/flashsale-engine/flashsale/outside"
	"github.com/flashsale-engine/flashsale/staff"
)

// Staff says how operators are known who have no admin token of their own.
type Staff struct {
	AdminOIDCIssuer   string   `help:"Identity provider (OpenID Connect) whose tokens operators may send instead of an admin token: its issuer URL." name:"admin-oidc-issuer" placeholder:"URL"`
	AdminOIDCAudience string   `help:"The aud that its tokens must carry: the client id there." name:"admin-oidc-audience" placeholder:"ID"`
	AdminOIDCClaim    string   `help:"The claim that names an operator's roles or groups; dots lead into objects." name:"admin-oidc-claim" default:"roles" placeholder:"NAME"`
	AdminOIDCRole     []string `help:"What a value of that claim permits: VALUE=viewer, VALUE=operator or VALUE=owner; repeatable." name:"admin-oidc-role" placeholder:"VALUE=ROLE"`
}

// staff gives the identity provider, nil if there is none.
func (s *Settings) staff(board *outside.Board, log *slog.Logger) (*staff.Provider, error) {
	if s.AdminOIDCIssuer == "" {
		if s.AdminOIDCAudience != "" || len(s.AdminOIDCRole) > 0 {
			return nil, errors.New("admin-oidc-audience, admin-oidc-role: they need admin-oidc-issuer")
		}
		return nil, nil
	}
	roles := map[string]ops.Role{}
	for _, r := range s.AdminOIDCRole {
		at := strings.LastIndexByte(r, '=')
		role, err := ops.ParseRole(r[at+1:])
		if at < 1 || err != nil {
			return nil, fmt.Errorf("admin-oidc-role: %q is not VALUE=viewer, VALUE=operator or VALUE=owner", r)
		}
		roles[r[:at]] = role
	}
	return staff.New(staff.Config{Issuer: s.AdminOIDCIssuer, Audience: s.AdminOIDCAudience, Claim: s.AdminOIDCClaim, Roles: roles, Board: board, Log: log})
}

// askStaff is what doctor does.
func (s *Settings) askStaff(ctx context.Context) error {
	p, err := s.staff(nil, nil)
	if err != nil {
		return err
	}
	return p.Check(ctx)
}
