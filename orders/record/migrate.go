package record

import (
	"context"
	"database/sql"
	"embed"
	"fmt"
	"io/fs"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
)

//go:embed migrations/*.sql
var migrations embed.FS

// migrationLock is the advisory lock under which one node migrates and the
// others wait. Any number that no other program in the database uses will do.
const migrationLock = 0x666c617368 // "flash"

// Migration is one step of the schema.
type Migration struct {
	Version   int64     `json:"version"`
	Name      string    `json:"name"`
	Applied   bool      `json:"applied"`
	AppliedAt time.Time `json:"applied_at,omitzero"`
}

// Migrate brings the database's schema up to this program's. Several nodes may
// call it at once: one works, the others wait, at most five minutes. A database
// that was restored from a dump is made ready for its new server, see liftBase.
func Migrate(ctx context.Context, url string) error {
	err := withMigrations(ctx, url, func(p *goose.Provider) error {
		if _, err := p.Up(ctx); err != nil {
			return fmt.Errorf("record: migrate: %w", err)
		}
		return nil
	})
	if err != nil {
		return classify(err, reading) // tried again, it goes on where it was
	}
	c, err := pgx.Connect(ctx, url)
	if err != nil {
		return classify(err, reading)
	}
	defer c.Close(context.WithoutCancel(ctx))
	return classify(pgx.BeginFunc(ctx, c, func(tx pgx.Tx) error { return liftBase(ctx, tx) }), reading)
}

// Status lists the schema's steps, applied or not, and changes nothing but
// goose's own version table, which it makes if it is missing.
func Status(ctx context.Context, url string) ([]Migration, error) {
	var out []Migration
	err := withMigrations(ctx, url, func(p *goose.Provider) error {
		steps, err := p.Status(ctx)
		if err != nil {
			return fmt.Errorf("record: migration status: %w", err)
		}
		for _, s := range steps {
			out = append(out, Migration{
				Version: s.Source.Version, Name: s.Source.Path,
				Applied: s.State == goose.StateApplied, AppliedAt: s.AppliedAt,
			})
		}
		return nil
	})
	return out, classify(err, reading)
}

func withMigrations(ctx context.Context, url string, do func(*goose.Provider) error) error {
	cfg, err := pgx.ParseConfig(url)
	if err != nil {
		return fmt.Errorf("record: Postgres URL: %w", err)
	}
	db := stdlib.OpenDB(*cfg)
	defer db.Close()
	if err := reachable(ctx, db); err != nil {
		return err
	}
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	locker, err := lock.NewPostgresSessionLocker(lock.WithLockID(migrationLock), lock.WithLockTimeout(1, 300))
	if err != nil {
		return err
	}
	p, err := goose.NewProvider(goose.DialectPostgres, db, files, goose.WithSessionLocker(locker))
	if err != nil {
		return fmt.Errorf("record: migrations: %w", err)
	}
	return do(p)
}

func reachable(ctx context.Context, db *sql.DB) error {
	if err := db.PingContext(ctx); err != nil {
		return classify(err, reading)
	}
	return nil
}
