package main

import (
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/flashsale-engine/flashsale/internal/certs/certtest"
	"github.com/flashsale-engine/flashsale/vault"
)

const unguessable = "7d1c0f9a53be48e2b6a4935f0c8e7ad1"

func TestWhatIsUnsafeIsRefusedBeyondLoopback(t *testing.T) {
	safe, err := defaults()
	must(t, err)
	cert, key := certtest.Good(t).Write(t, t.TempDir())
	safe.TLSCert, safe.TLSKey, safe.AdminTLSCert, safe.AdminTLSKey = cert, key, cert, key
	safe.Listen, safe.AdminListen = ":8080", "[::]:9090"
	safe.AdminToken, safe.BuyerKey = []string{"ann:viewer:" + unguessable}, unguessable
	safe.DataKeys, err = vault.New()
	must(t, err)
	safe.StripeKey, safe.StripeReturnURL = "sk_live_x", "https://shop.example/"
	at := Backends{RedisURL: "redis://redis/0", PostgresURL: "postgres://x@db/x", KafkaBrokers: "kafka:9092"}
	if err := safe.Validate(allRoles, at); err != nil {
		t.Fatalf("what is safe is refused: %v", err)
	}
	plain := func(s *Settings) { s.TLSCert, s.TLSKey, s.AdminTLSCert, s.AdminTLSKey = "", "", "", "" }
	sandbox := func(s *Settings) { s.StripeKey, s.PaymentURL = "", "http://127.0.0.1:1" }
	for name, c := range map[string]struct {
		change func(*Settings)
		says   string // "": it is taken
	}{
		"plain HTTP":                   {plain, "listen: other machines can reach :8080"},
		"a plain admin listener":       {func(s *Settings) { s.AdminTLSCert, s.AdminTLSKey = "", "" }, "set admin-tls-cert and admin-tls-key"},
		"plain HTTP behind a proxy":    {func(s *Settings) { plain(s); s.AllowPlainHTTP = true }, ""},
		"plain HTTP on loopback":       {func(s *Settings) { plain(s); s.Listen, s.AdminListen = "localhost:0", "127.0.0.1:0" }, ""},
		"a name that may be anybody's": {func(s *Settings) { plain(s); s.Listen, s.AdminListen = "localhost:0", "node-1:9090" }, "node-1:9090"},
		"half of a pair":               {func(s *Settings) { s.TLSKey = "" }, "tls-cert, tls-key: give both or neither"},
		"half of the admin's":          {func(s *Settings) { s.AdminTLSCert = "" }, "admin-tls-cert, admin-tls-key: give both or neither"},
		"a file that is not there":     {func(s *Settings) { s.TLSCert = "no-such.pem" }, "no-such.pem"},
		"that of the admin's":          {func(s *Settings) { s.AdminTLSKey = "no-such.pem" }, "admin-tls-cert, admin-tls-key: open no-such.pem"},
		"a known admin token":          {func(s *Settings) { s.AdminToken = []string{"development-admin-token-change-me"} }, "admin-token: anybody can guess it"},
		"one with a name":              {func(s *Settings) { s.AdminToken = append(s.AdminToken, "bob:owner:aaaaaaaaaaaaaaaaaaaaaaaa") }, "admin-token: anybody can guess it"},
		"a known buyer key":            {func(s *Settings) { s.BuyerKey = "development-buyer-key-change-me-32b" }, "buyer-key: anybody can guess it"},
		"a test's buyer key":           {func(s *Settings) { s.BuyerKey = testKey }, "buyer-key: anybody can guess it"},
		"a known webhook secret":       {func(s *Settings) { s.StripeWebhookSecret = []string{"whsec_change-me-change-me-change-me"} }, "stripe-webhook-secret: anybody can guess it"},
		"known secrets on trial":       {func(s *Settings) { s.BuyerKey, s.Trial = testKey, true }, ""},
		"faults":                       {func(s *Settings) { s.Fault = "dice@1#2" }, "fault, clock-skew"},
		"faults on trial":              {func(s *Settings) { s.ClockSkew, s.Trial = time.Second, true }, "fault, clock-skew"},
		"payments that move no money":  {sandbox, "the sandbox alone takes the payments"},
		"those on trial":               {func(s *Settings) { sandbox(s); s.Trial = true }, ""},
		"those beside others":          {func(s *Settings) { s.PaymentURL, s.PaymentRoute = "http://127.0.0.1:1", []string{"stripe"} }, ""},
		"all of that on loopback": {func(s *Settings) {
			plain(s)
			sandbox(s)
			s.Listen, s.AdminListen, s.BuyerKey, s.Fault = "127.0.0.1:0", "[::1]:0", testKey, "dice@1#2"
		}, ""},
		"trial does not excuse plain":   {func(s *Settings) { plain(s); s.Trial = true }, "listen: other machines can reach :8080"},
		"a proxy does not excuse a key": {func(s *Settings) { s.AllowPlainHTTP, s.BuyerKey = true, testKey }, "buyer-key: anybody can guess it"},
	} {
		s := safe
		c.change(&s)
		err := s.Validate(allRoles, at)
		if c.says == "" && err != nil || c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says)) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	s := safe
	plain(&s)
	s.AdminListen = "127.0.0.1:9090"
	if err := s.Validate([]string{roleWriter}, at); err != nil {
		t.Errorf("a node without a public listener is refused for it: %v", err)
	}
}

