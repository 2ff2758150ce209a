package main

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/flashsale-engine/flashsale/api"
	"github.com/flashsale-engine/flashsale/buyerkeys"
	"github.com/flashsale-engine/flashsale/engine"
	"github.com/flashsale-engine/flashsale/ops"
)

// Backends are where the real parts are.
type Backends struct {
	RedisURL     string `help:"Redis, the gate." default:"redis://127.0.0.1:6379/0" placeholder:"URL" type:"secret"`
	PostgresURL  string `help:"Postgres, the record." default:"postgres://postgres@127.0.0.1:5432/flashsale" placeholder:"URL" type:"secret"`
	KafkaBrokers string `help:"Kafka brokers, host:port, comma-separated." default:"127.0.0.1:9092" placeholder:"LIST"`
}

// Settings configure a node.
type Settings struct {
	Listen      string `help:"Public listener; port 0 picks one." default:"127.0.0.1:8080" placeholder:"ADDR"`
	AdminListen string `help:"Admin listener; port 0 picks one." default:"127.0.0.1:9090" placeholder:"ADDR"`
	Exposure    `embed:""`
	AdminToken  []string `help:"Admin tokens: a secret (role owner), or name:role:secret; repeatable." placeholder:"TOKEN" type:"secret"`
	Staff       `embed:""`

	BuyerKey        string        `help:"HS256 secret of buyer tokens, its bytes as given." placeholder:"SECRET" type:"secret"`
	BuyerPublicKeys []string      `help:"PEM files with Ed25519 or P-256 public keys of buyer tokens; the file's base name is the key id." placeholder:"FILE"`
	BuyerJWKS       string        `help:"JWK Set with keys of buyer tokens: a file, or an https URL. Read again while the node runs, so that keys can rotate." placeholder:"FILE-OR-URL"`
	BuyerJWKSEvery  time.Duration `help:"Time between two looks at the JWK Set at most: a key that was taken out is refused by then." default:"5m"`
	Audience        string        `help:"The aud that buyer tokens must carry." default:"flashsale"`
	DataKeys        string        `help:"Keyset that seals buyers' contact data: the file that has it, or itself. Unset, on loopback only, contacts are kept in clear." placeholder:"FILE" type:"secret"`
	CORSOrigins     []string      `help:"Storefronts whose pages may call the public API from a browser, as https://shop.example; none: no page may." name:"cors-origins" placeholder:"ORIGIN"`
	MaxInFlight     int           `help:"Requests under way at most, each line of a batch counted; more are told 503 overloaded. Who asks for stock may use three quarters of it, who looks a half: the rest is for who holds some." default:"16384"`
	TargetLatency   time.Duration `help:"What the answer to a request for stock may take on average. If it takes longer, fewer may ask at once, and the others are told 503 overloaded at once. 0: --max-in-flight alone decides." default:"250ms"`

	Limit           []string `help:"How often somebody may come: NAME=MOST/WINDOW, as buyer=60/10s, or NAME=off; repeatable. Names and defaults are in docs/limits.md." placeholder:"LIMIT"`
	LimitFree       float64  `help:"Part of a limit that a node gives without asking the others, by way of Redis." default:"0.5"`
	LimitKeys       int      `help:"Buyers and addresses whose requests a node remembers, 26 to 52 bytes each." default:"65536"`
	DoorSecret      string   `help:"Secret of 16 bytes or more, the same on all nodes, under which limits hide names at Redis and challenges are signed; default: made of --buyer-key, or else of the admin tokens." placeholder:"SECRET" type:"secret"`
	TrustedProxies  []string `help:"Networks of the proxies that are believed about whom they forward for, as 10.0.0.0/8; none: nobody is." placeholder:"CIDR"`
	ForwardedHeader string   `help:"The header in which they say it: X-Forwarded-For or Forwarded. They must set it, or append to it, in every request." default:"X-Forwarded-For" placeholder:"NAME"`
	MaxConnsPerIP   int      `help:"Open connections from one IPv4 address or IPv6 /64; not for loopback and trusted proxies. 0: no limit." default:"2048"`

	Challenge        string   `help:"What buyers solve before they get an answer, when many come at once or they have left holds unpaid: off, work (a proof of work) or turnstile." default:"off" placeholder:"KIND"`
	ChallengeAbove   int      `help:"Requests for stock per second on this node above which everybody has to; 0: always; -1: only who has left too many holds unpaid." default:"2000"`
	ChallengeSales   []string `help:"The sales in which they have to; none: all." placeholder:"SALE"`
	ChallengeBits    int      `help:"Zero bits of a proof of work just above that; one more each time the requests double." default:"16"`
	TurnstileSecret  string   `help:"Secret of Turnstile's widget." placeholder:"SECRET" type:"secret"`
	TurnstileSiteKey string   `help:"Site key of it, for the page." placeholder:"KEY"`
	TurnstileURL     string   `help:"Where tokens are verified." default:"https://challenges.cloudflare.com/turnstile/v0/siteverify" placeholder:"URL"`

	PaymentURL           string        `help:"Base URL of the sandbox payment provider." placeholder:"URL"`
	PaymentReturnURL     string        `help:"Page of the storefront to which the sandbox sends buyers back from 3-D Secure; {reservation} becomes the id. Unset: they stay there." placeholder:"URL"`
	PaymentWebhookSecret []string      `help:"Secrets under which the sandbox signs its webhooks; any of them holds." placeholder:"SECRET" type:"secret"`
	PaymentRoute         []string      `help:"Who takes which payment: PROVIDER [currency=EUR,USD] [method=pm_*] [min=N] [max=N] [fixed=N] [bps=N]; repeatable, or separated by ';'." sep:";" placeholder:"ROUTE"`
	StripeKey            string        `help:"Secret key of Stripe; sets that provider up." placeholder:"KEY" type:"secret"`
	StripeURL            string        `help:"Base URL of Stripe's API." default:"https://api.stripe.com" placeholder:"URL"`
	StripeReturnURL      string        `help:"Page of the storefront to which buyers return from 3-D Secure; {reservation} becomes the id." placeholder:"URL"`
	StripeWebhookSecret  []string      `help:"Secrets under which Stripe signs its webhooks; any of them holds." placeholder:"SECRET" type:"secret"`
	WebhookTolerance     time.Duration `help:"How far a webhook's time may lie from ours." default:"5m"`

	FraudURL     string        `help:"Asked for a score before a payment is authorised; unset: nobody is." placeholder:"URL"`
	FraudToken   string        `help:"Bearer token for it." placeholder:"TOKEN" type:"secret"`
	FraudTimeout time.Duration `help:"How long a checkout waits for a score; then it goes on unscored." default:"150ms"`
	NotifyURL    string        `help:"Told of each confirmed or refused order; unset: nobody is." placeholder:"URL"`
	NotifySecret []string      `help:"Secrets that sign what is told, whsec_ and base64; all of them sign." placeholder:"SECRET" type:"secret"`

	Tracing       `embed:""`
	CapacityModel string `help:"What flashsale capacity fit has measured on this machine: the console then says how far this node is from the knee." placeholder:"FILE"`

	PaymentTimeout time.Duration `help:"Time-out of one call to the payment provider." default:"5s"`
	PaymentMax     int           `help:"Calls to the payment provider under way at most." default:"256"`
	PaymentQueue   int           `help:"Payments that may wait, paying, for a provider that is away; beyond it, and with 0 always, buyers are told 503 and keep their holds." default:"1000"`
	ReconcileEvery time.Duration `help:"How long a payment attempt may be in nobody's hands before it is resolved, and between two tries." default:"5s"`
	DefaultWait    time.Duration `help:"How long a checkout waits for the commit unless the client says Prefer: wait=N." default:"5s"`
	MaxWait        time.Duration `help:"The longest wait that a client may ask for." default:"30s"`
	MaxAttempts    int           `help:"Payment attempts per reservation." default:"5"`

	Unguarded bool          `help:"For benchmarks on loopback: believe who plain requests for stock say they come from, and count nobody." hidden:""`
	Fault     string        `help:"For tests: what is to go wrong, as kill@POINT#N or dice@SEED#PERCENT." hidden:""`
	ClockSkew time.Duration `help:"For tests: how far this node's clock is wrong." hidden:""`

	Decisions int `help:"Answers to buyers that this node remembers for support (flashsale trace buyer), 64 bytes each; 0: none." default:"262144"`

	SoldOutFor time.Duration `help:"How long a node may answer sold_out from the gate's last word instead of asking again; 0 asks always." default:"100ms"`

	Migrate     bool `help:"Bring the schema of the record up to date on starting; without it, a schema that is behind is refused (see flashsale migrate)." default:"true" negatable:""`
	AutoRebuild bool `help:"Rebuild a gate that was lost at once, without being told." default:"true" negatable:""`

	VerifyEvery time.Duration `help:"How often the role reaper compares everything with everything, so that the metrics show the four zeros; 0: only when somebody asks. The counters alone are compared every 10 s." default:"5m"`

	Topic        string        `help:"Kafka topic of accepted reservations." default:"flashsale.reservations.accepted.v1"`
	Partitions   int32         `help:"Partitions of the topic when it is made." default:"6"`
	Replication  int16         `help:"Replicas of the topic when it is made; -1: the broker's default." default:"-1"`
	Group        string        `help:"Consumer group of the order writers." default:"flashsale-order-writer"`
	WriterBatch  int           `help:"Events per order writer transaction at most." default:"2000"`
	RelayAge     time.Duration `help:"Age at which the relay takes an outbox entry over." default:"1s"`
	DrainTimeout time.Duration `help:"How long a shutdown may take." default:"20s"`
	HeapFloor    int           `help:"MiB that the heap may have before the garbage collector runs; 0: Go's default." default:"256"`
}

