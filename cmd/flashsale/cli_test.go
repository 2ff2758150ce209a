package main

import (
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/flashsale-engine/flashsale/loadtest/capacity"
	"github.com/flashsale-engine/flashsale/ops/live"
)

func TestSettingsAreCheckedTogether(t *testing.T) {
	good, err := defaults()
	if err != nil {
		t.Fatal(err)
	}
	good.AdminToken, good.BuyerKey, good.PaymentURL = []string{testToken}, testKey, "http://127.0.0.1:1"
	at := Backends{RedisURL: "redis://127.0.0.1:6379/0", PostgresURL: "postgres://x@127.0.0.1/x", KafkaBrokers: "127.0.0.1:9092"}
	if err := good.Validate(allRoles, at); err != nil {
		t.Fatalf("the defaults are refused: %v", err)
	}
	for says, spoil := range map[string]func(*Settings, *Backends){
		"drain-timeout":      func(s *Settings, _ *Backends) { s.DrainTimeout = s.PaymentTimeout },
		"max-wait":           func(s *Settings, _ *Backends) { s.MaxWait = s.DefaultWait - 1 },
		"buyer-key: 5 bytes": func(s *Settings, _ *Backends) { s.BuyerKey = "short" },
		"set one, or nobody": func(s *Settings, _ *Backends) { s.BuyerKey = "" },
		"admin-token":        func(s *Settings, _ *Backends) { s.AdminToken = []string{"short"} },
		"payment-url":        func(s *Settings, _ *Backends) { s.PaymentURL = "" },
		"payment-timeout":    func(s *Settings, _ *Backends) { s.PaymentTimeout = 0 },
		"redis-url":          func(_ *Settings, b *Backends) { b.RedisURL = "http://x" },
		"postgres-url":       func(_ *Settings, b *Backends) { b.PostgresURL = "" },
		"kafka-brokers":      func(_ *Settings, b *Backends) { b.KafkaBrokers = "nowhere" },
		"writer-batch":       func(s *Settings, _ *Backends) { s.WriterBatch = 0 },
		`payment-return-url: ReturnURL "javascript:alert(1)"`: func(s *Settings, _ *Backends) { s.PaymentReturnURL = "javascript:alert(1)" },
		`payment-return-url: ReturnURL "/done"`:               func(s *Settings, _ *Backends) { s.PaymentReturnURL = "/done" },
		"payment-return-url: nobody comes back": func(s *Settings, _ *Backends) {
			s.PaymentReturnURL, s.PaymentURL, s.StripeKey, s.StripeReturnURL = "https://shop.example/", "", "sk_test_x", "https://shop.example/"
		},
		"stripe-return-url":  func(s *Settings, _ *Backends) { s.StripeKey = "sk_test_x" },
		"say who takes what": func(s *Settings, _ *Backends) { s.StripeKey, s.StripeReturnURL = "sk_test_x", "https://shop.example/" },
		"is not set up":      func(s *Settings, _ *Backends) { s.PaymentRoute = []string{"stripe"} },
		"no key is called":   func(s *Settings, _ *Backends) { s.PaymentRoute = []string{"sandbox colour=red"} },
		"webhook secret":     func(s *Settings, _ *Backends) { s.PaymentWebhookSecret = []string{"short"} },
		"webhook-tolerance":  func(s *Settings, _ *Backends) { s.WebhookTolerance = 0 },
		"fraud-url":          func(s *Settings, _ *Backends) { s.FraudURL = "score" },
		"fraud-timeout":      func(s *Settings, _ *Backends) { s.FraudTimeout = time.Minute },
		"notify-secret":      func(s *Settings, _ *Backends) { s.NotifyURL = "https://shop.example/hook" },
		"whsec_":             func(s *Settings, _ *Backends) { s.NotifySecret = []string{"secret"} },
		"no-such.json":       func(s *Settings, _ *Backends) { s.BuyerJWKS = "no-such.json" },
		"use https":          func(s *Settings, _ *Backends) { s.BuyerJWKS = "http://shop.example/jwks.json" },
		"target-latency":     func(s *Settings, _ *Backends) { s.TargetLatency = time.Millisecond },
		"unguarded":          func(s *Settings, _ *Backends) { s.Listen, s.Unguarded = "0.0.0.0:8080", true },
		"buyer-jwks-every":   func(s *Settings, _ *Backends) { s.BuyerJWKSEvery = 0 },
		"audience": func(s *Settings, _ *Backends) {
			s.AdminOIDCIssuer, s.AdminOIDCClaim, s.AdminOIDCRole = "https://login.shop.example", "roles", []string{"desk=operator"}
		},
		"desk=cook": func(s *Settings, _ *Backends) {
			s.AdminOIDCIssuer, s.AdminOIDCAudience, s.AdminOIDCClaim, s.AdminOIDCRole = "https://login.shop.example", "a", "roles", []string{"desk=cook"}
		},
		"need admin-oidc-issuer": func(s *Settings, _ *Backends) { s.AdminOIDCRole = []string{"desk=operator"} },
		"no-such.pem":            func(s *Settings, _ *Backends) { s.BuyerPublicKeys = []string{"no-such.pem"} },
		"no-such-model.json":     func(s *Settings, _ *Backends) { s.CapacityModel = "no-such-model.json" },
		"version 7; this":        func(s *Settings, _ *Backends) { s.CapacityModel = write(t, "v7.json", `{"version": 7}`) },
		"a machine of ":          func(s *Settings, _ *Backends) { s.CapacityModel = modelOf(t, runtime.NumCPU()+1) },
	} {
		s, b := good, at
		spoil(&s, &b)
		if err := s.Validate(allRoles, b); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: got %v", says, err)
		}
	}
	if err := good.Validate([]string{"api", "cook"}, at); err == nil || !strings.Contains(err.Error(), "cook") {
		t.Errorf("an unknown role: %v", err)
	}
}

