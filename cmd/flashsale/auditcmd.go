package main

import (
	"fmt"
	"net/url"
	"strconv"
	"time"

	"github.com/flashsale-engine/flashsale/engine"
)

type auditCmd struct {
	Verify auditVerifyCmd `cmd:"" help:"Check the hash chain over the stock ledger, the money ledger and the audit log: intact, or exit 1 and the list of what was tampered with."`
	Head   auditHeadCmd   `cmd:"" help:"Print the newest seal. Keep its hash outside of the database, and give it to audit verify --expect later."`
}

type auditVerifyCmd struct {
	Admin
	SinceSeal int64  `help:"Check only what was sealed after this seal." placeholder:"N"`
	Expect    string `help:"A hash that was kept: seal N must have it, or, without --since-seal, any seal." placeholder:"HASH"`
}

func (c *auditVerifyCmd) Run(w *world) error {
	q := url.Values{"since": {strconv.FormatInt(c.SinceSeal, 10)}, "expect": {c.Expect}}
	var r engine.ChainReport
	if err := c.call(w, "GET", "/admin/v1/audit/verify?"+q.Encode(), nil, &r); err != nil {
		return err
	}
	if c.JSON {
		if err := printJSON(w.stdout, r); err != nil {
			return err
		}
	} else {
		printChain(w, r)
	}
	if !r.Intact() {
		return fail(exitFound, "the ledgers were tampered with: %d findings", r.Found)
	}
	return nil
}

func printChain(w *world, r engine.ChainReport) {
	word := "intact"
	if !r.Intact() {
		word = "TAMPERED"
	}
	fmt.Fprintf(w.stdout, "%s: %d rows under %d seals checked in %d ms; %d newer rows are not sealed yet\n", word, r.Rows, r.Seals, r.TookMS, r.Unsealed)
	if r.Head.No > 0 {
		fmt.Fprintf(w.stdout, "newest seal %d of %s: %s\n", r.Head.No, r.Head.At.Format(time.RFC3339), r.Head.Hash)
	}
	for _, t := range r.Tampered {
		fmt.Fprintf(w.stdout, "  %-14s %s (seal %d)\n", t.What, t.Detail, t.Seal)
	}
	if more := r.Found - len(r.Tampered); more > 0 {
		fmt.Fprintf(w.stdout, "  and %d more\n", more)
	}
}

type auditHeadCmd struct{ Admin }

func (c *auditHeadCmd) Run(w *world) error {
	var s engine.Seal
	if err := c.call(w, "GET", "/admin/v1/audit/head", nil, &s); err != nil {
		return err
	}
	if c.JSON {
		return printJSON(w.stdout, s)
	}
	fmt.Fprintf(w.stdout, "seal %d of %s: %s\n", s.No, s.At.Format(time.RFC3339), s.Hash)
	return nil
}
