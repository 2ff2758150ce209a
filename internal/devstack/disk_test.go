package devstack

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// diskOf starts a backend on a disk of its own. A machine that lets nobody mount
// one fails the test: what a full disk does would not be known there.
func diskOf(t *testing.T, name string, mib int) *Backend {
	t.Helper()
	if err := TryDisk(t.Context()); err != nil {
		t.Fatalf("a full disk needs a file system of its own, as root or in a user namespace: %v", err)
	}
	return one(startStack(t, withDir(t, only(name, Spec{Mode: Child, Fast: name == "postgres", Disk: mib}))))
}

func TestARedisWhoseDiskIsFullEndsAndComesBackWithWhatItAcknowledged(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	b := diskOf(t, "redis", 4)
	acknowledged := 0
	add := func() error {
		_, err := RedisDo(ctx, b.URL, "SET", fmt.Sprint("k", acknowledged), strings.Repeat("x", 1000))
		if err == nil {
			acknowledged++
		}
		return err
	}
	if err := add(); err != nil {
		t.Fatal(err)
	}
	if err := b.FillDisk(); err != nil {
		t.Fatal(err)
	}
	for range 10 { // the rest of the file's last page may hold some
		if add() != nil {
			break
		}
	}
	if err := add(); err == nil {
		t.Error("what cannot be written is acknowledged")
	}
	if err := b.FreeDisk(); err != nil {
		t.Fatal(err)
	}
	if err := b.Revive(ctx); err != nil {
		t.Fatal(err)
	}
	if got, err := RedisDo(ctx, b.URL, "DBSIZE"); err != nil || got != fmt.Sprint(acknowledged) {
		t.Errorf("%q keys, %v; %d were acknowledged", got, err, acknowledged)
	}
	if err := add(); err != nil {
		t.Errorf("freed, it takes nothing: %v", err)
	}
}

func TestAPostgresWhoseDiskIsFullRefusesWritesAndRecovers(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	b := diskOf(t, "postgres", 128)
	run := func(sql string) (string, error) {
		rows, err := PostgresRows(ctx, b.URL, sql)
		return fmt.Sprint(rows), err
	}
	const add = "INSERT INTO things SELECT repeat('x', 1000) FROM generate_series(1, 100)"
	acknowledged := 0
	must := func(sql string) {
		t.Helper()
		if _, err := run(sql); err != nil {
			t.Fatal(err)
		}
	}
	must("CREATE TABLE things (s text)")
	if err := b.FillDisk(); err != nil {
		t.Fatal(err)
	}
	var err error
	for range 30 {
		if _, err = run(add); err != nil {
			break
		}
		acknowledged += 100
	}
	if err == nil {
		t.Error("3 MB fit on a full disk")
	}
	if err := b.FreeDisk(); err != nil {
		t.Fatal(err)
	}
	if err := b.Revive(ctx); err != nil {
		t.Fatal(err)
	}
	if got, err := run("SELECT count(*) FROM things"); err != nil || got != fmt.Sprintf("[[%d]]", acknowledged) {
		t.Errorf("%s rows, %v; %d were acknowledged", got, err, acknowledged)
	}
	must(add)
}

func TestADiskIsGoneWithItsStackAndSeenByNobodyElse(t *testing.T) {
	b := diskOf(t, "redis", 4)
	place := filepath.Join(b.Dir, "data")
	if in, err := os.ReadDir(place); err != nil || len(in) > 0 {
		t.Errorf("the place where it is mounted shows %v, %v", in, err)
	}
	data := b.dataDir()
	if in, err := os.ReadDir(data); err != nil || len(in) == 0 {
		t.Errorf("it has %v, %v", in, err)
	}
	if err := b.close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(data); err == nil {
		t.Error("closed, it is still there")
	}
}

func TestOnlyABackendWithADiskOfItsOwnIsFilled(t *testing.T) {
	b := one(startStack(t, withDir(t, only("redis", Spec{Mode: Embedded}))))
	for what, f := range map[string]func() error{"fill": b.FillDisk, "free": b.FreeDisk, "revive": func() error { return b.Revive(context.Background()) }} {
		if err := f(); err != ErrUnsupported { //nolint:errorlint // the very same
			t.Errorf("%s: %v", what, err)
		}
	}
}
