package devstack

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

func pgURL(addr, database string) string {
	return "postgres://" + pgUser + "@" + addr + "/" + database + "?sslmode=disable"
}

// checkPostgres connects, makes sure the answer comes from our own data, and
// creates the engine's database on first use.
func checkPostgres(ctx context.Context, addr, data string) (version string, err error) {
	c, err := pgx.Connect(ctx, pgURL(addr, "postgres"))
	if err != nil {
		return "", err
	}
	defer c.Close(context.WithoutCancel(ctx))
	var dir string
	var have bool
	err = c.QueryRow(ctx, `SELECT current_setting('data_directory'), current_setting('server_version'),
		EXISTS (SELECT FROM pg_database WHERE datname = $1)`, pgDatabase).Scan(&dir, &version, &have)
	if err != nil {
		return "", err
	}
	if dir != data {
		return "", fmt.Errorf("%s answers, but with the data of %s", addr, dir)
	}
	if !have {
		if _, err := c.Exec(ctx, "CREATE DATABASE "+pgDatabase); err != nil && !isDuplicateDatabase(err) {
			return "", err
		}
	}
	version, _, _ = strings.Cut(version, " ") // "15.18 (Debian …)"
	return version, nil
}

func isDuplicateDatabase(err error) bool {
	var pgErr *pgconn.PgError
	return errors.As(err, &pgErr) && pgErr.Code == "42P04"
}

func pgVersion(ctx context.Context, url string) (version string, err error) {
	c, err := pgx.Connect(ctx, url)
	if err != nil {
		return "", err
	}
	defer c.Close(context.WithoutCancel(ctx))
	return version, c.QueryRow(ctx, "SELECT current_setting('server_version')").Scan(&version)
}
