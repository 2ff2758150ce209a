package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/flashsale-engine/flashsale/orders/record"
	"github.com/flashsale-engine/flashsale/vault"
)

type dataCmd struct {
	Key    dataKeyCmd    `cmd:"" help:"Make and change the keyset that seals buyers' contact data."`
	Rewrap dataRewrapCmd `cmd:"" help:"Put the primary key around every contact's data key, and seal what is in clear. It may be interrupted and run again."`
	Erase  dataEraseCmd  `cmd:"" help:"Erase a buyer's contact data, for good; the orders stay."`
}

type dataKeyCmd struct {
	New     dataKeyNewCmd     `cmd:"" help:"Print a new keyset of one key."`
	Ls      dataKeyLsCmd      `cmd:"" help:"List a keyset's keys by their ids."`
	Add     dataKeyAddCmd     `cmd:"" help:"Add a key that is not used yet. Give every node the file, then promote it."`
	Promote dataKeyPromoteCmd `cmd:"" help:"Use a key from now on; the others still open what they wrap."`
	Drop    dataKeyDropCmd    `cmd:"" help:"Take a key out, once data rewrap has left nothing that it wraps."`
}

type dataKeyNewCmd struct{}

func (c *dataKeyNewCmd) Run(w *world) error {
	text, err := vault.New()
	if err == nil {
		_, err = fmt.Fprint(w.stdout, text)
	}
	return err
}

type keysetFile struct {
	File string `arg:"" help:"The keyset."`
}

// change rewrites the file in one step: a crash leaves the old one or the new.
func (k keysetFile) change(do func(text string) (string, error)) error {
	old, err := os.ReadFile(k.File)
	if err != nil {
		return &exit{exitUsage, err}
	}
	text, err := do(string(old))
	if err != nil {
		return &exit{exitUsage, err}
	}
	next, err := os.CreateTemp(filepath.Dir(k.File), ".keyset-") // mode 0600
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(next.Name()) }() // of no effect once it has its name
	_, err = next.WriteString(text)
	return errors.Join(err, next.Sync(), next.Close(), orRename(err, next.Name(), k.File))
}

func orRename(failed error, from, to string) error {
	if failed != nil {
		return nil
	}
	return os.Rename(from, to)
}

type dataKeyLsCmd struct{ keysetFile }

func (c *dataKeyLsCmd) Run(w *world) error {
	text, err := os.ReadFile(c.File)
	if err != nil {
		return &exit{exitUsage, err}
	}
	keys, err := vault.Keys(string(text))
	if err != nil {
		return &exit{exitUsage, err}
	}
	for _, k := range keys {
		fmt.Fprintln(w.stdout, k.ID, map[bool]string{true: "primary", false: "opens only"}[k.Primary])
	}
	return nil
}

type dataKeyAddCmd struct{ keysetFile }

func (c *dataKeyAddCmd) Run(w *world) error {
	return c.change(func(text string) (string, error) {
		out, id, err := vault.Add(text)
		if err == nil {
			fmt.Fprintf(w.stdout, "added %d; once every node has the file: flashsale data key promote %s %d\n", id, c.File, id)
		}
		return out, err
	})
}

type dataKeyPromoteCmd struct {
	keysetFile
	ID uint32 `arg:"" help:"The key's id."`
}

func (c *dataKeyPromoteCmd) Run(*world) error {
	return c.change(func(text string) (string, error) { return vault.Promote(text, c.ID) })
}

type dataKeyDropCmd struct {
	keysetFile
	ID uint32 `arg:"" help:"The key's id."`
}

func (c *dataKeyDropCmd) Run(*world) error {
	return c.change(func(text string) (string, error) { return vault.Drop(text, c.ID) })
}

type dataRewrapCmd struct {
	PostgresURL string        `help:"Postgres, the record." default:"postgres://postgres@127.0.0.1:5432/flashsale" placeholder:"URL" type:"secret"`
	DataKeys    string        `help:"The keyset, or the file that has it." required:"" placeholder:"FILE" type:"secret"`
	Batch       int           `help:"Rows per transaction." default:"500"`
	Pause       time.Duration `help:"Between two transactions: for the sake of a sale that runs." default:"10ms"`
	DryRun      bool          `help:"Count what there is, and change nothing."`
}

func (c *dataRewrapCmd) Run(w *world) error {
	if c.Batch < 1 || c.Batch > 10_000 {
		return fail(exitUsage, "--batch %d is not between 1 and 10000", c.Batch)
	}
	v, err := openVault(c.DataKeys)
	if err != nil {
		return &exit{exitUsage, err}
	}
	db, err := record.Open(w, c.PostgresURL, record.Options{MaxConns: 1, Sealer: v, Log: w.log})
	if err != nil {
		return &exit{exitUsage, err}
	}
	defer db.Close()
	contacts := record.NewContacts(db)
	var left int64
	if !c.DryRun {
		if left, err = c.all(w, contacts); err != nil {
			return &exit{exitUnavailable, err}
		}
	}
	n, err := contacts.Count(w)
	if err != nil {
		return &exit{exitUnavailable, err}
	}
	c.report(w, n, v.Primary())
	if left > 0 {
		return fail(exitFound, "%d contacts belong to no payment on record and stay as they are; see flashsale verify", left)
	}
	return nil
}

// all does every step, and says every few seconds how far it is.
func (c *dataRewrapCmd) all(ctx *world, contacts *record.Contacts) (left int64, err error) {
	var done int64
	said := time.Now()
	for at := (record.Rewrapped{}); at.More(); {
		if at, err = contacts.Rewrap(ctx, at, c.Batch); err != nil {
			return left, fmt.Errorf("%d rows are done, run it again: %w", done, err)
		}
		done, left = done+at.Done, left+at.Left
		if time.Since(said) > 5*time.Second {
			said = time.Now()
			ctx.log.Info("rewrapping", "rows", done, "stage", at.Stage)
		}
		if at.Done > 0 {
			if err := sleep(ctx, c.Pause); err != nil {
				return left, fmt.Errorf("%d rows are done, run it again: %w", done, err)
			}
		}
	}
	fmt.Fprintf(ctx.stdout, "changed %d\n", done)
	return left, nil
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}

func (c *dataRewrapCmd) report(w *world, n record.ContactCounts, primary uint32) {
	t := tabwriter.NewWriter(w.stdout, 0, 0, 2, ' ', 0)
	ids := make([]uint32, 0, len(n.ByKey))
	for id := range n.ByKey {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	for _, id := range ids {
		fmt.Fprintf(t, "key %d\t%d\t%s\n", id, n.ByKey[id], map[bool]string{true: "primary", false: ""}[id == primary])
	}
	fmt.Fprintf(t, "in clear\t%d\t\nerased\t%d\t\n", n.Clear, n.Erased)
	_ = t.Flush() // to people
}

type dataEraseCmd struct {
	Admin
	Buyer  string `help:"The buyer's id, as in the tokens' sub." required:"" placeholder:"ID"`
	Reason string `help:"Why; it goes into the audit log." required:""`
}

func (c *dataEraseCmd) Run(w *world) error {
	var out struct {
		Contacts int64 `json:"contacts"`
	}
	if err := c.call(w, "POST", "/admin/v1/buyers/"+url.PathEscape(c.Buyer)+"/erase", map[string]any{"reason": c.Reason}, &out); err != nil {
		return err
	}
	if c.JSON {
		return printJSON(w.stdout, out)
	}
	fmt.Fprintf(w.stdout, "erased %d contacts of %s\n", out.Contacts, c.Buyer)
	return nil
}
