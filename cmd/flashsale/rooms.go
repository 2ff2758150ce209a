package main

import (
	"context"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/flashsale-engine/flashsale/admission"
	"github.com/flashsale-engine/flashsale/engine"
	"github.com/flashsale-engine/flashsale/reservation"
)

// openRooms sets the waiting rooms up. They live at the gate's Redis.
func (n *node) openRooms(context.Context) error {
	queue, err := admission.Open(admission.Options{URL: n.at.RedisURL})
	if err != nil {
		return &exit{exitUsage, err}
	}
	n.onClose(func() { _ = queue.Close() })
	n.desk = admission.NewDesk(queue, n.cache, reservation.Hasher{}, systemClock{n.set.ClockSkew}.Now)
	n.reg.MustRegister(admission.NewMetrics(n.desk, n.cache.Active))
	return nil
}

// runRooms adds the loops that move the fronts. They are the API nodes' own, because
// those are who sees how payments fare.
func (n *node) runRooms(roles map[string]func(context.Context) error) {
	host, _ := os.Hostname()
	behind := &backlog{stream: n.stream}
	runner := &admission.Runner{Desk: n.desk, Sales: n.cache.Active, Stock: n.gate.Counters, Name: host + ":" + strconv.Itoa(os.Getpid()), Log: n.log,
		Load: func() admission.Load {
			return admission.Load{WriterLag: behind.age(time.Now()), Payment: breaker(n.router.State()), PaymentLatency: n.pulse.latency(time.Now())}
		},
		Remake: func(ctx context.Context, sale string, epoch int64) error {
			_, err := n.lifecycle.RemakeRoom(ctx, sale, epoch)
			return err
		}}
	roles["waiting rooms"] = runner.Run
	roles["writer's backlog"] = func(ctx context.Context) error {
		behind.watch(ctx, func() bool {
			for _, s := range n.cache.Active() {
				if s.Admission != nil {
					return true
				}
			}
			return false
		})
		return nil
	}
}

// breaker reads the payment router's state. Of several providers the best counts: a
// payment goes to one that takes it.
func breaker(state string) admission.Breaker {
	switch {
	case strings.Contains(state, "closed"):
		return admission.BreakerClosed
	case strings.Contains(state, "half-open"):
		return admission.BreakerHalf
	}
	return admission.BreakerOpen
}

// pulse is the payments, with an ear for how long they take.
type pulse struct {
	engine.Payments

	mu    sync.Mutex
	began time.Time // of the present span
	spans [2]span   // the one before, and the present one
}

type span struct {
	calls int64
	took  time.Duration
}

// pulseSpan is over how long payments are averaged, at least.
const pulseSpan = 5 * time.Second

// Authorise is the call that a buyer waits for.
func (p *pulse) Authorise(ctx context.Context, a engine.Attempt) (engine.Payment, error) {
	began := time.Now()
	v, err := p.Payments.Authorise(ctx, a)
	now := time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.turn(now)
	p.spans[1].calls++
	p.spans[1].took += now.Sub(began)
	return v, err
}

// latency is how long payments took lately, on average; 0 if there were none.
func (p *pulse) latency(now time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.turn(now)
	calls := p.spans[0].calls + p.spans[1].calls
	return (p.spans[0].took + p.spans[1].took) / time.Duration(max(calls, 1))
}

func (p *pulse) turn(now time.Time) {
	switch past := now.Sub(p.began); {
	case past >= 2*pulseSpan:
		p.began, p.spans = now, [2]span{}
	case past >= pulseSpan:
		p.began, p.spans = now, [2]span{p.spans[1], {}}
	}
}

// backlog knows how old the oldest event is that the record has not read: the stream's
// ends are noted now and then, and the oldest note that the record has not passed tells.
// What cannot be known counts as not read.
type backlog struct {
	stream engine.StreamAudit

	mu    sync.Mutex
	notes []note
}

type note struct {
	at   time.Time
	ends engine.Mark
}

const (
	backlogEvery = 500 * time.Millisecond
	mostNotes    = 1000 // the newest ones: beyond, the age is as good as any
)

// age is that of the oldest event not read, 0 if there is none.
func (b *backlog) age(now time.Time) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.notes) == 0 {
		return 0
	}
	return now.Sub(b.notes[0].at)
}

// watch looks until ctx ends, as long as anybody wants to know.
func (b *backlog) watch(ctx context.Context, wanted func() bool) {
	tick := time.NewTicker(backlogEvery)
	defer tick.Stop()
	for {
		if wanted() {
			b.look(ctx)
		} else {
			b.mu.Lock()
			b.notes = nil
			b.mu.Unlock()
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (b *backlog) look(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	now, notes := time.Now(), b.notes // nobody else writes it
	ends, err := b.stream.Mark(ctx)
	var left int64
	for err == nil && len(notes) > 0 {
		if left, err = b.stream.Left(ctx, notes[0].ends); err != nil || left > 0 {
			break
		}
		notes = notes[1:]
	}
	if err == nil {
		left, err = b.stream.Left(ctx, ends)
	}
	if (err != nil && len(notes) == 0 || err == nil && left > 0) && len(notes) < mostNotes {
		notes = append(notes, note{now, ends})
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.notes = notes
}