// modelOf writes the shipped model as if it were of a machine of so many processors.
func modelOf(t *testing.T, processors int) string {
	m, err := capacity.Default()
	must(t, err)
	m.Machine.Processors = processors
	file := filepath.Join(t.TempDir(), "model.json")
	must(t, writeJSON(file, m))
	return file
}

func TestAModelOfThisMachineJudgesWhatComes(t *testing.T) {
	s := Settings{CapacityModel: modelOf(t, runtime.NumCPU())}
	knee, err := s.openKnee()
	must(t, err)
	k := knee(live.Mix{Decided: 100, Bought: 1e5})
	if k.Binds != "Postgres" || k.Used.Value < 10 || k.Used.Low > k.Used.Value || k.Used.High < k.Used.Value || k.Most.Value <= 0 || k.On == "" || k.Measured == "" {
		t.Errorf("%+v", k)
	}
	if none, err := new(Settings).openKnee(); none != nil || err != nil {
		t.Errorf("without a model there is one, or %v", err)
	}
}

func TestTheCommandLineSaysWhatIsWrongAndExitsWithUsage(t *testing.T) {
	for name, c := range map[string]struct {
		args []string
		says string
	}{
		"no command":             {nil, "expected one of"},
		"an unknown flag":        {[]string{"serve", "--no-such"}, "--no-such"},
		"a serve without keys":   {[]string{"serve"}, "buyer-key"},
		"a bad item":             {[]string{"sale", "create", "x", "--item", "A=x", "--token", testToken}, "SKU=STOCK@PRICE"},
		"no buyer":               {[]string{"token"}, "--buyer"},
		"no demo to ask":         {[]string{"sale", "status"}, "no admin token"},
		"a sandbox to the world": {[]string{"sandbox", "--listen", "0.0.0.0:0"}, "loopback"},
		"a shape without a peak": {[]string{"loadtest", "--shape", "spike"}, "--rate"},
		"a kind of nobody":       {[]string{"loadtest", "--mix", "cat=1"}, "no kind of buyer"},
		"a load test elsewhere":  {[]string{"loadtest", "--api", "http://192.0.2.1", "--buyer-key", testKey, "--token", testToken}, "loopback"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			out, errs, status := command(t, c.args...)
			if status != exitUsage || !strings.Contains(out+errs, c.says) {
				t.Errorf("status %d\n%s%s", status, out, errs)
			}
		})
	}
}

