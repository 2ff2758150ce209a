package waiters

import (
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"time"
)

// Config says which crowd comes. Zero values take the defaults; see WithDefaults.
type Config struct {
	Self     []string // the program: what `serve` and `sandbox` are appended to
	Env      []string // of the processes; nil: ours
	Kafka    bool     // a real Kafka instead of the stand-in
	Progress io.Writer
	Log      *slog.Logger

	Seed    uint64
	Waiters int     // who join before the opening; default 1,000,000
	Units   int     // default 20,000
	Late    float64 // who join after it, as a share of the waiters; default 0.01
	Hurry   float64 // divides every time below; default 1

	Lease time.Duration // default 30 s
	Use   time.Duration // default 60 s
	Come  time.Duration // after which hardly anybody comes any more: the room's `answer`; default 10 s
	Hold  time.Duration // default 30 s
	Poll  time.Duration // how often a waiter looks; default 3 s
	Think time.Duration // mean of each hesitation of a buyer; default 6 s
	Edge  time.Duration // how often the document is fetched for all; default 1 s, and not below a quarter

	Watchers    int           // waiters that poll for themselves; default 200
	Streams     int           // that listen to the events; default 50
	Connections int           // default 512
	Sample      int           // places that are checked; default 20,000, or all of no more waiters
	Most        time.Duration // from the opening on; default 10 minutes
}

// The crowd's habits, as shares of it.
const (
	gone       = 0.30  // are not there when they are called
	tardy      = 0.02  // come when their lease is over
	leaves     = 0.01  // give their ticket back before the opening
	interested = 0.85  // of those who are admitted, want a unit
	pays       = 0.90  // of those who hold one; the others walk away without a word
	pushy      = 0.2   // of a watcher's looks, those that try to be admitted
	mostLate   = 60.0  // seconds after the opening in which the late ones come
	oneUnit    = 1     // that everybody wants
	price      = 12900 // minor units
)

// WithDefaults fills what was left at zero, and hurries.
func (c Config) WithDefaults() Config {
	set(&c.Seed, 1)
	set(&c.Waiters, 1_000_000)
	set(&c.Units, 20_000)
	set(&c.Late, 0.01)
	set(&c.Hurry, 1)
	set(&c.Watchers, 200)
	set(&c.Streams, 50)
	set(&c.Connections, 512)
	set(&c.Sample, 20_000)
	set(&c.Most, 10*time.Minute)
	for d, seconds := range map[*time.Duration]float64{&c.Lease: 30, &c.Use: 60, &c.Come: 10, &c.Hold: 30, &c.Poll: 3, &c.Think: 6, &c.Edge: 1} {
		set(d, time.Duration(seconds*float64(time.Second)))
		*d = max(time.Duration(float64(*d)/c.Hurry).Round(time.Millisecond), time.Millisecond)
	}
	c.Edge = max(c.Edge, 250*time.Millisecond)
	c.Hold = max(c.Hold, time.Second)
	return c
}

func set[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// Validate checks each setting, and settings against each other.
func (c Config) Validate() error {
	switch {
	case c.Waiters < 10 || c.Waiters > 10_000_000:
		return fmt.Errorf("waiters: %d waiters are not between 10 and 10,000,000", c.Waiters)
	case c.Units < 1 || c.Units > 1_000_000:
		return fmt.Errorf("waiters: %d units are not between 1 and 1,000,000", c.Units)
	case c.Late < 0 || c.Late > 1:
		return fmt.Errorf("waiters: %v is not a share of late joiners between 0 and 1", c.Late)
	case c.Hurry < 1 || c.Hurry > 100:
		return fmt.Errorf("waiters: a hurry of %v is not between 1 and 100", c.Hurry)
	case c.Watchers < 1 || c.Streams < 0 || c.Connections < 1 || c.Sample < 1:
		return fmt.Errorf("waiters: watchers, connections and sample must be positive")
	case c.Most < time.Second || c.Most > time.Hour:
		return fmt.Errorf("waiters: %s is not between 1s and 1h", c.Most)
	}
	return nil
}

// late is how many join after the opening.
func (c Config) late() int { return int(c.Late * float64(c.Waiters)) }

// fate is what one of the crowd will do.
type fate struct {
	leaves, gone, tardy, interested, pays bool
	look                                  time.Duration // from being called until they see it
	react, shop, pay                      time.Duration // hesitations
}

// fate draws the i-th's. The same seed draws the same.
func (c Config) fate(i int) fate {
	d := rand.New(rand.NewPCG(c.Seed, uint64(i)+1)) //nolint:gosec // fates that can be drawn again
	think := func() time.Duration { return time.Duration(d.ExpFloat64() * float64(c.Think)) }
	f := fate{leaves: d.Float64() < leaves, gone: d.Float64() < gone, tardy: d.Float64() < tardy, interested: d.Float64() < interested, pays: d.Float64() < pays}
	f.look, f.react, f.shop, f.pay = time.Duration(d.Float64()*float64(c.Poll)), think()/3, think(), think()
	return f
}
