package loadtest

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/url"
	"strings"
	"time"

	"github.com/flashsale-engine/flashsale/api/buyertoken"
)

// Config says which crowd comes to which sale. The zero value of a field that
// has a default takes it; see WithDefaults.
type Config struct {
	TLS *tls.Config `json:"-"` // for an API at https; nil: the system's authorities are trusted

	API      string   // base URL of the public listener, such as http://127.0.0.1:8080
	Sale     string   // the sale's id
	SKUs     []string // a buyer wants one of these, drawn by Seed
	BuyerKey []byte   // the HS256 secret that signs buyer tokens
	Audience string   // the tokens' aud; default "flashsale"
	Run      string   // enters buyer ids and keys, so that runs don't meet; default random

	Buyers   int           // distinct buyers; default: as many as arrivals
	Rate     float64       // arrivals per second; 0: every buyer once, all due at T0 (a spike)
	Duration time.Duration // how long arrivals go on; unused in a spike
	Curve    Curve         // arrivals per second over time, instead of Rate and Duration, which are then its mean and its length
	Seed     uint64        // the same seed draws the same arrivals, goods and hesitations

	Quantity      int           // units that a buyer wants; default 1
	PaymentMethod string        // the provider's token; default pm_card_visa
	Mix           Mix           // of whom the crowd consists; default: buyers
	Phases        []Phase       // parts of the run whose crowd is another, in order; after the last of them Mix and SKUs hold
	Decline       float64       // fraction of buyers whose first card is declined, 0 to 1
	Abandon       float64       // fraction of holds that walk away without a word, 0 to 1
	Hesitate      time.Duration // mean time between hold and checkout, exponential; 0: none
	Wait          time.Duration // Prefer: wait=N of a checkout; 0: the engine's default; negative: wait=0

	Processes     int           // that share the arrivals; default 1: this one
	Worker        []string      // the command of a further process, which calls Work
	MaxInFlight   int           // buyers between arrival and end, hesitating ones included; default 10000, in a spike all
	Connections   int           // keep-alive connections at most; default 256
	Timeout       time.Duration // of one request, waiting for a connection included; default 10 s beside Wait
	MaxRetries    int           // of one request after transient answers; default 5, negative: none
	MaxRetryAfter time.Duration // a longer Retry-After ends the buyer's patience; default 10 s
	PollFor       time.Duration // how long a pending checkout is polled; default 30 s
	QueueFor      time.Duration // how long a queuer waits in the waiting room; default 5 minutes
	ReadBack      int           // confirmed orders read back at most, drawn by Seed; default 10000, negative: none

	Stock    map[string]int64                                   // units on offer per SKU when the run starts; nil: unknown
	Limit    int                                                // units that one buyer may have; 0: unknown
	Verify   func(ctx context.Context) (json.RawMessage, error) `json:"-"` // the engine's verdict as JSON, asked at the end; an error fails the run; nil: not asked
	SLOs     []SLO                                              // the verdict is on them, too
	Events   []Event                                            `json:"-"` // what happens meanwhile, in the order of their times; one that fails, fails the run
	Watch    *Watch                                             `json:"-"` // looks at the engine each second; nil: nobody does
	Progress io.Writer                                          `json:"-"` // a line each second; nil: none
	Answered func(o Outcome)                                    `json:"-"` // told of each answer to a reserve or a checkout when it comes, by many at once; nil: nobody
}

// maxArrivals bounds what a run keeps in memory.
const maxArrivals = 20_000_000

