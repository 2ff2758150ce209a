package record

import (
	"crypto/sha256"
	"fmt"
	"slices"

	"github.com/flashsale-engine/flashsale/engine"
)

// matcher holds the rows of a ledger, in their order, against the leaves of some
// of its seals. It collects the rows of one seal and settles them together, so
// that what is said of a row does not depend on where others were put.
type matcher struct {
	k      *chainCheck
	ledger string
	seals  []*seal // the first is the one that is being filled
	rows   []leaf
}

// row takes the next row. One before the seal's beginning was covered by a seal
// that is not there: that is said of the seal, and nothing can be said of the row.
func (m *matcher) row(r leaf) {
	for len(m.seals) > 1 && after(r.spot, m.seals[0].to) {
		m.settle()
	}
	if after(r.spot, m.seals[0].from) {
		m.rows = append(m.rows, r)
	}
}

func after(a, b spot) bool { return a.place > b.place || a.place == b.place && a.id > b.id }

func (m *matcher) finish() {
	for len(m.seals) > 0 {
		m.settle()
	}
}

// settle compares one seal's leaves with the rows that stand where it covers.
func (m *matcher) settle() {
	s, rows := m.seals[0], m.rows
	m.seals, m.rows = m.seals[1:], m.rows[:0]
	if inStep(s, rows) {
		return
	}
	sealed := make(map[int64][sha256.Size]byte, s.count())
	for i := range s.count() {
		id, digest := s.leafAt(i)
		sealed[id] = digest
	}
	for _, r := range rows {
		digest, ok := sealed[r.id]
		delete(sealed, r.id)
		switch {
		case !ok:
			add(m.k.extra, m.ledger, r.id, s.no)
		case digest != r.digest:
			m.k.changed(m.ledger, s.no, r.id)
		}
	}
	for id := range sealed {
		add(m.k.gone, m.ledger, id, s.no)
	}
}

func inStep(s *seal, rows []leaf) bool {
	if len(rows) != s.count() {
		return false
	}
	for i := range rows {
		if id, digest := s.leafAt(i); id != rows[i].id || digest != rows[i].digest {
			return false
		}
	}
	return true
}

func (k *chainCheck) changed(ledger string, no, id int64) {
	k.report.Add(engine.Tamper{What: engine.RowChanged, Ledger: ledger, Row: id, Seal: no, Detail: fmt.Sprintf("row %d of the %s ledger is not what was sealed", id, ledger)})
}

func add(to map[string]map[int64]int64, ledger string, id, no int64) {
	if to[ledger] == nil {
		to[ledger] = map[int64]int64{}
	}
	to[ledger][id] = no
}

// name says of each row that is missing in one place or too much in another what
// happened to it: one that is both was moved.
func (k *chainCheck) name() {
	for _, l := range ledgerTables {
		gone, extra := k.gone[l.name], k.extra[l.name]
		for _, id := range sorted(gone) {
			if _, moved := extra[id]; moved {
				delete(extra, id)
				k.report.Add(engine.Tamper{What: engine.RowChanged, Ledger: l.name, Row: id, Seal: gone[id], Detail: fmt.Sprintf("row %d of the %s ledger was moved to another place", id, l.name)})
				continue
			}
			k.report.Add(engine.Tamper{What: engine.RowDeleted, Ledger: l.name, Row: id, Seal: gone[id], Detail: fmt.Sprintf("row %d of the %s ledger was sealed and is not there", id, l.name)})
		}
		for _, id := range sorted(extra) {
			k.report.Add(engine.Tamper{What: engine.RowInserted, Ledger: l.name, Row: id, Seal: extra[id], Detail: fmt.Sprintf("row %d of the %s ledger stands where none was sealed", id, l.name)})
		}
	}
}

func sorted(m map[int64]int64) []int64 {
	out := make([]int64, 0, len(m))
	for id := range m {
		out = append(out, id)
	}
	slices.Sort(out)
	return out
}
