package record

import (
	"context"
	"crypto/rand"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/flashsale-engine/flashsale/engine"
)

// SaleStore is engine.SaleStore on Postgres.
type SaleStore struct {
	db *DB
	// OnChange, if set, is handed each new snapshot after its commit, so that
	// this node's cache (Sales.Put) need not wait for its next look.
	OnChange func(*engine.Sale)
}

var _ engine.SaleStore = (*SaleStore)(nil)

// NewSaleStore gives the store of sales.
func NewSaleStore(db *DB) *SaleStore { return &SaleStore{db: db} }

// Create writes a draft, or gives the one of that name that exists.
func (st *SaleStore) Create(ctx context.Context, s *engine.Sale, actor string) (*engine.Sale, bool, error) {
	var out *engine.Sale
	var created bool
	err := st.db.tx(ctx, func(tx pgx.Tx) error {
		was, err := readSale(ctx, tx, s.ID, "")
		if err == nil || engine.CodeOf(err) != engine.CodeNotFound {
			out, created = was, false
			return err
		}
		out, created, err = insertSale(ctx, tx, s, actor)
		return err
	})
	if err != nil {
		return nil, false, err
	}
	st.changed(out)
	return out, created, nil
}

func insertSale(ctx context.Context, tx pgx.Tx, s *engine.Sale, actor string) (*engine.Sale, bool, error) {
	now := clone(s)
	now.State, now.Version, now.Epoch = engine.SaleDraft, 1, 0
	if _, err := rand.Read(now.Secret[:]); err != nil {
		return nil, false, err
	}
	err := tx.QueryRow(ctx, `
		INSERT INTO sales (id, name, currency, state, opens_at, closes_at, hold_ttl_ms, hold_cap_ms, per_buyer_limit, shards, secret)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
		ON CONFLICT (id) DO NOTHING
		RETURNING no`,
		now.ID, now.Name, now.Currency, string(now.State), timeOrNull(now.OpensAt), timeOrNull(now.ClosesAt),
		now.HoldTTL.Milliseconds(), now.HoldCap.Milliseconds(), now.PerBuyerLimit, now.Shards, now.Secret[:]).Scan(&now.No)
	if err == pgx.ErrNoRows { //nolint:errorlint // QueryRow gives it bare
		was, err := readSale(ctx, tx, s.ID, "") // somebody else was faster
		return was, false, err
	}
	if err != nil {
		return nil, false, err
	}
	none := clone(now)
	none.Items, none.Admission = nil, nil
	act := engine.Act{Actor: actor, Name: "create"}
	if err := writeItems(ctx, tx, none, now, act); err != nil {
		return nil, false, err
	}
	if err := writeRoom(ctx, tx, none, now); err != nil {
		return nil, false, err
	}
	return now, true, writeAudit(ctx, tx, act, now.ID, map[string]any{"name": now.Name, "skus": len(now.Items)})
}

// Get reads a sale by name: CodeNotFound.
func (st *SaleStore) Get(ctx context.Context, id string) (s *engine.Sale, err error) {
	err = st.db.with(ctx, reading, func(c *pgxpool.Conn) error {
		s, err = readSale(ctx, c, id, "")
		return err
	})
	return s, err
}

// List reads all sales, newest first.
func (st *SaleStore) List(ctx context.Context) (out []*engine.Sale, err error) {
	err = st.db.with(ctx, reading, func(c *pgxpool.Conn) error {
		out, err = readSales(ctx, c, "true ORDER BY s.no DESC")
		return err
	})
	return out, err
}

func (st *SaleStore) changed(s *engine.Sale) {
	if st.OnChange != nil {
		st.OnChange(s)
	}
}

func clone(s *engine.Sale) *engine.Sale {
	c := *s
	c.Items = append([]engine.Item(nil), s.Items...)
	return &c
}

func timeOrNull(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}
