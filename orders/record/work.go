package record

import (
	"bytes"
	"context"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/flashsale-engine/flashsale/engine"
)

// The kinds of reminders: see migration 12.
const (
	workOpen   = "open"
	workSettle = "settle"
	workLost   = "lost"
	workOwed   = "owed"
)

// look takes reminders that are due, and from the attempts that they name what
// there is to do.
type look struct {
	kinds []string // of reminders, in the order in which they are taken
	limit int      // of attempts that are given

	// sql gives those of the attempts $1 that are not at their end: attemptColumns,
	// what is to be done (a fate), and when.
	sql  string
	args []any

	fates map[string]fate
}

// fate is how attempts with which the same is to be done are kept from others.
type fate struct {
	kind  string        // of the reminder that is left
	again time.Duration // and when it is due
	how   holding
}

type holding int

const (
	reminded holding = iota // by the reminder alone: nobody else has to do with it
	leased                  // by the attempt's lease, as those who pay respect it
	listed                  // not at all: it is told when it was listed
)

// found is an attempt that a reminder named.
type found struct {
	engine.Attempt
	fate string
	due  time.Time
	now  bool // due
}

// lookRounds bounds a transaction that meets nothing but attempts at their end.
const lookRounds = 64

// work does a look in one transaction: who dies in it has taken nothing, and who
// dies after it has left reminders. Those of attempts that have ended vanish, and
// most have: that is all that a purchase costs here.
func (a *Attempts) work(ctx context.Context, l look) (out []found, err error) {
	err = a.db.tx(ctx, func(tx pgx.Tx) (err error) {
		if _, err := tx.Exec(ctx, inOrderSQL); err != nil {
			return err
		}
		var later []found
		seen := map[engine.AttemptID]bool{}
		out = nil
		for kinds, round := l.kinds, 0; len(kinds) > 0 && len(out) < l.limit && round < lookRounds; round++ {
			var ids [][]byte
			if err := tx.QueryRow(ctx, `SELECT take_due($1, $2)`, kinds[0], l.limit-len(out)).Scan(&ids); err != nil {
				return err
			}
			if len(ids) == 0 {
				kinds = kinds[1:]
				continue
			}
			list, err := l.read(ctx, tx, ids)
			if err != nil {
				return err
			}
			for _, f := range list {
				switch {
				case seen[f.ID]:
				case f.now && len(out) < l.limit:
					out = append(out, f)
				default:
					later = append(later, f)
				}
				seen[f.ID] = true
			}
		}
		if err := l.remind(ctx, tx, out, later); err != nil {
			return err
		}
		out, err = l.hold(ctx, tx, out)
		return err
	})
	return out, err
}

func (l look) read(ctx context.Context, tx pgx.Tx, ids [][]byte) ([]found, error) {
	rows, err := tx.Query(ctx, `SELECT d.*, d.due <= now() FROM (`+l.sql+`) AS d`, append([]any{ids}, l.args...)...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (f found, err error) {
		f.Attempt, err = scanAttempt(withMore{row, []any{&f.fate, &f.due, &f.now}})
		return f, err
	})
}

// withMore reads more columns, behind those that the scanner of a row knows.
type withMore struct {
	pgx.CollectableRow
	last []any
}

func (r withMore) Scan(dest ...any) error {
	return r.CollectableRow.Scan(append(dest, r.last...)...)
}

// workPiece is how many attempts a reminder names: see migration 12.
const workPiece = 64

// remind leaves reminders of what is given, and of what was not due yet or was
// too much.
func (l look) remind(ctx context.Context, tx pgx.Tx, given, later []found) error {
	slices.SortFunc(later, func(a, b found) int { return a.due.Compare(b.due) })
	n := len(given) + len(later)
	if n == 0 {
		return nil
	}
	ids, kinds, pieces := make([][]byte, 0, n), make([]string, 0, n), make([]int32, 0, n)
	due, again := make([]*time.Time, 0, n), make([]time.Duration, 0, n)
	counts := map[fate]int{}
	add := func(f *found, at *time.Time, as fate) {
		ids, kinds, due, again = append(ids, f.ID[:]), append(kinds, as.kind), append(due, at), append(again, as.again)
		pieces = append(pieces, int32(counts[as]/workPiece))
		counts[as]++
	}
	for i := range given {
		add(&given[i], nil, l.fates[given[i].fate])
	}
	for i := range later {
		add(&later[i], &later[i].due, fate{kind: l.fates[later[i].fate].kind})
	}
	_, err := tx.Exec(ctx, `
		INSERT INTO payment_work (kind, due, attempts)
		SELECT w.kind, min(coalesce(w.due, clock_timestamp() + w.again)), array_agg(w.id)
		FROM unnest($1::bytea[], $2::text[], $3::int[], $4::timestamptz[], $5::interval[]) AS w (id, kind, piece, due, again)
		GROUP BY w.kind, w.again, w.due IS NULL, w.piece`, ids, kinds, pieces, due, again)
	return err
}

// hold keeps the others from what is given, and gives up what somebody was
// faster to take. Rows are locked in the order of their ids, as everywhere.
func (l look) hold(ctx context.Context, tx pgx.Tx, given []found) ([]found, error) {
	out := given[:0:0]
	byID := map[engine.AttemptID]found{}
	var ids [][]byte
	var states []string
	var lease []*time.Duration
	slices.SortFunc(given, func(a, b found) int { return bytes.Compare(a.ID[:], b.ID[:]) })
	for i := range given {
		f := &given[i]
		as := l.fates[f.fate]
		if as.how == reminded {
			out = append(out, *f)
			continue
		}
		var span *time.Duration
		if as.how == leased {
			span = &as.again
		}
		byID[f.ID] = *f
		ids, states, lease = append(ids, f.ID[:]), append(states, string(f.State)), append(lease, span)
	}
	if len(ids) == 0 {
		return out, nil
	}
	rows, err := tx.Query(ctx, `
		UPDATE payments p SET
			lease_until = coalesce(clock_timestamp() + w.lease, p.lease_until),
			listed_at   = CASE WHEN w.lease IS NULL THEN clock_timestamp() ELSE p.listed_at END,
			updated_at  = clock_timestamp()
		FROM unnest($1::bytea[], $2::text[], $3::interval[]) AS w (id, state, lease)
		WHERE p.id = w.id AND p.state = w.state AND `+leaseIsOver+`
		RETURNING p.id, p.lease_until`, ids, states, lease)
	if err != nil {
		return nil, err
	}
	var id []byte
	var until time.Time
	_, err = pgx.ForEachRow(rows, []any{&id, &until}, func() error {
		f := byID[engine.AttemptID(id)]
		f.LeaseUntil = until.UTC()
		out = append(out, f)
		return nil
	})
	return out, err
}
