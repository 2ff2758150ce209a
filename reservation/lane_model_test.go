package reservation

import (
	"context"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/flashsale-engine/flashsale/engine"
)

// modelRedis decides calls of the gate's script as one exact sale would, and loses
// or delays what it says. Everything else of a client is missing.
type modelRedis struct {
	redis.UniversalClient
	sim     *laneSim
	trouble float64

	mu      sync.Mutex
	flying  int
	calls   int
	stock   int
	seq     uint64
	holds   map[engine.Nonce]*hold
	reached map[engine.Nonce]int // decisions, repeats included
	refused map[engine.Nonce]int
}

// answerError is an error of Redis' own.
type answerError string

func (e answerError) Error() string { return string(e) }
func (answerError) RedisError()     {}

func (m *modelRedis) Close() error { return nil }

func (m *modelRedis) inFlight() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.flying
}

func (m *modelRedis) word(n engine.Nonce) (*hold, int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.holds[n], m.refused[n]
}

// EvalSha is one call. It may be decided after its caller has given up.
func (m *modelRedis) EvalSha(ctx context.Context, _ string, _ []string, args ...any) *redis.Cmd {
	cmd := redis.NewCmd(ctx)
	m.mu.Lock()
	m.calls++
	m.flying++
	dice := rand.New(rand.NewPCG(m.sim.seed, 1_000_000+uint64(m.calls)))
	if m.flying == 2 {
		m.sim.count.Side++
	}
	if m.flying > 2 {
		m.sim.note("%d calls in flight", m.flying)
	}
	m.mu.Unlock()
	defer func() { m.mu.Lock(); m.flying--; m.mu.Unlock() }()
	l := m.sim.gate.lane(&engine.Sale{No: 1, ID: "sale"}, 0)
	l.mu.Lock()
	if len(l.queue) > m.sim.gate.opt.MaxQueue {
		m.sim.note("%d operations in a queue of %d", len(l.queue), m.sim.gate.opt.MaxQueue)
	}
	l.mu.Unlock()
	epoch, n := args[0].(int64), args[2].(int)
	bodies := slices.Clone(args[6].(*packed).b)
	m.sim.tell("a call of %d operations leaves", n)
	pause := func(most time.Duration) { time.Sleep(time.Duration(dice.Int64N(int64(most)))) }
	fate := -1
	if dice.Float64() < m.trouble {
		fate = dice.IntN(7)
	}
	type result struct {
		v   []any
		err error
	}
	done := make(chan result, 1)
	go func() {
		pause(20 * time.Millisecond)
		switch fate {
		case 0: // nobody takes the connection
			done <- result{err: &net.OpError{Op: "dial", Err: io.EOF}}
			return
		case 1: // Redis refuses before it does anything
			done <- result{err: answerError("LOADING Redis is loading the dataset in memory")}
			return
		case 2: // the request is lost
			done <- result{err: io.ErrUnexpectedEOF}
			return
		case 3: // the request is on its way for long
			pause(4 * time.Second)
		}
		v, err := m.decide(epoch, n, bodies)
		switch fate {
		case 4: // the answer is lost
			err = io.ErrUnexpectedEOF
		case 5: // the answer is late
			pause(4 * time.Second)
		case 6: // half of the answer is missing
			v = v[:len(v)/2]
		}
		pause(20 * time.Millisecond)
		done <- result{v, err}
	}()
	select {
	case r := <-done:
		if r.err != nil {
			cmd.SetErr(r.err)
		} else {
			cmd.SetVal(r.v)
		}
		m.sim.tell("a call of %d operations is back: %v", n, r.err)
	case <-ctx.Done():
		cmd.SetErr(ctx.Err())
		m.sim.tell("a call of %d operations has no answer", n)
	}
	return cmd
}

// decide is what the script does with holds.
func (m *modelRedis) decide(epoch int64, n int, bodies []byte) ([]any, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	const now, ttl, most = 1_000_000, 60_000, 120_000
	before := m.seq
	out := []any{int64(now), int64(before), int64(now + ttl), int64(most), int64(0), int64(0)}
	for range n {
		size := 11 + lineSize*(int(bodies[9]%metaPayment)+1)
		body := bodies[:size]
		bodies = bodies[size:]
		nonce := engine.Nonce(body[1:9])
		if a := m.sim.asked(nonce); a == nil || a.epoch != epoch {
			m.sim.note("%x is sent under epoch %d: %+v", nonce, epoch, a)
		}
		if epoch != 2 {
			continue
		}
		m.reached[nonce]++
		h := m.holds[nonce]
		switch {
		case h != nil:
			out = append(out, "1"+h.image())
		case m.stock < int(body[0]):
			m.refused[nonce]++
			out = append(out, -(16*int64(m.seq-before) - refSoldOut))
		default:
			m.seq++
			m.stock -= int(body[0])
			h = &hold{nonce: nonce, state: stateHeld, created: now, deadline: now + ttl, seq: m.seq}
			for l := body[11:]; len(l) > 0; l = l[lineSize:] {
				h.lines = append(h.lines, engine.Line{No: uint16(l[0])<<8 | uint16(l[1]), Quantity: int(l[2])})
			}
			m.holds[nonce] = h
			out = append(out, int64(m.seq-before))
		}
	}
	if epoch != 2 {
		return nil, answerError("FROZEN another epoch")
	}
	return out, nil
}

// image is a hold as the script gives it.
func (h *hold) image() string {
	b := append([]byte{}, h.nonce[:]...)
	b = append(b, byte(h.state<<5|len(h.lines)-1), 0)
	for _, l := range h.lines {
		b = append(b, byte(l.No>>8), byte(l.No), byte(l.Quantity))
	}
	return string(appendTime5(appendTime5(appendTime5(b, h.created), h.deadline), int64(h.seq)))
}

func (x *laneSim) asked(n engine.Nonce) *asked {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.asks[n]
}
