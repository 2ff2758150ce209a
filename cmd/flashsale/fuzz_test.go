package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/alecthomas/kong"

	"github.com/flashsale-engine/flashsale/ops"
)

// FuzzAConfigurationFileIsSettingsOrRefused: a file is refused with words, or every
// key of it is a flag's and becomes that flag's value.
func FuzzAConfigurationFileIsSettingsOrRefused(f *testing.F) {
	for _, s := range []string{"topic: x\nwriter-batch: 7\n", "admin-token: [a, 'b:viewer:c']\n", "topic: {a: b}\n", "- x\n", "a: &a [*a]\n", "topic: !!binary x\n", "? [a]\n: b\n", "topic: ~\n", "payment-timeout: 3s", "{"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		file, err := loadConfig(strings.NewReader(text))
		if err != nil {
			return
		}
		var cli struct {
			Settings `embed:""`
			Backends `embed:""`
		}
		k, err := kong.New(&cli, kong.Resolvers(file), kong.Exit(func(int) { t.Error("it leaves") }))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := k.Parse(nil); err != nil {
			return
		}
		for key := range file.(configFile) {
			if !strings.Contains(flagsOf(k), " "+key+" ") {
				t.Errorf("%q is nobody's, and taken", key)
			}
		}
		if v := file.(configFile)["topic"]; v != nil {
			if _, list := v.([]any); !list && cli.Topic != fmt.Sprint(v) {
				t.Errorf("topic is %q, not %v", cli.Topic, v)
			}
		}
	})
}

func flagsOf(k *kong.Kong) string {
	names := " "
	for _, flag := range k.Model.Flags {
		names += flag.Name + " "
	}
	return names
}

func FuzzAnItemIsTakenApartOrRefused(f *testing.F) {
	f.Add("SHOE-42=2000@12900:Runner 42")
	f.Add("A=1@2:b=c@d:e")
	f.Add("=@")
	f.Fuzz(func(t *testing.T, s string) {
		it, err := parseItem(s)
		if err != nil {
			return
		}
		again, err := parseItem(fmt.Sprintf("%s=%d@%d:%s", it["sku"], it["stock"], it["unit_price"], it["title"]))
		if err != nil || fmt.Sprint(again) != fmt.Sprint(it) || it["sku"] == "" {
			t.Fatalf("%q became %v, and that %v, %v", s, it, again, err)
		}
	})
}

func FuzzAnAdminTokenHasANameARoleAndASecret(f *testing.F) {
	f.Add("ann:viewer:0123456789abcdef")
	f.Add("ann:owner:a:b:c:0123456789abcdef")
	f.Fuzz(func(t *testing.T, s string) {
		set := Settings{AdminToken: []string{s}}
		all, err := set.tokens()
		if err != nil {
			return
		}
		if len(all) != 1 || all[0].Name == "" || all[0].Role < ops.Viewer || all[0].Role > ops.Owner || len(all[0].Secret) < ops.MinTokenLength || !strings.HasSuffix(s, all[0].Secret) {
			t.Fatalf("%q became %+v", s, all)
		}
	})
}
