package record

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"io"
	"net"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/flashsale-engine/flashsale/engine"
)

// kind says whether a call may have changed something when its answer is lost.
type kind bool

const (
	reading kind = false
	writing kind = true
)

// retryAfter is what a caller is told when Postgres is away.
const retryAfter = time.Second

// DataError is Postgres' refusal of what was written, for reasons that repeating
// it cannot change: a violated constraint, a value out of range. Nothing happened.
type DataError struct{ Err error }

func (e *DataError) Error() string { return "the record refuses the data: " + e.Err.Error() }

// Unwrap gives Postgres' own error.
func (e *DataError) Unwrap() error { return e.Err }

// classify gives a driver's error its place among engine's: once, here.
//
//	nothing was sent, or it was only a read    CodeUnavailable
//	a write, or a COMMIT, has no answer        CodeUnavailable, wraps ErrUnknown
//	it has, and the server dies of it (PANIC)  the same
//	Postgres refused the data (22…, 23…)       DataError
//	anything else Postgres refuses             CodeInternal
//
// Errors that are engine's already pass through.
func classify(err error, k kind) error {
	var ours *engine.Error
	var data *DataError
	if err == nil || errors.As(err, &ours) || errors.As(err, &data) {
		return err
	}
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		switch {
		case conflict(err):
			return unavailable(err)
		case away(pg):
			return lost(err, k)
		case strings.HasPrefix(pg.Code, "22"), strings.HasPrefix(pg.Code, "23"):
			return &DataError{Err: err}
		case strings.HasPrefix(pg.Code, "53"), pg.Code == "25006":
			return unavailable(err) // out of resources, or a replica: refused before it began
		}
		return engine.Wrap(err, engine.CodeInternal, "the record refused a statement")
	}
	switch {
	case pgconn.SafeToRetry(err) && !foundClosed(err):
		return unavailable(err)
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded), connectionLost(err), foundClosed(err),
		errors.Is(err, driver.ErrBadConn), errors.Is(err, sql.ErrConnDone): // of database/sql, by which the schema is migrated
		return lost(err, k)
	}
	return err // pgx.ErrNoRows, a scan error: the caller's
}

// away says that the server ended the conversation: it may have done so after
// it did what it was asked. A panic ends all conversations, whatever its code is: one for
// a full disk (53100) may come of a write of the log that began with our COMMIT.
func away(pg *pgconn.PgError) bool {
	return pg.SeverityUnlocalized == "PANIC" || strings.HasPrefix(pg.Code, "08") || strings.HasPrefix(pg.Code, "57")
}

// conflict says that Postgres rolled the transaction back because of another one,
// so that repeating it makes sense: a deadlock, a serialization failure, or a row
// that was on its way into the default partition when its month was made. The
// last is a CHECK of no name; every CHECK of ours has one.
func conflict(err error) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && (pg.Code == "40001" || pg.Code == "40P01" || pg.Code == "23514" && pg.ConstraintName == "")
}

// Refused says that Postgres will have none of who asks, whenever they ask: a
// password, a user or a database that it does not know.
func Refused(err error) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && (strings.HasPrefix(pg.Code, "28") || pg.Code == "3D000")
}

func connectionLost(err error) bool {
	var net net.Error
	return errors.As(err, &net) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}

// foundClosed says that pgx found its connection closed. It calls that safe to
// retry, and often it is; but a COMMIT whose answer was lost ends so, too: pgx
// 5.12 reads the answer twice, the first time for its kind only, and reports what
// the second one meets. So nothing is known.
func foundClosed(err error) bool { return strings.HasSuffix(err.Error(), "conn closed") }

func lost(err error, k kind) error {
	if k == writing {
		return engine.Wrap(errors.Join(engine.ErrUnknown, err), engine.CodeUnavailable, "the record has not answered").After(retryAfter)
	}
	return unavailable(err)
}

func unavailable(err error) error {
	return engine.Wrap(err, engine.CodeUnavailable, "the record cannot be reached").After(retryAfter)
}
