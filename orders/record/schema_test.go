package record_test

import (
	"context"
	"regexp"
	"slices"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/flashsale-engine/flashsale/engine"
)

// checked gives the values that a CHECK … IN (…) of the live database allows.
func checked(t *testing.T, url, name string) []string {
	t.Helper()
	c, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(context.Background())
	var def string
	if err := c.QueryRow(t.Context(), `SELECT pg_get_constraintdef(oid) FROM pg_catalog.pg_constraint WHERE conname = $1`, name).Scan(&def); err != nil {
		t.Fatalf("constraint %s: %v", name, err)
	}
	var out []string
	for _, m := range regexp.MustCompile(`'([a-z_]+)'`).FindAllStringSubmatch(def, -1) {
		out = append(out, m[1])
	}
	slices.Sort(out)
	return out
}

func texts[S ~string](in []S) []string {
	out := make([]string, len(in))
	for i, s := range in {
		out[i] = string(s)
	}
	slices.Sort(out)
	return out
}

func TestTheSchemasStatesAreTheEnginesStates(t *testing.T) {
	_, url := openRecord(t)
	for name, want := range map[string][]string{
		"sales_state":    texts(engine.States(engine.SaleMoves)),
		"payments_state": texts(engine.States(engine.PaymentMoves)),
		// An order is what becomes of an accepted reservation.
		"orders_state": texts(engine.ReservationMoves[engine.Accepted]),
	} {
		if got := checked(t, url, name); !slices.Equal(got, want) {
			t.Errorf("%s allows %v, the engine's table has %v", name, got, want)
		}
	}
}

func TestTheLedgerAndTheAuditLogAreAppendOnly(t *testing.T) {
	db, url := openRecord(t)
	create(t, db, "drop", 10)
	for _, sql := range []string{
		`UPDATE stock_ledger SET units = 1`, `DELETE FROM stock_ledger`, `TRUNCATE stock_ledger`,
		`UPDATE audit_log SET actor = 'nobody'`, `DELETE FROM audit_log`, `TRUNCATE audit_log`,
	} {
		if err := psql(t, url, sql); err == nil {
			t.Errorf("%s was allowed", sql)
		}
	}
	if n := ask(t, url, `SELECT count(*) FROM stock_ledger`); n != 1 {
		t.Errorf("%d rows are left", n)
	}
}
