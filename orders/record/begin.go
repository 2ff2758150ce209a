package record

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/flashsale-engine/flashsale/engine"
	"github.com/flashsale-engine/flashsale/internal/telemetry"
)

// beginning is one caller of Begin.
type beginning struct {
	engine.Attempt
	lease       time.Duration
	key, sealed []byte // its contact; see contact.go
}

// Begin writes an attempt in state authorising under a lease, or gives the one
// of that id that exists. Concurrent calls share one statement; of two callers
// with the same id exactly one is told Fresh. CodeGateFrozen if the shard that
// gave the hold has been granted another epoch since: from then on whatever an old
// gate gives is worth nothing, and nothing is paid for it. See engine.Rebuilder.
func (a *Attempts) Begin(ctx context.Context, at engine.Attempt, lease time.Duration) (_ engine.Attempt, failed error) {
	ctx, span := telemetry.Start(ctx, "note attempt", "db.system.name", "postgresql")
	defer func() { span.End(failed) }()
	key, sealed, err := a.db.seal(at.Contact, at.ID, at.Reservation)
	if err != nil {
		return at, err
	}
	got, err := a.begin.call(ctx, beginning{at, lease, key, sealed})
	if err == nil && got.ID != at.ID {
		return at, engine.E(engine.CodeGateFrozen, "the shard that gave the hold is of another epoch now").After(time.Second)
	}
	return got, err
}

// beginAll writes a batch of attempts in one statement, and reads those that
// existed in a second. The shards' leases are locked, shared, until the batch has
// committed: an epoch that is raised waits for it, and sees its attempts.
func (a *Attempts) beginAll(ctx context.Context, in []beginning) ([]engine.Attempt, error) {
	cols, err := columns(in)
	if err != nil {
		return nil, err
	}
	wrote := make(map[engine.AttemptID]stamps, len(in))
	var existed map[engine.AttemptID]engine.Attempt
	err = a.db.with(ctx, writing, func(c *pgxpool.Conn) error {
		// Of what it wrote, only the times are news.
		rows, err := c.Query(ctx, `
			WITH granted AS MATERIALIZED (
				SELECT g.sale_no, g.shard, g.epoch FROM gate_leases g
				WHERE g.sale_no = ANY ($3) AND g.shard = ANY ($11)
				ORDER BY g.sale_no, g.shard FOR SHARE),
			begun AS (
				INSERT INTO payments AS p (id, reservation, sale_no, buyer, amount, currency, method, provider, state, lease_until, lines, traceparent)
				SELECT b.id, b.reservation, b.sale_no, b.buyer, b.amount, b.currency, b.method, b.provider, 'authorising', clock_timestamp() + b.lease, b.lines::jsonb, b.traceparent
				FROM unnest($1::bytea[], $2::bytea[], $3::bigint[], $4::text[], $5::bigint[], $6::text[], $7::text[], $8::text[], $9::interval[], $11::int[], $10::bigint[], $12::text[], $15::text[])
					AS b (id, reservation, sale_no, buyer, amount, currency, method, provider, lease, shard, epoch, lines, traceparent)
					LEFT JOIN granted g ON g.sale_no = b.sale_no AND g.shard = b.shard
				WHERE g.epoch IS NULL OR g.epoch = b.epoch
				ON CONFLICT (id) DO NOTHING
				RETURNING p.id, p.created_at, p.lease_until),
			kept AS (
				INSERT INTO contacts (attempt, key, sealed)
				SELECT b.id, b.key, b.sealed FROM unnest($1::bytea[], $13::bytea[], $14::bytea[]) AS b (id, key, sealed) JOIN begun USING (id)
				WHERE b.sealed IS NOT NULL)
			SELECT id, created_at, lease_until FROM begun`,
			cols.id, cols.reservation, cols.sale, cols.buyer, cols.amount, cols.currency, cols.method, cols.provider, cols.lease, cols.epoch,
			cols.shard, cols.lines, cols.key, cols.sealed, cols.traceparent)
		if err != nil {
			return err
		}
		var id []byte
		var at stamps
		_, err = pgx.ForEachRow(rows, []any{&id, &at.begun, &at.lease}, func() error {
			wrote[engine.AttemptID(id)] = at
			return nil
		})
		return err
	})
	if err != nil {
		return nil, err
	}
	if missing := cols.except(wrote); len(missing.id) > 0 {
		err = a.db.with(ctx, reading, func(c *pgxpool.Conn) error {
			rows, err := c.Query(ctx, `SELECT `+attemptColumns+`, `+contactColumns+` FROM payments p LEFT JOIN contacts c ON c.attempt = p.id JOIN unnest($1::bytea[], $2::bigint[], $3::int[], $4::bigint[]) AS b (id, sale_no, shard, epoch) ON p.id = b.id
				LEFT JOIN gate_leases g ON g.sale_no = b.sale_no AND g.shard = b.shard WHERE g.epoch IS NULL OR g.epoch = b.epoch`, missing.id, missing.sale, missing.shard, missing.epoch)
			if err != nil {
				return err
			}
			existed, err = byID(rows, a.withContact(ctx))
			return err
		})
		if err != nil {
			return nil, lost(err, writing) // some of the batch are written
		}
	}
	return deal(in, wrote, existed), nil
}

