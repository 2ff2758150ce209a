package main

import (
	"context"
	"fmt"
	"net"
	"reflect"
	"sort"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"github.com/flashsale-engine/flashsale/buyerkeys"
	"github.com/flashsale-engine/flashsale/orders/record"
)

// Roles of a node. Any number of nodes may have each.
const (
	roleAPI      = "api"      // the public listener
	roleRelay    = "relay"    // publishes what dead nodes left in the outbox
	roleWriter   = "writer"   // turns events into orders
	roleReaper   = "reaper"   // expires holds, opens and ends sales by the clock, resolves overdue payments
	rolePayments = "payments" // captures, voids and refunds, resolves unfinished attempts, acts on providers' events
	roleNotify   = "notify"   // tells the storefront of orders, if --notify-url is set
)

var allRoles = []string{roleAPI, roleRelay, roleWriter, roleReaper, rolePayments, roleNotify}

// serveCmd is production: the backends are somebody else's.
type serveCmd struct {
	Settings `embed:""`
	Backends `embed:""`
	Roles    []string `help:"What this node does." default:"api,relay,writer,reaper,payments,notify"`
	JSON     bool     `help:"Print one JSON line on stdout when ready."`
}

func (c *serveCmd) Run(w *world) error {
	if err := c.Validate(c.Roles, c.Backends); err != nil {
		return err
	}
	n, err := openNode(w, c.Settings, c.Backends, c.Roles)
	if err != nil && w.Err() != nil {
		w.log.Info("stopped before every backend had answered")
		return nil
	}
	if err != nil {
		return err
	}
	return n.run(w, func() error {
		if c.JSON {
			return printJSON(w.stdout, map[string]any{"api": n.publicURL(), "admin": n.adminURL(), "roles": c.Roles})
		}
		w.log.Info("serving", "api", n.publicURL(), "admin", n.adminURL(), "roles", c.Roles)
		return nil
	})
}

type migrateCmd struct {
	PostgresURL string `help:"Postgres, the record." default:"postgres://postgres@127.0.0.1:5432/flashsale" placeholder:"URL" type:"secret"`
	DryRun      bool   `help:"Print what would be applied, and apply nothing."`
}

func (c *migrateCmd) Run(w *world) error {
	ctx, cancel := context.WithTimeout(w, 2*time.Minute)
	defer cancel()
	if !c.DryRun {
		if err := record.Migrate(ctx, c.PostgresURL); err != nil {
			return &exit{exitUnavailable, err}
		}
	}
	status, err := record.Status(ctx, c.PostgresURL)
	if err != nil {
		return &exit{exitUnavailable, err}
	}
	for _, m := range status {
		word := "pending"
		if m.Applied {
			word = "applied " + m.AppliedAt.UTC().Format(time.RFC3339)
		}
		fmt.Fprintf(w.stdout, "%4d  %-28s  %s\n", m.Version, m.Name, word)
	}
	return nil
}

type configCmd struct {
	Check configCheckCmd `cmd:"" help:"Check every setting and the relations between them; touches no dependency."`
	Print configPrintCmd `cmd:"" help:"Print the settings in effect, secrets redacted."`
}

type configCheckCmd struct {
	Settings `embed:""`
	Backends `embed:""`
	Roles    []string `help:"What the node does." default:"api,relay,writer,reaper,payments,notify"`
}

func (c *configCheckCmd) Run(w *world) error {
	if err := c.Validate(c.Roles, c.Backends); err != nil {
		return err
	}
	fmt.Fprintln(w.stdout, "the configuration is usable")
	return nil
}

type configPrintCmd struct {
	Settings `embed:""`
	Backends `embed:""`
	JSON     bool `help:"Print JSON for machines."`
}

func (c *configPrintCmd) Run(w *world) error {
	all := map[string]any{}
	for _, part := range []any{c.Settings, c.Exposure, c.Backends} {
		v := reflect.ValueOf(part)
		for i := range v.NumField() {
			if v.Type().Field(i).Anonymous {
				continue
			}
			all[flagName(v.Type().Field(i).Name)] = shown(v.Type().Field(i), v.Field(i).Interface())
		}
	}
	if c.JSON {
		return printJSON(w.stdout, all)
	}
	names := make([]string, 0, len(all))
	for name := range all {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		fmt.Fprintf(w.stdout, "%s: %v\n", name, all[name])
	}
	return nil
}

// shown hides what must not be printed.
func shown(f reflect.StructField, v any) any {
	switch {
	case f.Name == "BuyerJWKS":
		return buyerkeys.Shown(fmt.Sprint(v))
	case strings.HasSuffix(f.Name, "URL"):
		return redactURL(fmt.Sprint(v))
	case f.Tag.Get("type") == "secret" && !reflect.ValueOf(v).IsZero():
		return "(set, not shown)"
	}
	if d, ok := v.(time.Duration); ok {
		return d.String()
	}
	return v
}

// flagName is how kong names the flag of a field.
func flagName(field string) string {
	var out []rune
	rs := []rune(field)
	for i, r := range rs {
		upper := r >= 'A' && r <= 'Z'
		if upper && i > 0 && (rs[i-1] < 'A' || rs[i-1] > 'Z' || i+1 < len(rs) && rs[i+1] >= 'a') {
			out = append(out, '-')
		}
		out = append(out, []rune(strings.ToLower(string(r)))...)
	}
	return string(out)
}

// defaults gives the settings that no flag changes.
func defaults() (Settings, error) {
	var s struct {
		Settings `embed:""`
	}
	parser, err := kong.New(&s)
	if err != nil {
		return Settings{}, err
	}
	_, err = parser.Parse(nil)
	return s.Settings, err
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
