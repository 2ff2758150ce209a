package main

import (
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kong"

	"github.com/flashsale-engine/flashsale/vault"
)

func write(t *testing.T, name, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestEverySecretCanComeFromAFileAndNoneIsPrinted(t *testing.T) {
	looksSecret := regexp.MustCompile(`Token$|Key$|Keys$|Secret$|^RedisURL$|^PostgresURL$`)
	public := []string{"BuyerPublicKeys", "LimitKeys", "TurnstileSiteKey"}
	n := 0
	for _, part := range []any{Settings{}, Backends{}, Admin{}, Signer{}, traceBuyerCmd{}, dataRewrapCmd{}, migrateCmd{}} {
		typ := reflect.TypeOf(part)
		for i := range typ.NumField() {
			f := typ.Field(i)
			if !looksSecret.MatchString(f.Name) || slices.Contains(public, f.Name) {
				continue
			}
			n++
			if f.Tag.Get("type") != "secret" {
				t.Errorf("%s.%s may be a secret and lacks the tag", typ.Name(), f.Name)
			}
			v := reflect.New(f.Type).Elem()
			if v.Kind() == reflect.Slice {
				v.Set(reflect.ValueOf([]string{"redis://u:hunter2@h/0"}))
			} else {
				v.SetString("redis://u:hunter2@h/0")
			}
			if got := reflect.ValueOf(shown(f, v.Interface())).String(); strings.Contains(got, "hunter2") {
				t.Errorf("%s.%s is printed: %s", typ.Name(), f.Name, got)
			}
		}
	}
	if n < 12 {
		t.Fatalf("%d secrets were looked at", n)
	}
}

func TestASecretIsItselfOrAFilesText(t *testing.T) {
	one, several := write(t, "one", "hunter2\n"), write(t, "several", "aaaa:viewer:0123456789abcdef,x\r\nbbbb\n")
	parse := func(args ...string) (cli struct {
		One string   `type:"secret"`
		Any []string `type:"secret"`
	}, err error) {
		parser, err := kong.New(&cli, kong.NamedMapper("secret", kong.MapperFunc(secretMapper)), kong.DefaultEnvars("TESTS"))
		if err != nil {
			t.Fatal(err)
		}
		_, err = parser.Parse(args)
		return cli, err
	}
	for _, c := range []struct {
		args []string
		one  string
		any  []string
	}{
		{[]string{"--one", "plain,text"}, "plain,text", nil},
		{[]string{"--one", "@" + one}, "hunter2", nil},
		{[]string{"--one=@@literal"}, "@literal", nil},
		{[]string{"--any", "a,b", "--any", "c"}, "", []string{"a", "b", "c"}},
		{[]string{"--any", "a,@" + several}, "", []string{"a", "aaaa:viewer:0123456789abcdef,x", "bbbb"}},
	} {
		got, err := parse(c.args...)
		if err != nil || got.One != c.one || !slices.Equal(got.Any, c.any) {
			t.Errorf("%v: %+v, %v", c.args, got, err)
		}
	}
	t.Setenv("TESTS_ONE", "@"+one)
	if got, err := parse(); err != nil || got.One != "hunter2" {
		t.Errorf("from the environment: %+v, %v", got, err)
	}
	t.Setenv("TESTS_ONE", "")
	for _, bad := range []string{"@" + filepath.Join(t.TempDir(), "none"), "@" + write(t, "empty", "\n"), "@" + write(t, "long", strings.Repeat("x", mostSecret+1)), "@"} {
		if got, err := parse("--one", bad); err == nil {
			t.Errorf("%.80s was taken as %.20q", bad, got.One)
		}
	}
}

func TestContactsAreNotKeptInClearWhereOthersReachTheNode(t *testing.T) {
	keys, err := vault.New()
	if err != nil {
		t.Fatal(err)
	}
	file := write(t, "keys.json", keys)
	base := []string{"config", "check", "--buyer-key", testKey, "--admin-token", testToken, "--payment-url", "http://127.0.0.1:1", "--allow-plain-http", "--trial"}
	for name, c := range map[string]struct {
		more   []string
		status int
		says   string
	}{
		"on loopback":           {nil, exitOK, "usable"},
		"beyond it":             {[]string{"--listen", ":8080"}, exitUsage, "flashsale data key new"},
		"the admin's":           {[]string{"--admin-listen", "0.0.0.0:9090"}, exitUsage, "flashsale data key new"},
		"with a file":           {[]string{"--listen", ":8080", "--data-keys", file}, exitOK, "usable"},
		"with a file's content": {[]string{"--listen", ":8080", "--data-keys", "@" + file}, exitOK, "usable"},
		"with itself":           {[]string{"--listen", ":8080", "--data-keys", keys}, exitOK, "usable"},
		"with something else":   {[]string{"--data-keys", write(t, "other", testKey)}, exitUsage, "not a keyset"},
		"that handles none":     {[]string{"--admin-listen", ":9090", "--roles", "writer,relay"}, exitOK, "usable"},
	} {
		t.Run(name, func(t *testing.T) {
			out, errs, status := command(t, append(slices.Clone(base), c.more...)...)
			if status != c.status || !strings.Contains(out+errs, c.says) {
				t.Errorf("status %d\n%s%s", status, out, errs)
			}
		})
	}
	if s, _, _ := command(t, append([]string{"doctor"}, base[2:]...)...); !strings.Contains(s, "in clear") {
		t.Errorf("doctor does not mind: %s", s)
	}
}

func TestAKeysetChangesInItsFile(t *testing.T) {
	keys, _, status := command(t, "data", "key", "new")
	if status != exitOK {
		t.Fatal(status)
	}
	file := write(t, "keys.json", keys)
	ls := func() []string { out, _, _ := command(t, "data", "key", "ls", file); return strings.Fields(out) }
	before := ls()
	if out, errs, status := command(t, "data", "key", "add", file); status != exitOK {
		t.Fatal(out, errs)
	}
	after := ls() // ID primary ID opens only
	if len(before) != 2 || len(after) != 5 || after[1] != "primary" || after[3] != "opens" {
		t.Fatal(before, after)
	}
	for _, args := range [][]string{{"promote", file, after[2]}, {"drop", file, after[0]}} {
		if out, errs, status := command(t, append([]string{"data", "key"}, args...)...); status != exitOK {
			t.Fatal(args, out, errs)
		}
	}
	if now := ls(); len(now) != 2 || now[0] != after[2] {
		t.Fatal(now)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Fatal(info.Mode(), err)
	}
	text, _ := os.ReadFile(file)
	if _, _, status := command(t, "data", "key", "drop", file, after[2]); status != exitUsage {
		t.Fatal("the only key was dropped")
	}
	if again, _ := os.ReadFile(file); string(again) != string(text) {
		t.Fatal("a change that was refused has changed the file")
	}
}
