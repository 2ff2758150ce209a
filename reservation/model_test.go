package reservation

import (
	"slices"
	"time"

	"github.com/flashsale-engine/flashsale/engine"
)

// model is the gate as one would explain it: a map of holds, and a clock at
// whose every step due holds expire. It knows nothing of logs, batches or bytes.
type model struct {
	now                   int64 // milliseconds, Unix
	ttl, cap, keep, lease int64
	limit, attempts       int
	open                  bool
	stock                 []int64
	holds                 map[modelKey]*modelHold
	decisions             uint64 // that changed something, expiries not counted
}

type modelKey struct{ buyer, nonce uint64 }

type modelHold struct {
	engine.Hold
	created, deadline, review int64
}

// moveTo moves the clock, and with it everything that it ends.
func (m *model) moveTo(now int64) {
	m.now = now
	for _, h := range m.holds {
		if h.State == engine.Held && h.deadline <= now {
			h.State = engine.Expired
		}
	}
}

func (m *model) available(no uint16) int64 {
	n := m.stock[no]
	for _, h := range m.holds {
		if h.State == engine.Held || h.State == engine.Paying || h.State == engine.Accepted {
			for _, l := range h.Lines {
				if l.No == no {
					n -= int64(l.Quantity)
				}
			}
		}
	}
	return n
}

func (m *model) unitsOf(buyer uint64) (n int) {
	for k, h := range m.holds {
		if k.buyer == buyer && (h.State == engine.Held || h.State == engine.Paying || h.State == engine.Accepted) {
			for _, l := range h.Lines {
				n += l.Quantity
			}
		}
	}
	return n
}

func (m *model) hold(k modelKey, lines []engine.Line) (*modelHold, bool, engine.Code) {
	if h := m.holds[k]; h != nil {
		return h, true, ""
	}
	if !m.open {
		return nil, false, engine.CodeSaleNotOpen
	}
	lines, err := normal(lines)
	if err != nil {
		panic(err)
	}
	units := 0
	for _, l := range lines {
		units += l.Quantity
	}
	if m.unitsOf(k.buyer)+units > m.limit {
		return nil, false, engine.CodeBuyerLimit
	}
	for _, l := range lines {
		if m.available(l.No) < int64(l.Quantity) {
			return nil, false, engine.CodeSoldOut
		}
	}
	h := &modelHold{created: m.now, deadline: m.now + m.ttl}
	h.State, h.Lines = engine.Held, lines
	m.holds[k] = h
	return h, false, ""
}

func (m *model) begin(h *modelHold, f engine.Fence) (bool, engine.Code) {
	switch h.State {
	case engine.Accepted:
		if h.Fence == f {
			return true, ""
		}
		return false, engine.CodeAlreadyPaid
	case engine.Paying:
		if h.Fence == f {
			return true, ""
		}
		return false, engine.CodeAttemptInProgress
	case engine.Released:
		return false, engine.CodeReservationReleased
	case engine.Expired:
		return false, engine.CodeReservationExpired
	}
	if h.Fence != f {
		if h.Attempts == m.attempts {
			return false, engine.CodeAttemptsExhausted
		}
		h.Fence = f
		h.Attempts++
	}
	h.State, h.review = engine.Paying, m.now+m.lease
	return false, ""
}

func (m *model) claim(h *modelHold, f engine.Fence) (bool, engine.Code) {
	switch {
	case h.State == engine.Accepted && h.Fence == f:
		return true, ""
	case h.State == engine.Accepted:
		return false, engine.CodeAlreadyPaid
	case h.State == engine.Released:
		return false, engine.CodeReservationReleased
	case h.State == engine.Expired:
		return false, engine.CodeReservationExpired
	case h.State == engine.Paying && h.Fence == f:
		h.State, h.deadline = engine.Accepted, m.now
		return false, ""
	}
	return false, engine.CodeAttemptInProgress
}

func (m *model) giveBack(h *modelHold, f engine.Fence) (bool, engine.Code) {
	if h.State != engine.Paying || h.Fence != f {
		return true, ""
	}
	if m.now < h.deadline {
		h.State = engine.Held
	} else {
		h.State, h.deadline = engine.Released, m.now
	}
	return false, ""
}

func (m *model) bar(h *modelHold, f engine.Fence) (bool, engine.Code) {
	if h.State != engine.Paying || h.Fence != f {
		return true, ""
	}
	h.Fence = f.Barred()
	return false, ""
}

// extend gives a hold that lives a later end of its own; never an earlier one.
func (m *model) extend(h *modelHold, until int64) (replayed bool) {
	if h.State != engine.Held && h.State != engine.Paying || until <= h.deadline {
		return true
	}
	h.deadline = until
	return false
}

func (m *model) release(h *modelHold) (bool, engine.Code) {
	switch h.State {
	case engine.Paying:
		return false, engine.CodePaymentInProgress
	case engine.Accepted:
		return false, engine.CodeAlreadyPaid
	case engine.Held:
		h.State, h.deadline = engine.Released, m.now
		return false, ""
	}
	return true, ""
}

func (m *model) expires(h *modelHold) time.Time {
	if h.State == engine.Paying {
		return time.UnixMilli(h.created + m.cap).UTC()
	}
	return time.UnixMilli(h.deadline).UTC()
}

func (m *model) live() []modelKey {
	var out []modelKey
	for k := range m.holds {
		out = append(out, k)
	}
	slices.SortFunc(out, func(a, b modelKey) int {
		return int(a.buyer)*1000 + int(a.nonce) - int(b.buyer)*1000 - int(b.nonce)
	})
	return out
}