// problems collects what is wrong, so that one run names everything.
type problems []string

func (p *problems) add(format string, args ...any) { *p = append(*p, fmt.Sprintf(format, args...)) }

func (p problems) err() error {
	if len(p) == 0 {
		return nil
	}
	return &exit{exitUsage, errors.New("the configuration is not usable:\n  - " + strings.Join(p, "\n  - "))}
}

// Validate checks each setting and the relations between them.
func (s *Settings) Validate(roles []string, b Backends) error {
	var p problems
	public := slices.Contains(roles, roleAPI)
	for _, r := range roles {
		if !slices.Contains(allRoles, r) {
			p.add("roles: %q is not one of %s", r, strings.Join(allRoles, ", "))
		}
	}
	if len(roles) == 0 {
		p.add("roles: name at least one of %s", strings.Join(allRoles, ", "))
	}
	checkURL(&p, "redis-url", b.RedisURL, "redis", "rediss", "unix")
	checkURL(&p, "postgres-url", b.PostgresURL, "postgres", "postgresql")
	for _, a := range strings.Split(b.KafkaBrokers, ",") {
		if _, _, err := net.SplitHostPort(strings.TrimSpace(a)); err != nil {
			p.add("kafka-brokers: %q is not host:port", a)
		}
	}
	for name, a := range map[string]string{"listen": s.Listen, "admin-listen": s.AdminListen} {
		if _, _, err := net.SplitHostPort(a); err != nil {
			p.add("%s: %q is not host:port", name, a)
		}
	}
	if _, err := s.tokens(); err != nil {
		p.add("admin-token: %v", err)
	}
	if _, err := s.staff(nil, nil); err != nil {
		p.add("%v", err)
	}
	if public {
		s.validateBuyers(&p)
	}
	s.validateExposure(&p, public)
	s.validateDataKeys(&p, roles)
	s.validateOutside(&p, public || slices.Contains(roles, rolePayments) || slices.Contains(roles, roleReaper))
	s.validateTimes(&p)
	s.validateTracing(&p)
	if _, err := s.openKnee(); err != nil {
		p.add("%v", err)
	}
	return p.err()
}

