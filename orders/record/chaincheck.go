package record

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/flashsale-engine/flashsale/engine"
)

// sealsAtOnce bounds what a check holds in memory: their leaves.
const sealsAtOnce = 128

// chainCheck is one walk along the chain, over one snapshot.
type chainCheck struct {
	tx     pgx.Tx
	report engine.ChainReport
	last   seal                       // checked before
	torn   map[string]bool            // ledgers whose next seal follows on one that is missing
	ends   map[string]spot            // per ledger, where its last seal ended
	gone   map[string]map[int64]int64 // per ledger, rows that were sealed and not found: their seal
	extra  map[string]map[int64]int64 // per ledger, rows found where none was sealed: the seal around them
}

// Check walks along the chain from the seal after `since` (0: from the first) and
// compares every sealed row with its digest, in one snapshot, beside all other
// work. expect is a hash that was kept elsewhere: seal `since` must have it, or,
// with since 0, any seal.
func (c *Chain) Check(ctx context.Context, since int64, expect string) (engine.ChainReport, error) {
	select {
	case c.turn <- struct{}{}:
		defer func() { <-c.turn }()
	case <-ctx.Done():
		return engine.ChainReport{}, ctx.Err()
	}
	began := time.Now()
	expect = strings.ToLower(strings.TrimSpace(expect))
	k := &chainCheck{ends: map[string]spot{}, torn: map[string]bool{}, gone: map[string]map[int64]int64{}, extra: map[string]map[int64]int64{}}
	k.report.Tampered = []engine.Tamper{}
	err := c.db.with(ctx, reading, func(conn *pgxpool.Conn) error {
		tx, err := conn.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly})
		if err != nil {
			return err
		}
		k.tx = tx
		err = k.run(ctx, since, expect)
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_ = tx.Rollback(end) // it has written nothing
		return err
	})
	k.report.At, k.report.TookMS = began.UTC(), time.Since(began).Milliseconds()
	return k.report, err
}

func (k *chainCheck) run(ctx context.Context, since int64, expect string) error {
	if err := k.guards(ctx); err != nil {
		return err
	}
	if err := k.begin(ctx, since, expect); err != nil {
		return err
	}
	for {
		rows, err := k.tx.Query(ctx, `SELECT `+sealColumns+` FROM ledger_seals WHERE no > $1 ORDER BY no LIMIT $2`, k.last.no, sealsAtOnce)
		if err != nil {
			return err
		}
		seals, err := pgx.CollectRows(rows, scanSeal)
		if err != nil {
			return err
		}
		if len(seals) == 0 {
			break
		}
		for i := range seals {
			k.link(&seals[i])
		}
		for _, l := range ledgerTables {
			if err := k.compare(ctx, l, seals); err != nil {
				return err
			}
		}
	}
	k.report.Head = k.last.public()
	if k.last.no == 0 {
		k.report.Head = engine.Seal{}
	}
	k.name()
	return k.unsealed(ctx)
}

// guards looks whether the triggers that refuse changes are there and awake.
func (k *chainCheck) guards(ctx context.Context) error {
	for _, table := range []string{"stock_ledger", "money_ledger", "audit_log", "ledger_seals"} {
		var awake bool
		err := k.tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_trigger WHERE tgname = $1 AND tgrelid = to_regclass($2) AND tgenabled IN ('O', 'A'))`, table+"_append_only", table).Scan(&awake)
		if err != nil {
			return err
		}
		if !awake {
			k.report.Add(engine.Tamper{What: engine.GuardMissing, Ledger: table, Detail: fmt.Sprintf("the trigger that refuses changes of %s is off", table)})
		}
	}
	return nil
}

// begin takes the seal to start after, and looks for the hash that was kept.
func (k *chainCheck) begin(ctx context.Context, since int64, expect string) error {
	k.last = seal{hash: firstPrev}
	if since > 0 {
		rows, err := k.tx.Query(ctx, `SELECT `+sealColumns+` FROM ledger_seals WHERE no = $1`, since)
		if err != nil {
			return err
		}
		at, err := pgx.CollectRows(rows, scanSeal)
		if err != nil {
			return err
		}
		if len(at) == 0 {
			k.report.Add(engine.Tamper{What: engine.AnchorMissing, Seal: since, Detail: fmt.Sprintf("there is no seal %d", since)})
			return nil
		}
		k.last = at[0]
		k.last.leaves = nil
		if expect != "" && hex.EncodeToString(at[0].hash) != expect {
			k.report.Add(engine.Tamper{What: engine.AnchorMissing, Seal: since, Detail: fmt.Sprintf("seal %d has another hash than the one that was kept", since)})
		}
		return k.endsAt(ctx, since)
	}
	if expect == "" {
		return nil
	}
	raw, err := hex.DecodeString(expect)
	if err != nil {
		return engine.E(engine.CodeInvalidRequest, "expect: %q is not a hash in hexadecimal", expect).With("field", "expect")
	}
	var there bool
	if err := k.tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM ledger_seals WHERE hash = $1)`, raw).Scan(&there); err != nil {
		return err
	}
	if !there {
		k.report.Add(engine.Tamper{What: engine.AnchorMissing, Detail: "no seal has the hash that was kept: the chain was cut behind it, or made anew"})
	}
	return nil
}

