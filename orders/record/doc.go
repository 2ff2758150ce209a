// Package record is Postgres' view of the sale: the truth. It holds sales and
// their stock, payment attempts, orders, the append-only ledger, and how far the
// stream has been read. It implements engine's SaleStore, Sales, Attempts, Orders
// and RecordAudit, and gives the order writer its one transaction (Commit).
//
// Locks are taken in one order everywhere, so that nobody deadlocks:
//
//	sales row → stream_offsets by partition → skus by (sale_no, no) → payments
//
// An operator's change holds the sale's row while it talks to the gate; the
// writer never takes that row, so a slow gate does not hold up orders.
package record
