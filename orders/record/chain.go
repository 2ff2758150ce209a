package record

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/flashsale-engine/flashsale/engine"
)

// Chain seals the ledgers and checks the seals. Writers know nothing of it: a row
// carries the number of its transaction, and rows of transactions that are over
// for everybody are sealed in that order, a moment later.
type Chain struct {
	db   *DB
	turn chan struct{} // one check at a time: each reads all there is

	mu   sync.Mutex
	seen engine.Seal // the newest seal that this process has made or met
}

// NewChain gives the chain over the ledgers.
func NewChain(db *DB) *Chain { return &Chain{db: db, turn: make(chan struct{}, 1)} }

// sealForm is the version of the canonical bytes below. A column that is added to
// a ledger later is sealed under another form.
const sealForm = 1

// ledgerTable is a ledger as it is sealed: each column, in this order, in the
// binary form that Postgres sends. place and id come first.
type ledgerTable struct{ name, table, columns string }

var ledgerTables = []ledgerTable{
	{"stock", "stock_ledger", "place, id, at, sale_no, sku_no, kind, units, reason, cause, actor"},
	{"money", "money_ledger", "place, id, at, sale_no, reservation, attempt, kind, amount, currency, provider, provider_ref, reason, cause, actor"},
	{"audit", "audit_log", "place, id, at, actor, act, target, detail::text, key"},
}

// spot is where a row stands in its ledger.
type spot struct{ place, id int64 }

// seal is a row of ledger_seals.
type seal struct {
	no         int64
	ledger     string
	form       int16
	from, to   spot // after from, up to and with to
	rows       int64
	leaves     []byte
	prev, hash []byte
	at         time.Time
}

const sealColumns = `no, ledger, form, from_place, from_id, to_place, to_id, rows, leaves, prev, hash, at`

func scanSeal(row pgx.CollectableRow) (s seal, err error) {
	err = row.Scan(&s.no, &s.ledger, &s.form, &s.from.place, &s.from.id, &s.to.place, &s.to.id, &s.rows, &s.leaves, &s.prev, &s.hash, &s.at)
	return s, err
}

func (s *seal) public() engine.Seal {
	return engine.Seal{No: s.no, Hash: hex.EncodeToString(s.hash), At: s.at.UTC()}
}

// firstPrev is what the first seal has for its predecessor's hash.
var firstPrev = make([]byte, sha256.Size)

// sum gives the hash that a seal of these contents has.
func (s *seal) sum() []byte {
	h := sha256.New()
	number := func(n int64) { _, _ = h.Write(binary.BigEndian.AppendUint64(nil, uint64(n))) }
	text := func(b []byte) { number(int64(len(b))); _, _ = h.Write(b) }
	text([]byte("flashsale ledger seal"))
	text(s.prev)
	text([]byte(s.ledger))
	for _, n := range []int64{int64(s.form), s.no, s.from.place, s.from.id, s.to.place, s.to.id, s.rows, s.at.UnixMicro()} {
		number(n)
	}
	leaves := sha256.Sum256(s.leaves)
	text(leaves[:])
	return h.Sum(nil)
}

// leafSize is what one row takes in a seal: its id and its digest.
const leafSize = 8 + sha256.Size

type leaf struct {
	spot
	digest [sha256.Size]byte
}

func (s *seal) add(l leaf) {
	s.leaves = binary.BigEndian.AppendUint64(s.leaves, uint64(l.id))
	s.leaves = append(s.leaves, l.digest[:]...)
	s.rows++
	s.to = l.spot
}

// leafAt gives the id and the digest of a seal's i-th row.
func (s *seal) leafAt(i int) (id int64, digest [sha256.Size]byte) {
	b := s.leaves[i*leafSize:]
	return int64(binary.BigEndian.Uint64(b)), [sha256.Size]byte(b[8:leafSize])
}

func (s *seal) count() int { return len(s.leaves) / leafSize }

// each reads rows of a ledger and hands over each one's leaf.
func (l ledgerTable) each(ctx context.Context, tx pgx.Tx, where string, args []any, visit func(leaf)) error {
	rows, err := tx.Query(ctx, `SELECT `+l.columns+` FROM `+l.table+` WHERE `+where,
		append([]any{pgx.QueryResultFormats{pgx.BinaryFormatCode}}, args...)...)
	if err != nil {
		return err
	}
	defer rows.Close()
	var buf []byte
	for rows.Next() {
		raw := rows.RawValues()
		buf = canonical(buf[:0], raw)
		visit(leaf{spot{int64(binary.BigEndian.Uint64(raw[0])), int64(binary.BigEndian.Uint64(raw[1]))}, sha256.Sum256(buf)})
	}
	return rows.Err()
}

// canonical gives a row's bytes: each column with its length before it.
func canonical(b []byte, columns [][]byte) []byte {
	for _, c := range columns {
		if c == nil {
			b = binary.BigEndian.AppendUint32(b, ^uint32(0))
			continue
		}
		b = append(binary.BigEndian.AppendUint32(b, uint32(len(c))), c...)
	}
	return b
}