// endsAt reads where each ledger's sealed part ended at a seal.
func (k *chainCheck) endsAt(ctx context.Context, no int64) error {
	rows, err := k.tx.Query(ctx, `SELECT DISTINCT ON (ledger) ledger, to_place, to_id FROM ledger_seals WHERE no <= $1 ORDER BY ledger, no DESC`, no)
	if err != nil {
		return err
	}
	var ledger string
	var at spot
	_, err = pgx.ForEachRow(rows, []any{&ledger, &at.place, &at.id}, func() error { k.ends[ledger] = at; return nil })
	return err
}

// link checks a seal in itself and against the one before it.
func (k *chainCheck) link(s *seal) {
	bad := func(what, format string, args ...any) {
		k.report.Add(engine.Tamper{What: what, Ledger: s.ledger, Seal: s.no, Detail: fmt.Sprintf(format, args...)})
	}
	for no := k.last.no + 1; no < s.no; no++ {
		k.report.Add(engine.Tamper{What: engine.SealMissing, Seal: no, Detail: fmt.Sprintf("seal %d is not there", no)})
		for _, l := range ledgerTables {
			k.torn[l.name] = true // one of them
		}
		if s.no-no > engine.MaxTampers {
			break
		}
	}
	switch {
	case !bytes.Equal(s.sum(), s.hash), len(s.leaves)%leafSize != 0, int64(s.count()) != s.rows:
		bad(engine.SealChanged, "seal %d is not what its hash says", s.no)
	case s.no == k.last.no+1 && !bytes.Equal(s.prev, k.last.hash):
		bad(engine.SealChanged, "seal %d does not follow from seal %d: one of them was made anew", s.no, k.last.no)
	case s.from != k.ends[s.ledger] && !k.torn[s.ledger]:
		bad(engine.SealChanged, "seal %d does not begin where the one before it of this ledger ended", s.no)
	}
	k.report.Seals++
	k.report.Rows += s.rows
	k.torn[s.ledger] = false
	k.last, k.ends[s.ledger] = *s, s.to
	k.last.leaves = nil
}

// compare reads the rows that some seals cover of one ledger and holds them
// against their leaves. In an honest ledger the two go in step.
func (k *chainCheck) compare(ctx context.Context, l ledgerTable, seals []seal) error {
	var mine []*seal
	for i := range seals {
		if seals[i].ledger == l.name {
			mine = append(mine, &seals[i])
		}
	}
	if len(mine) == 0 {
		return nil
	}
	first, last := mine[0], mine[len(mine)-1]
	at := matcher{k: k, ledger: l.name, seals: mine}
	err := l.each(ctx, k.tx, `(place, id) > ($1, $2) AND (place, id) <= ($3, $4) ORDER BY place, id`,
		[]any{first.from.place, first.from.id, last.to.place, last.to.id}, at.row)
	at.finish()
	return err
}

// unsealed counts the rows that are newer than the last seal.
func (k *chainCheck) unsealed(ctx context.Context) error {
	for _, l := range ledgerTables {
		var n int64
		if err := k.tx.QueryRow(ctx, `SELECT count(*) FROM `+l.table+` WHERE (place, id) > (`+sealedUpTo(l.name)+`)`).Scan(&n); err != nil {
			return err
		}
		k.report.Unsealed += n
	}
	return nil
}