func TestSecretsAreNotPrinted(t *testing.T) {
	out, _, status := command(t, "config", "print", "--stripe-key", "sk_hunter2", "--notify-secret", "whsec_hunter2", "--buyer-key", testKey, "--admin-token", testToken, "--postgres-url", "postgres://u:hunter2@h/db", "--buyer-jwks", "https://u:hunter2@h/jwks")
	if status != exitOK || strings.Contains(out, testKey) || strings.Contains(out, testToken) || strings.Contains(out, "hunter2") {
		t.Errorf("status %d\n%s", status, out)
	}
	if !strings.Contains(out, "redis-url: redis://127.0.0.1:6379/0") || !strings.Contains(out, "payment-timeout: 5s") {
		t.Errorf("settings are missing:\n%s", out)
	}
}

func TestTheFileGivesWayToTheEnvironmentAndThatToTheCommandLine(t *testing.T) {
	file := filepath.Join(t.TempDir(), "flashsale.yaml")
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("payment-route: ['sandbox currency=EUR,USD method=pm_*', 'sandbox currency=GBP bps=100']\nredis-url: redis://file:1/0\ntopic: from-the-file\ngroup: from-the-file\npayment-timeout: 3s\nwriter-batch: 7\nadmin-token: [aaaaaaaaaaaaaaaaaaaa, 'eye:viewer:0123456789abcdef']\nbuyer-public-keys: [a.pem, b.pem]\nbuyer-jwks: https://shop.example/jwks\n")
	t.Setenv("FLASHSALE_TOPIC", "from-the-environment")
	t.Setenv("FLASHSALE_GROUP", "from-the-environment")
	out, errs, status := command(t, "config", "print", "--config", file, "--group", "from-the-flag")
	for _, want := range []string{"redis-url: redis://file:1/0", "topic: from-the-environment", "group: from-the-flag", "payment-timeout: 3s", "writer-batch: 7", "buyer-public-keys: [a.pem b.pem]", "buyer-jwks: https://shop.example/jwks", "buyer-jwks-every: 5m0s", "admin-token: (set, not shown)", "payment-route: [sandbox currency=EUR,USD method=pm_* sandbox currency=GBP bps=100]"} {
		if !strings.Contains(out, want+"\n") {
			t.Errorf("%q is not in effect; status %d\n%s%s", want, status, out, errs)
		}
	}
	for text, says := range map[string]string{"redis-ulr: x": "redis-ulr", "serve: {topic: x}": "serve", "- a list": "mapping"} {
		write(text)
		if _, errs, status := command(t, "config", "print", "--config", file); status != exitUsage || !strings.Contains(errs, says) {
			t.Errorf("%s: status %d, %s", text, status, errs)
		}
	}
}

func TestFlagNamesInConfigPrintAreTheFlags(t *testing.T) {
	for field, flag := range map[string]string{"RedisURL": "redis-url", "KafkaBrokers": "kafka-brokers", "MaxInFlight": "max-in-flight", "PaymentURL": "payment-url", "Topic": "topic"} {
		if got := flagName(field); got != flag {
			t.Errorf("%s is %s, not %s", field, got, flag)
		}
	}
}

// The demo's secrets are typed behind flags, where a leading dash is a flag of its own.
func TestTheDemosSecretsCanBeTyped(t *testing.T) {
	plain := regexp.MustCompile(`^[0-9A-Za-z]{26,}$`)
	for range 100 {
		s, err := (&demoCmd{}).secrets()
		if err != nil || !plain.MatchString(s.AdminToken) || !plain.MatchString(s.BuyerKey) || len(s.BuyerKey) < 32 {
			t.Fatalf("%+v, %v", s, err)
		}
	}
}
