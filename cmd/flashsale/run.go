package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/flashsale-engine/flashsale/engine"
	"github.com/flashsale-engine/flashsale/orders"
	"github.com/flashsale-engine/flashsale/payment"
	"github.com/flashsale-engine/flashsale/reservation"
)

// run serves until ctx ends, then stops in order: take no more requests, finish
// those under way, end the background roles, flush the producer, close.
func (n *node) run(ctx context.Context, announce func() error) error {
	defer n.close()
	back, stopBack := context.WithCancel(context.WithoutCancel(ctx))
	defer stopBack()
	roles, err := n.background()
	if err != nil {
		return err
	}
	n.doors.handOver()
	g, broken := errgroup.WithContext(ctx)
	g.Go(func() error { return n.admin.Serve(secured(n.doors.admin, n.doors.adminCert)) })
	if n.public != nil {
		g.Go(func() error { return n.public.Serve(n.doors.public) })
	}
	var work errgroup.Group
	for name, role := range roles {
		work.Go(func() error {
			if err := role(back); err != nil && back.Err() == nil {
				n.log.Error("a role ended", "role", name, "err", err)
				return fmt.Errorf("%s: %w", name, err)
			}
			return nil
		})
	}
	if err := announce(); err != nil {
		n.log.Error("announce", "err", err)
	}
	<-broken.Done()

	n.log.Info("stopping: finishing what is under way", "at_most", n.set.DrainTimeout)
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), n.set.DrainTimeout)
	defer cancel()
	var stopped []error
	if n.public != nil {
		stopped = append(stopped, n.public.Shutdown(end))
	}
	stopped = append(stopped, n.admin.Shutdown(end), g.Wait())
	stopBack()
	return errors.Join(append(stopped, work.Wait())...)
}

// tick is how often the clock moves sales and the gates are brought up to the record.
const tick = time.Second

// background gives the loops of this node's roles.
func (n *node) background() (map[string]func(context.Context) error, error) {
	roles := map[string]func(context.Context) error{"sales cache": n.cache.Run, "breakers": n.obeyBreakers}
	if n.has(roleAPI) {
		n.runRooms(roles)
	}
	if n.keys != nil {
		roles["buyer keys"] = n.keys.Run
	}
	if n.has(roleNotify) && n.set.NotifyURL != "" {
		sender, err := n.notifier()
		if err != nil {
			return nil, &exit{exitUsage, err}
		}
		roles[roleNotify] = sender.Run
	}
	if n.has(roleRelay) {
		relay, err := orders.NewRelay(orders.RelayConfig{Producer: n.producer, Active: n.cache.Active, Outbox: n.gate, MinAge: n.set.RelayAge, Log: n.log, Registry: n.reg})
		if err != nil {
			return nil, err
		}
		roles[roleRelay] = relay.Run
	}
	if n.has(roleWriter) {
		writer, err := orders.NewWriter(orders.WriterConfig{Brokers: n.brokers(), Topic: n.set.Topic, Group: n.set.Group, Record: faulty{n.ledger, n.fault},
			Notifier: n.gate.Notifier(), MaxBatch: n.set.WriterBatch, Trace: n.trace, Log: n.log, Registry: n.reg})
		if err != nil {
			return nil, err
		}
		roles[roleWriter] = writer.Run
	}
	if err := n.watches(roles); err != nil {
		return nil, err
	}
	if n.has(roleReaper) || n.has(rolePayments) {
		if err := n.settling(roles); err != nil {
			return nil, err
		}
	}
	return roles, nil
}

// settling adds the loops that bring things to an end: the reaper finds overdue
// payments and the worker resolves them, so either role needs the worker.
func (n *node) settling(roles map[string]func(context.Context) error) error {
	worker, err := payment.NewWorker(payment.WorkerConfig{Payments: n.payments, Ledger: moneyLedger{n}, Resolve: n.engine.Resolve,
		Stale: func(ctx context.Context, limit int) ([]engine.Attempt, error) {
			return n.attempts.Unfinished(ctx, n.set.ReconcileEvery, limit)
		},
		ResolveAttempt: n.engine.ResolveAttempt, Inbox: n.events, Heed: n.engine.Heed,
		Busy: n.engine.Crowded, Every: 250 * time.Millisecond, Trace: n.trace, Registerer: n.reg, Log: n.log})
	if err != nil {
		return err
	}
	roles["payments worker"] = worker.Run
	if !n.has(roleReaper) {
		return nil
	}
	reaper := &reservation.Reaper{Gate: n.gate, Shards: n.gate, Log: n.log,
		Sales:   func(context.Context) ([]*engine.Sale, error) { return n.cache.Active(), nil },
		Overdue: func(s *engine.Sale, h engine.Hold) { worker.Offer(s, h) }}
	roles[roleReaper] = reaper.Run
	roles["clock"] = n.clock
	roles["sealer"] = orders.NewSealer(n.truth.chain, n.log, n.reg).Run
	roles["order partitions"] = n.partitions
	n.watch.Store(n.keeper)
	roles["gate keeper"] = n.keeper.Run
	return nil
}

// clock moves sales by the clock and keeps gates in step with the record.
func (n *node) clock(ctx context.Context) error {
	t := time.NewTicker(tick)
	defer t.Stop()
	failing := ""
	for {
		err := n.lifecycle.Tick(ctx)
		now := ""
		if err != nil {
			now = err.Error()
		}
		if now != failing && ctx.Err() == nil {
			if failing = now; now != "" {
				n.log.Warn("a sale could not be brought in step", "err", err)
			} else {
				n.log.Info("sales are in step again")
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
	}
}

// moneyLedger gives the payments worker its view of the record.
type moneyLedger struct{ *node }

func (l moneyLedger) Authorised(ctx context.Context, limit int) (capture, void, lost []engine.Attempt, err error) {
	due, err := l.attempts.Authorised(ctx, l.router.Budget()+engine.PaymentMargin, l.set.ReconcileEvery, limit)
	return due.Capture, due.Void, due.Lost, err
}

func (l moneyLedger) Owed(ctx context.Context, limit int) ([]engine.Attempt, error) {
	return l.attempts.Owed(ctx, l.router.Budget()+engine.PaymentMargin, limit)
}

func (l moneyLedger) Owe(ctx context.Context, id engine.AttemptID, reason string) error {
	return l.attempts.Owe(ctx, id, reason)
}

func (l moneyLedger) Note(ctx context.Context, a engine.Attempt, p engine.Payment, reason string) error {
	return l.attempts.NoteSettled(ctx, a, p, reason)
}

func (l moneyLedger) Unresolved(ctx context.Context) ([]engine.Unresolved, error) {
	return l.attempts.Unresolved(ctx)
}