// WithDefaults fills what was left at zero.
func (c Config) WithDefaults() Config {
	c.API = strings.TrimRight(c.API, "/")
	set(&c.Audience, buyertoken.DefaultAudience)
	set(&c.Quantity, 1)
	set(&c.PaymentMethod, "pm_card_visa")
	set(&c.Connections, 256)
	set(&c.MaxRetries, 5)
	set(&c.MaxRetryAfter, 10*time.Second)
	set(&c.PollFor, 30*time.Second)
	set(&c.QueueFor, 5*time.Minute)
	set(&c.ReadBack, 10_000)
	set(&c.Timeout, 10*time.Second+max(c.Wait, 0))
	if c.Run == "" {
		var b [4]byte
		_, _ = rand.Read(b[:]) // never fails, says crypto/rand
		c.Run = hex.EncodeToString(b[:])
	}
	if len(c.Curve) > 0 {
		c.Duration = c.Curve.Length()
		c.Rate = c.Curve.Arrivals() / max(c.Duration.Seconds(), 1e-9)
	}
	set(&c.Buyers, c.arrivals())
	if c.Rate == 0 {
		set(&c.MaxInFlight, c.Buyers)
	}
	set(&c.MaxInFlight, 10_000)
	return c
}

func set[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// curve is how arrivals come; nil: all at once.
func (c Config) curve() Curve {
	if c.Rate == 0 || len(c.Curve) > 0 {
		return c.Curve
	}
	return shapes["flat"].Stretch(c.Rate, c.Duration)
}

// arrivals is how many buyers are due in all.
func (c Config) arrivals() int {
	if curve := c.curve(); curve != nil {
		return int(math.Round(min(curve.Arrivals(), maxArrivals+1)))
	}
	return c.Buyers
}

// validate checks each setting, and settings against each other.
func (c Config) validate() error {
	u, err := url.Parse(c.API)
	problem := func(format string, args ...any) error { return fmt.Errorf("loadtest: "+format, args...) }
	if len(c.Curve) > 0 {
		if err := c.Curve.check(); err != nil {
			return err
		}
	}
	switch {
	case err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https"):
		return problem("API %q is not an http or https URL", c.API)
	case c.Sale == "":
		return errors.New("loadtest: Sale is empty")
	case len(c.SKUs) == 0:
		return errors.New("loadtest: SKUs is empty")
	case len(c.BuyerKey) == 0:
		return errors.New("loadtest: BuyerKey is empty; buyers cannot be signed")
	case math.IsNaN(c.Rate) || math.IsInf(c.Rate, 0) || c.Rate < 0:
		return problem("Rate %v is not a number of arrivals per second", c.Rate)
	case c.Rate > 0 && c.Duration <= 0:
		return problem("Rate %v needs a Duration", c.Rate)
	case c.Rate == 0 && c.Buyers < 1:
		return errors.New("loadtest: a spike (Rate 0) needs Buyers")
	case c.arrivals() < 1 || c.arrivals() > maxArrivals:
		return problem("%d arrivals are not between 1 and %d", c.arrivals(), maxArrivals)
	case c.Buyers < 1:
		return problem("Buyers %d is not positive", c.Buyers)
	case c.Abandon < 0 || c.Abandon > 1 || math.IsNaN(c.Abandon):
		return problem("Abandon %v is not a fraction between 0 and 1", c.Abandon)
	case c.Processes < 0 || c.Processes > 64:
		return problem("%d processes are not between 1 and 64", c.Processes)
	case c.Processes > 1 && (len(c.Worker) == 0 || c.Answered != nil):
		return errors.New("loadtest: several processes need a Worker command, and cannot tell of each answer")
	case c.Decline < 0 || c.Decline > 1 || math.IsNaN(c.Decline):
		return problem("Decline %v is not a fraction between 0 and 1", c.Decline)
	case c.Quantity < 1 || c.Connections < 1 || c.MaxInFlight < 1:
		return errors.New("loadtest: Quantity, Connections and MaxInFlight must be positive")
	case c.Timeout <= c.Wait:
		return problem("Timeout %v must be longer than Wait %v, or every slow commit looks lost", c.Timeout, c.Wait)
	case c.Hesitate < 0 || c.PollFor < 0:
		return errors.New("loadtest: Hesitate and PollFor must not be negative")
	}
	problems := []error{c.Mix.check(), checkPhases(c.Phases)}
	for _, s := range c.SLOs {
		problems = append(problems, s.check())
	}
	return errors.Join(problems...)
}
