package reservation

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/flashsale-engine/flashsale/engine"
	"github.com/flashsale-engine/flashsale/internal/redisdb"
)

// retryAfter is what a client hears when the gate cannot answer just now.
const retryAfter = time.Second

// refuse turns a refusal of the script into the engine's.
func refuse(refusal int64) error {
	switch refusal {
	case refSoldOut:
		return engine.E(engine.CodeSoldOut, "no unit is left of what was asked for")
	case refBuyerLimit:
		return engine.E(engine.CodeBuyerLimit, "the buyer would have more units than the sale allows")
	case refNotOpen:
		return engine.E(engine.CodeSaleNotOpen, "the sale takes no reservations now")
	case refNotFound:
		return engine.E(engine.CodeNotFound, "the gate knows no such reservation")
	case refExpired:
		return engine.E(engine.CodeReservationExpired, "the hold's time is over")
	case refReleased:
		return engine.E(engine.CodeReservationReleased, "the hold was released")
	case refAttempt:
		return engine.E(engine.CodeAttemptInProgress, "another payment attempt has the reservation").After(retryAfter)
	case refPaid:
		return engine.E(engine.CodeAlreadyPaid, "the reservation is paid already")
	case refExhausted:
		return engine.E(engine.CodeAttemptsExhausted, "the reservation has used all its payment attempts")
	case refPaying:
		return engine.E(engine.CodePaymentInProgress, "a payment of the reservation is under way").After(retryAfter)
	case refAgain:
		return engine.E(engine.CodeOverloaded, "more holds expire than can be taken back at once").After(retryAfter)
	}
	return engine.E(engine.CodeInternal, "the gate's script gave refusal %d", refusal)
}

func overloaded() error {
	return engine.E(engine.CodeOverloaded, "too many requests wait for the gate").After(retryAfter)
}

func frozen(format string, args ...any) error {
	return engine.E(engine.CodeGateFrozen, format, args...).After(retryAfter)
}

func unavailable(err error, format string, args ...any) error {
	return engine.Wrap(err, engine.CodeUnavailable, format, args...).After(retryAfter)
}

func unknown(err error) error {
	return engine.Wrap(fmt.Errorf("%w: %w", engine.ErrUnknown, err), engine.CodeUnavailable, "the gate did not answer").After(retryAfter)
}

// classify gives a driver's error its code, once. A write that may have
// happened wraps engine.ErrUnknown.
func classify(err error) error {
	var reply redis.Error
	if errors.As(err, &reply) && !errors.Is(err, redis.Nil) {
		text := reply.Error()
		if detail, ok := strings.CutPrefix(text, "FROZEN "); ok {
			return frozen("%s", detail)
		}
		if detail, ok := strings.CutPrefix(text, "CONSERVATION "); ok {
			return engine.E(engine.CodeInternal, "the gate refused to break conservation: %s", detail)
		}
		if redisdb.Refused(text) {
			return unavailable(err, "Redis refuses just now")
		}
		return engine.Wrap(fmt.Errorf("%w: %w", engine.ErrUnknown, err), engine.CodeInternal, "the gate's script failed")
	}
	if redisdb.NotSent(err) {
		return unavailable(err, "Redis cannot be reached")
	}
	return unknown(err)
}

// Refused says that Redis will have none of who asks, whenever they ask: a
// password or a database that it does not know, a command that the user may not
// give, or a Redis that is too old.
func Refused(err error) bool {
	if errors.Is(err, errOldRedis) {
		return true
	}
	var answer redis.Error
	if !errors.As(err, &answer) {
		return false
	}
	for _, no := range []string{"WRONGPASS", "NOAUTH", "NOPERM", "ERR AUTH", "ERR DB index", "ERR invalid DB index"} {
		if strings.HasPrefix(answer.Error(), no) {
			return true
		}
	}
	return false
}

// readFailed gives a read's error its code: a read that failed changed nothing.
func readFailed(err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return unavailable(err, "the gate was not read in time")
	}
	return unavailable(err, "the gate cannot be read")
}
