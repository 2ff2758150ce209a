package record

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/flashsale-engine/flashsale/engine"
)

// Ledger turns batches of the stream into orders: all of a batch's effects and
// the stream's new position in one transaction.
type Ledger struct {
	db   *DB
	look atomic.Int64 // batches that still look for orders that exist before they write
}

// NewLedger gives the record's side of the order writer.
func NewLedger(db *DB) *Ledger { return &Ledger{db: db} }

// Ping asks Postgres for a sign of life: CodeUnavailable.
func (l *Ledger) Ping(ctx context.Context) error { return l.db.Ping(ctx) }

// ErrFenced says that the record does not stand where the writer believes:
// another writer owns the partition now, or an earlier COMMIT went through after
// all. Nothing of the batch was written. Read Positions and go on from there.
var ErrFenced = errors.New("record: the stream's position has moved: fenced")

// Event is an accepted event with what the claim added to it.
type Event struct {
	engine.AcceptedEvent
	Epoch      int64
	Seq        uint64
	AcceptedAt time.Time
}

// Entry is one record of the stream. With a Reason it is known not to become an
// order and goes to the dead letters, as it came.
type Entry struct {
	Partition int32
	Offset    int64
	Key       []byte
	Headers   map[string]string
	Value     []byte
	Event     Event
	Reason    string
	Detail    string
}

// Batch is what a writer has read: entries in the order of their partitions.
type Batch struct {
	Topic   string
	Entries []Entry
	From    map[int32]int64 // the record's position, as the writer believes, of each partition in Entries
}

// next gives the position after the batch.
func (b Batch) next() map[int32]int64 {
	out := make(map[int32]int64, len(b.From))
	for i := range b.Entries {
		out[b.Entries[i].Partition] = b.Entries[i].Offset + 1
	}
	return out
}

// Decided is the record's word on one event, for the node that waits for it.
type Decided struct {
	engine.Outcome
	ReplyTo  string
	Repeated bool // the order was there before
}

// Result is what a committed batch did.
type Result struct {
	Decided []Decided
	Dead    map[string]int  // dead letters per reason
	Next    map[int32]int64 // the record's new position
}

// Dead-letter reasons that the record itself gives.
const (
	DeadUnknownSale   = "unknown_sale"
	DeadUnknownSKU    = "unknown_sku"
	DeadPriceMismatch = "price_mismatch"
)

// Marked is the Reason of an entry that is no event but the mark of an epoch of
// the gate. It becomes nothing: only the position passes it.
const Marked = "epoch_mark"

// StockExhausted is the reason of an order that the stock could not cover.
const StockExhausted = "stock_exhausted"

// PaymentEnded is the reason of an order whose payment had been given back before
// its event came: its gate was lost in between.
const PaymentEnded = "payment_ended"

// Commit writes a batch. It may return ErrFenced, a *DataError (Postgres refuses
// something in the batch: split it), CodeUnavailable (nothing was written), or an
// error that wraps ErrUnknown: then neither the COMMIT nor a look afterwards was
// answered, and repeating the batch gives ErrFenced if it went through.
func (l *Ledger) Commit(ctx context.Context, b Batch) (Result, error) {
	for n := 1; ; n++ {
		d, err := l.once(ctx, b)
		if err == nil {
			return d.result(b), nil
		}
		if !errors.Is(err, engine.ErrUnknown) {
			return Result{}, err
		}
		committed, lookErr := l.committed(ctx, b)
		switch {
		case lookErr != nil:
			if errors.Is(lookErr, ErrFenced) {
				return Result{}, lookErr
			}
			return Result{}, err
		case committed:
			return l.readBack(ctx, b)
		case n == attempts:
			return Result{}, unavailable(err)
		}
	}
}

// once tries a batch, and again with a look at existing orders if it meets one.
func (l *Ledger) once(ctx context.Context, b Batch) (d *decision, err error) {
	look := l.look.Load() > 0
	for {
		err = l.db.tx(ctx, func(tx pgx.Tx) (err error) {
			d, err = l.write(ctx, tx, b, look)
			return err
		})
		switch {
		case err == nil && look:
			l.look.Add(-1)
		case wantsLook(err) && !look, errors.Is(err, errLook): // barred while it looked
			look = true
			l.look.Store(lookFor)
			continue
		}
		return d, err
	}
}

// committed finds out what became of a COMMIT without an answer. The locking
// read waits for a transaction that is still about to end.
func (l *Ledger) committed(ctx context.Context, b Batch) (bool, error) {
	var at map[int32]int64
	err := l.db.tx(ctx, func(tx pgx.Tx) (err error) {
		at, err = lockPositions(ctx, tx, b)
		return err
	})
	if err != nil {
		return false, err
	}
	switch {
	case same(at, b.next()):
		return true, nil
	case same(at, b.From):
		return false, nil
	}
	return false, ErrFenced
}

// readBack reads the outcomes of a batch that another look found committed.
func (l *Ledger) readBack(ctx context.Context, b Batch) (Result, error) {
	d := newDecision(len(b.Entries))
	err := l.db.with(ctx, reading, func(c *pgxpool.Conn) error {
		rows, err := c.Query(ctx, existingSQL, b.ids()...)
		if err != nil {
			return err
		}
		return d.readExisting(rows)
	})
	if err != nil {
		// The orders are there; that nobody is told costs a poll.
		l.db.opt.Log.Warn("outcomes of a settled batch could not be read", "err", err)
	}
	r := Result{Next: b.next(), Dead: map[string]int{}}
	for i := range b.Entries {
		if o, ok := d.existing[b.Entries[i].Event.ID]; ok && b.Entries[i].Reason == "" {
			r.Decided = append(r.Decided, Decided{Outcome: o, ReplyTo: b.Entries[i].Event.ReplyTo})
		}
	}
	return r, nil
}

func same(a, b map[int32]int64) bool {
	if len(a) != len(b) {
		return false
	}
	for p, o := range b {
		if at, ok := a[p]; !ok || at != o {
			return false
		}
	}
	return true
}