// stamps are the record's times of an attempt that it wrote.
type stamps struct {
	begun, lease time.Time
	dealt        int // 1 + the place of the caller that was told Fresh
}

// deal gives each caller its attempt; the first of an id that was written is
// told Fresh, and no other: it is the first's attempt that they get.
func deal(in []beginning, wrote map[engine.AttemptID]stamps, existed map[engine.AttemptID]engine.Attempt) []engine.Attempt {
	out := make([]engine.Attempt, len(in))
	for i, b := range in {
		at, ok := wrote[b.ID]
		switch {
		case !ok:
			out[i] = existed[b.ID]
		case at.dealt == 0:
			out[i] = b.written(at)
			out[i].Fresh = true
			at.dealt = 1 + i
			wrote[b.ID] = at
		default:
			out[i] = out[at.dealt-1]
			out[i].Fresh = false
		}
	}
	return out
}

// written is the attempt as it stands in the record, which wrote it just now.
func (b beginning) written(at stamps) engine.Attempt {
	a := engine.Attempt{ID: b.ID, Reservation: b.Reservation, Buyer: b.Buyer, Amount: b.Amount, Method: b.Method, Contact: b.Contact, Provider: b.Provider, Traceparent: b.Traceparent}
	a.State, a.BegunAt, a.LeaseUntil = engine.PaymentAuthorising, at.begun.UTC(), at.lease.UTC()
	return a
}

func byID(rows pgx.Rows, scan pgx.RowToFunc[engine.Attempt]) (map[engine.AttemptID]engine.Attempt, error) {
	list, err := pgx.CollectRows(rows, scan)
	out := make(map[engine.AttemptID]engine.Attempt, len(list))
	for _, a := range list {
		out[a.ID] = a
	}
	return out, err
}

// beginColumns are a batch, column by column, as unnest takes it.
type beginColumns struct {
	id, reservation, key, sealed      [][]byte
	sale, amount, epoch               []int64
	shard                             []int32
	buyer, currency, method, provider []string
	lines                             []*string
	traceparent                       []string
	lease                             []time.Duration
}

func columns(in []beginning) (c beginColumns, err error) {
	n := len(in)
	c = beginColumns{
		id: make([][]byte, n), reservation: make([][]byte, n), key: make([][]byte, n), sealed: make([][]byte, n), sale: make([]int64, n), amount: make([]int64, n), epoch: make([]int64, n), shard: make([]int32, n), buyer: make([]string, n),
		currency: make([]string, n), method: make([]string, n), provider: make([]string, n), lines: make([]*string, n), lease: make([]time.Duration, n), traceparent: make([]string, n),
	}
	seen := make(map[engine.AttemptID]bool, n)
	for i := range in {
		b := &in[i]
		c.id[i], c.reservation[i] = b.ID[:], b.Reservation.Bytes()
		c.sale[i], c.amount[i] = int64(b.Reservation.Sale), b.Amount.Amount
		c.shard[i], c.epoch[i] = int32(b.Shard), b.Epoch
		c.buyer[i], c.currency[i] = b.Buyer, b.Amount.Currency
		c.method[i], c.provider[i], c.lease[i], c.traceparent[i] = b.Method, b.Provider, b.lease, b.Traceparent
		if !seen[b.ID] { // the first of an id is the one that is written
			seen[b.ID], c.key[i], c.sealed[i] = true, b.key, b.sealed
		}
		if c.lines[i], err = linesRow(b.Lines); err != nil {
			return c, err
		}
	}
	return c, nil
}

// except gives what finds the attempts of the batch that were not written.
func (c beginColumns) except(wrote map[engine.AttemptID]stamps) (rest beginColumns) {
	for i, id := range c.id {
		if _, ok := wrote[engine.AttemptID(id)]; !ok {
			rest.id, rest.sale = append(rest.id, id), append(rest.sale, c.sale[i])
			rest.shard, rest.epoch = append(rest.shard, c.shard[i]), append(rest.epoch, c.epoch[i])
		}
	}
	return rest
}
