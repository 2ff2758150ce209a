package engine

import "time"

// Limit names what is counted, and by whom.
type Limit uint8

// The limits. Those of a buyer in a sale have two names, the buyer's and the
// sale's; the others have one.
const (
	LimitBuyer     Limit = iota // what a buyer asks for
	LimitHolder                 // what a buyer does with what they have
	LimitIP                     // what comes from an IPv4 address
	LimitNet                    // what comes from an IPv6 network of 64 bits
	LimitMethod                 // checkouts with one payment method, whoever's
	LimitUnpaid                 // a buyer's holds in a sale that were not paid
	LimitUnpaidIP               // the same of an IPv4 address
	LimitUnpaidNet              // the same of an IPv6 network
	LimitSuspect                // what a buyer asks for who left too many holds unpaid
	LimitCount
)

var limitNames = [LimitCount]string{"buyer", "holder", "ip", "net64", "method", "unpaid", "unpaid-ip", "unpaid-net64", "suspect"}

func (l Limit) String() string { return limitNames[l] }

// LimitNames lists the limits' names, in order.
func LimitNames() []string { return limitNames[:] }

// QuotaVerdict is what a limit says of a request.
type QuotaVerdict uint8

// The verdicts.
const (
	Within  QuotaVerdict = iota // it is counted, and may go on
	Beyond                      // it is not counted, and may not
	Perhaps                     // it is not counted: ask the limit that all nodes share
)

// Quota is such a verdict and how the limit stands after it.
type Quota struct {
	Verdict QuotaVerdict
	Limit   Limit
	Most    int           // requests at once
	Window  time.Duration // in which that many come back
	Left    int           // requests that would be within now
	Reset   time.Duration // until there are Most again
	After   time.Duration // of Beyond: until one is within
}

// Challenge is what somebody has to solve before they are answered.
type Challenge struct {
	Kind    string
	Text    string    // of work: what to append a number to
	Bits    int       // of work: the zero bits that the hash of that must begin with
	Expires time.Time // of work
	SiteKey string    // of a widget
}