func (s *Settings) validateBuyers(p *problems) {
	s.validateKeys(p)
	if s.Audience == "" {
		p.add("audience: must not be empty")
	}
	for _, o := range s.CORSOrigins {
		if err := api.CheckOrigin(o); err != nil {
			p.add("cors-origins: %v", err)
		}
	}
	if host, _, err := net.SplitHostPort(s.Listen); s.Unguarded && err == nil && !loopback(host) {
		p.add("unguarded: only on a loopback address, not %s", s.Listen)
	}
	if s.MaxInFlight < 1 {
		p.add("max-in-flight: %d; at least 1", s.MaxInFlight)
	}
	if s.TargetLatency != 0 && (s.TargetLatency < 10*time.Millisecond || s.TargetLatency > 10*time.Second) {
		p.add("target-latency: %s is neither 0 nor between 10ms and 10s", s.TargetLatency)
	}
	s.validateLimits(p)
	s.validateChallenge(p)
}

func (s *Settings) validateKeys(p *problems) {
	if s.BuyerKey == "" && len(s.BuyerPublicKeys) == 0 && s.BuyerJWKS == "" {
		p.add("buyer-key, buyer-public-keys or buyer-jwks: set one, or nobody can prove who they are")
	}
	if s.BuyerKey != "" && len(s.BuyerKey) < 32 {
		p.add("buyer-key: %d bytes; HS256 needs a secret of at least 32", len(s.BuyerKey))
	}
	for _, file := range s.BuyerPublicKeys {
		text, err := os.ReadFile(file)
		if err == nil {
			_, err = api.PublicKey(keyID(file), text)
		}
		if err != nil {
			p.add("buyer-public-keys: %s: %v", file, err)
		}
	}
	if s.BuyerJWKS != "" {
		if err := buyerkeys.Check(s.BuyerJWKS); err != nil {
			p.add("buyer-jwks: %v", err)
		}
	}
	if s.BuyerJWKSEvery < time.Second || s.BuyerJWKSEvery > 24*time.Hour {
		p.add("buyer-jwks-every: %s is not between 1s and 24h", s.BuyerJWKSEvery)
	}
}

