package engine

import "time"

// ChainReport is what a check of the hash chain over the ledgers found. The chain
// covers the stock movements, the money movements and the audit log.
type ChainReport struct {
	Seals    int64     `json:"seals"`    // that were checked
	Rows     int64     `json:"rows"`     // that they cover
	Unsealed int64     `json:"unsealed"` // rows newer than the last seal: nothing can be said of them
	Head     Seal      `json:"head"`     // the newest seal; keep its hash elsewhere
	Tampered []Tamper  `json:"tampered"` // at most MaxTampers of them
	Found    int       `json:"found"`    // how many there are
	At       time.Time `json:"at"`
	TookMS   int64     `json:"took_ms"`
}

// MaxTampers is how many tamperings a report lists.
const MaxTampers = 1000

// Intact says that nothing was tampered with.
func (r ChainReport) Intact() bool { return r.Found == 0 }

// Add notes a tampering.
func (r *ChainReport) Add(t Tamper) {
	if r.Found++; len(r.Tampered) < MaxTampers {
		r.Tampered = append(r.Tampered, t)
	}
}

// Seal is one link of the chain.
type Seal struct {
	No   int64     `json:"no"`   // 0: there is none yet
	Hash string    `json:"hash"` // hexadecimal
	At   time.Time `json:"at"`
}

// Tamper is one thing that somebody did to the ledgers or to their seals.
type Tamper struct {
	What   string `json:"what"` // row_changed, row_deleted, row_inserted, seal_changed, seal_missing, anchor_missing, guard_missing
	Ledger string `json:"ledger,omitempty"`
	Row    int64  `json:"row,omitempty"`
	Seal   int64  `json:"seal,omitempty"`
	Detail string `json:"detail"`
}

// What a Tamper may be.
const (
	RowChanged    = "row_changed"
	RowDeleted    = "row_deleted"
	RowInserted   = "row_inserted"
	SealChanged   = "seal_changed"
	SealMissing   = "seal_missing"
	AnchorMissing = "anchor_missing" // the chain has no seal of the hash that was kept
	GuardMissing  = "guard_missing"  // the trigger that refuses changes is off
)