func TestTheDoctorListsWhatIsUnsafe(t *testing.T) {
	settings, err := defaults()
	must(t, err)
	cert, key := certtest.New(t, time.Now().Add(48*time.Hour)).Write(t, t.TempDir())
	d := doctorCmd{Settings: settings, Roles: allRoles, Backends: Backends{RedisURL: "rediss://elsewhere/0", PostgresURL: "postgres://x@elsewhere/x?sslmode=verify-full"}}
	if got := d.unsafe(); len(got) > 0 {
		t.Errorf("the defaults are called unsafe: %+v", got)
	}
	d.Listen, d.AdminListen, d.AdminTLSCert, d.AdminTLSKey, d.Trial, d.BuyerKey, d.FraudURL = ":8080", ":9090", cert, key, true, testKey, "http://elsewhere/"
	d.RedisURL, d.PostgresURL = "redis://elsewhere/0", "postgres://x@elsewhere/x?sslmode=disable"
	var got []string
	for _, u := range d.unsafe() {
		if !u.OK || u.Level != "unsafe" {
			t.Errorf("%+v", u)
		}
		got = append(got, u.Check+": "+u.Detail)
	}
	all := strings.Join(got, "\n")
	for _, want := range []string{"listen: other machines can reach :8080", "admin-tls-cert: the certificate ends in 48h", "trial: ", "buyer-key: ", "fraud-url: ", "redis-url: ", "postgres-url: "} {
		if !strings.Contains("\n"+all, "\n"+want) {
			t.Errorf("%q is missing in\n%s", want, all)
		}
	}
	if len(got) != 7 {
		t.Errorf("there is more:\n%s", all)
	}
}

func TestTheDemoIsThisMachinesOwnUnlessToldOtherwise(t *testing.T) {
	_, errs, status := command(t, "demo", "--listen", "0.0.0.0:0", "--json")
	if status != exitUsage || !strings.Contains(errs, "allow-plain-http") {
		t.Errorf("status %d, %s", status, errs)
	}
}

// What `docker compose up` gives the engine must be taken, and only for what it says.
func TestTheSettingsOfTheComposeFileAreTaken(t *testing.T) {
	text, err := os.ReadFile("../../docker-compose.yml")
	must(t, err)
	var file struct {
		Engine struct {
			Environment map[string]string `yaml:"environment"`
		} `yaml:"x-engine"`
		Configs map[string]struct {
			Content string `yaml:"content"`
		} `yaml:"configs"`
	}
	must(t, yaml.Unmarshal(text, &file))
	if len(file.Engine.Environment) < 8 {
		t.Fatalf("the compose file's settings were not found: %v", file)
	}
	for name, value := range file.Engine.Environment {
		value = strings.ReplaceAll(value, "/run/data-keys.json", write(t, "data-keys.json", file.Configs["data-keys"].Content))
		t.Setenv(name, regexp.MustCompile(`\$\{[A-Z_]+:-([^}]*)\}`).ReplaceAllString(value, "$1"))
	}
	if out, errs, status := command(t, "config", "check"); status != exitOK {
		t.Errorf("%d %s%s", status, out, errs)
	}
	for name, says := range map[string]string{"FLASHSALE_ALLOW_PLAIN_HTTP": "listen: other machines", "FLASHSALE_TRIAL": "buyer-key: anybody can guess it"} {
		t.Setenv(name, "false")
		if _, errs, status := command(t, "config", "check"); status != exitUsage || !strings.Contains(errs, says) {
			t.Errorf("without %s: %d %s", name, status, errs)
		}
	}
}