func (s *Settings) validateTimes(p *problems) {
	if s.PaymentTimeout < 100*time.Millisecond || s.PaymentTimeout > time.Minute {
		p.add("payment-timeout: %s is not between 100ms and 1m", s.PaymentTimeout)
	}
	// A hold must be able to outlive a payment that begins in its last moment;
	// each sale's hold_cap is checked against the same sum when it is created.
	if need := engine.MinHoldTTL + s.paymentBudget() + engine.PaymentMargin; need >= engine.MaxHoldCap {
		p.add("payment-timeout: %s leaves no hold_cap that could cover it", s.PaymentTimeout)
	}
	if s.DefaultWait <= 0 || s.MaxWait < s.DefaultWait {
		p.add("max-wait: %s must be at least default-wait %s, and both above 0", s.MaxWait, s.DefaultWait)
	}
	if s.DrainTimeout <= s.paymentBudget() {
		p.add("drain-timeout: %s must exceed payment-timeout + 2s = %s, or a shutdown cuts payments off", s.DrainTimeout, s.paymentBudget())
	}
	if s.SoldOutFor < 0 || s.SoldOutFor > 5*time.Second {
		p.add("sold-out-for: %s is not between 0 and 5s", s.SoldOutFor)
	}
	if s.MaxAttempts < 1 || s.MaxAttempts > 100 {
		p.add("max-attempts: %d is not between 1 and 100", s.MaxAttempts)
	}
	if s.PaymentQueue < 0 || s.PaymentQueue > 100_000 {
		p.add("payment-queue: %d is not between 0 and 100000", s.PaymentQueue)
	}
	if s.ReconcileEvery < time.Second || s.ReconcileEvery > time.Minute {
		p.add("reconcile-every: %s is not between 1s and 1m", s.ReconcileEvery)
	}
	if s.VerifyEvery != 0 && (s.VerifyEvery < 10*time.Second || s.VerifyEvery > 24*time.Hour) {
		p.add("verify-every: %s is neither 0 nor between 10s and 24h", s.VerifyEvery)
	}
	if s.HeapFloor < 0 || s.HeapFloor > 16<<10 {
		p.add("heap-floor: %d MiB is not between 0 and 16384", s.HeapFloor)
	}
	if s.Decisions < 0 || s.Decisions > 1<<26 {
		p.add("decisions: %d is not between 0 and 67108864", s.Decisions)
	}
	if s.PaymentMax < 1 {
		p.add("payment-max: %d; at least 1", s.PaymentMax)
	}
	if s.Partitions < 1 {
		p.add("partitions: %d; at least 1", s.Partitions)
	}
	if s.WriterBatch < 1 || s.WriterBatch > 10_000 {
		p.add("writer-batch: %d is not between 1 and 10000", s.WriterBatch)
	}
	if s.RelayAge < 100*time.Millisecond || s.RelayAge > time.Minute {
		p.add("relay-age: %s is not between 100ms and 1m", s.RelayAge)
	}
}

// paymentBudget is how long one payment may take, repeated tries included.
func (s *Settings) paymentBudget() time.Duration { return s.PaymentTimeout + 2*time.Second }

func checkURL(p *problems, name, value string, schemes ...string) {
	u, err := url.Parse(value)
	if value == "" || err != nil || !slices.Contains(schemes, u.Scheme) || u.Host == "" && u.Path == "" {
		// The value may hold a password: it is not repeated.
		p.add("%s: not a URL of the form %s://host:port/…", name, schemes[0])
	}
}

// tokens reads the admin tokens: a bare secret is an owner's.
func (s *Settings) tokens() ([]ops.Token, error) {
	if len(s.AdminToken) == 0 && s.AdminOIDCIssuer == "" {
		return nil, errors.New("set at least one, or admin-oidc-issuer")
	}
	var out []ops.Token
	for _, t := range s.AdminToken {
		if !strings.Contains(t, ":") {
			t = "owner:owner:" + t
		}
		token, err := ops.ParseToken(t)
		if err != nil {
			return nil, err
		}
		out = append(out, token)
	}
	return out, nil
}

// keyID is the kid that a key file's tokens carry.
func keyID(file string) string {
	base := file[strings.LastIndexByte(file, '/')+1:]
	return strings.TrimSuffix(base, ".pem")
}
