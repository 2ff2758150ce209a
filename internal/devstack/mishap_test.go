package devstack

import (
	"strings"
	"testing"
	"time"
)

func TestARedisForgetsTheTornEndOfItsLogAndAllOfOneThatIsDropped(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	b := startStack(t, withDir(t, only("redis", Spec{Mode: Child}))).Redis
	keys := func() string {
		t.Helper()
		got, err := RedisDo(ctx, b.URL, "DBSIZE")
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	for _, k := range []string{"a", "b"} {
		if _, err := RedisDo(ctx, b.URL, "SET", k, "v"); err != nil {
			t.Fatal(err)
		}
	}
	for _, step := range []struct {
		spoil func() error
		want  string
	}{
		{func() error { n, err := b.TearAOF(5); _ = n; return err }, "1"},
		{b.DropAOF, "0"},
	} {
		if err := b.Kill(); err != nil {
			t.Fatal(err)
		}
		if err := step.spoil(); err != nil {
			t.Fatal(err)
		}
		if err := b.Restart(ctx); err != nil {
			t.Fatal(err)
		}
		if got := keys(); got != step.want {
			t.Errorf("%s keys are left, not %s", got, step.want)
		}
	}
}

func TestRowsThatAnotherSessionHoldsCannotBeLocked(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	url := startStack(t, withDir(t, only("postgres", Spec{Mode: Child, Fast: true}))).Postgres.URL
	for _, sql := range []string{"CREATE TABLE things (n int)", "INSERT INTO things VALUES (7)"} {
		if _, err := PostgresRows(ctx, url, sql); err != nil {
			t.Fatal(err)
		}
	}
	release, err := HoldLocks(ctx, url, "SELECT 1 FROM things FOR UPDATE")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := PostgresRows(ctx, url, "SELECT n FROM things FOR UPDATE NOWAIT"); err == nil {
		t.Error("the rows are not locked")
	}
	if err := release(); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(time.Minute)
	for {
		rows, err := PostgresRows(ctx, url, "SELECT n FROM things FOR UPDATE NOWAIT")
		if err == nil && len(rows) == 1 && rows[0][0] == "7" {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("released, they are still locked: %v, %v", rows, err)
		}
	}
}

func TestAProcessTellsHowItEnded(t *testing.T) {
	log := t.TempDir() + "/log"
	p, err := StartProcess("/bin/sh", []string{"-c", "echo $WORD; exit 3"}, []string{"WORD=hello"}, log)
	if err != nil {
		t.Fatal(err)
	}
	if code := p.ExitCode(); code != 3 || p.Expected() || p.LogTail() != "hello" {
		t.Errorf("status %d, expected %v, said %q", code, p.Expected(), p.LogTail())
	}
	if p, err = StartProcess("/bin/sh", []string{"-c", "exec sleep 600"}, nil, log); err != nil {
		t.Fatal(err)
	}
	if err := p.Pause(); err != nil {
		t.Fatal(err)
	}
	if err := p.Stop(time.Minute); err != nil { // and a frozen one wakes up to it
		t.Fatal(err)
	}
	if code := p.ExitCode(); code != -1 || !p.Expected() {
		t.Errorf("status %d, expected %v", code, p.Expected())
	}
}

func TestAKafkaTellsItsClientsAnotherAddressIfAsked(t *testing.T) {
	for advertise, want := range map[string]string{"": "127.0.0.1:20001", "127.0.0.1:29999": "127.0.0.1:29999"} {
		text := kafkaProperties("/data", []int{20001, 20002}, kafkaNode{id: 1, advertise: advertise})
		if !strings.Contains(text, "\nadvertised.listeners=PLAINTEXT://"+want+"\n") || !strings.Contains(text, "\nlisteners=PLAINTEXT://127.0.0.1:20001,") {
			t.Errorf("%q:\n%s", advertise, text)
		}
	}
}
