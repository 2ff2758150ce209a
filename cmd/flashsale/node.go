package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"golang.org/x/sync/errgroup"

	"github.com/flashsale-engine/flashsale/admission"
	"github.com/flashsale-engine/flashsale/api"
	"github.com/flashsale-engine/flashsale/buyerkeys"
	"github.com/flashsale-engine/flashsale/engine"
	"github.com/flashsale-engine/flashsale/internal/fault"
	"github.com/flashsale-engine/flashsale/internal/telemetry"
	"github.com/flashsale-engine/flashsale/internal/trail"
	"github.com/flashsale-engine/flashsale/ops"
	"github.com/flashsale-engine/flashsale/orders"
	"github.com/flashsale-engine/flashsale/orders/record"
	"github.com/flashsale-engine/flashsale/outside"
	"github.com/flashsale-engine/flashsale/payment"
	"github.com/flashsale-engine/flashsale/reservation"
)

// node is one process of the engine: its parts, wired, and nothing clever.
type node struct {
	set   Settings
	at    Backends
	roles []string
	log   *slog.Logger
	reg   *prometheus.Registry
	trace *telemetry.Telemetry // nil: spans have nowhere to go

	db        *record.DB
	sales     *record.SaleStore
	cache     *record.Sales
	attempts  *record.Attempts
	events    *record.Events
	orders    *record.Orders
	ledger    *record.Ledger
	gate      *reservation.Gate
	desk      *admission.Desk
	pulse     *pulse
	replies   *reservation.Replies
	producer  *orders.Producer
	stream    *orders.StreamAudit
	payments  engine.Payments // the router, or what a test put around it
	fault     *fault.Plan
	board     *outside.Board
	forced    *record.Breakers
	router    *payment.Router
	engine    *engine.Engine
	lifecycle *engine.Lifecycle
	truth     *truth
	marks     *orders.Marks
	rebuilds  *record.Rebuilds
	keeper    *engine.Keeper
	watch     atomic.Pointer[engine.Keeper] // the keeper, once it runs

	public *api.Server
	pages  http.Handler      // the demo's shop
	trail  *trail.Trail      // nil without the role api, or with --decisions 0
	keys   *buyerkeys.Source // nil without --buyer-jwks
	admin  *ops.Server
	doors  *doors

	closers []func()
}

// systemClock is the system's, or, in a test, one that is wrong.
type systemClock struct{ skew time.Duration }

func (c systemClock) Now() time.Time { return time.Now().Add(c.skew) }

// tryPatience bounds one look for a backend.
const tryPatience = 10 * time.Second

// newNode wires the parts and checks that every backend answers: an outage if
// one does not. On an error nothing is left open but the doors.
func newNode(ctx context.Context, set Settings, at Backends, roles []string, log *slog.Logger, d *doors, dress ...func(*node)) (_ *node, err error) {
	n := &node{set: set, at: at, roles: roles, log: log, reg: prometheus.NewRegistry(), doors: d}
	n.reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	defer func() {
		if err != nil {
			n.close()
		}
	}()
	for _, f := range dress {
		f(n)
	}
	if n.fault, err = fault.Parse(set.Fault); err != nil {
		return nil, &exit{exitUsage, err}
	}
	for _, part := range []func(context.Context) error{n.openTelemetry, n.openRecord, n.openGate, n.openRooms, n.openStream, n.openOutside, n.openEngine, n.openServers} {
		if err := part(ctx); err != nil {
			return nil, err
		}
	}
	n.onClose(d.close)
	d.register(n.reg)
	return n, nil
}

func (n *node) has(role string) bool { return has(n.roles, role) }

func has(roles []string, role string) bool { return slices.Contains(roles, role) }

func (n *node) onClose(f func()) { n.closers = append(n.closers, f) }

// close gives everything back, last opened first.
func (n *node) close() {
	for _, f := range slices.Backward(n.closers) {
		f()
	}
	n.closers = nil
}

// answers asks a backend for a sign of life. A refusal is no outage: waiting
// does not change what was set.
func (n *node) answers(ctx context.Context, o outage, refused func(error) bool, ping func(context.Context) error) error {
	// What did not answer last is what the node waits for, until it answers.
	was := n.doors.missing.Load()
	if was.err == nil {
		n.doors.missing.Store(&outage{what: o.what})
	}
	ctx, cancel := context.WithTimeout(ctx, tryPatience)
	defer cancel()
	switch o.err = ping(ctx); {
	case o.err == nil:
		if was.what == o.what {
			n.doors.missing.Store(&outage{what: o.what})
		}
		return nil
	case refused(o.err):
		return fail(exitUsage, "%s at %s refuses this node: %w\n  Look at %s.", o.what, o.where, o.err, o.flags)
	}
	return &o
}

func (n *node) openRecord(ctx context.Context) error {
	sealer, err := n.sealer()
	if err != nil {
		return err
	}
	db, err := record.Open(ctx, n.at.PostgresURL, record.Options{MaxConns: 24, Sealer: sealer, Log: n.log, Registerer: n.reg})
	if err != nil {
		return &exit{exitUsage, err}
	}
	n.db = db
	n.onClose(db.Close)
	postgres := outage{what: "Postgres", where: redactURL(n.at.PostgresURL), flags: "--postgres-url"}
	if err := n.answers(ctx, postgres, record.Refused, db.Ping); err != nil {
		return err
	}
	if err := n.schema(ctx); err != nil {
		return err
	}
	n.sales, n.attempts, n.orders, n.ledger = record.NewSaleStore(db), record.NewAttempts(db), record.NewOrders(db), record.NewLedger(db)
	n.events = record.NewEvents(db)
	n.cache = record.NewSales(db, record.SalesOptions{})
	n.sales.OnChange = n.cache.Put
	return n.recordFailed(n.cache.Refresh(ctx))
}

// schema brings the record's schema up to date, or refuses one that is behind.
func (n *node) schema(ctx context.Context) error {
	if n.set.Migrate {
		return n.recordFailed(record.Migrate(ctx, n.at.PostgresURL))
	}
	steps, err := record.Status(ctx, n.at.PostgresURL)
	if err != nil {
		return n.recordFailed(err)
	}
	missing := slices.DeleteFunc(steps, func(m record.Migration) bool { return m.Applied })
	if len(missing) == 0 {
		return nil
	}
	return fail(exitUsage, "the schema of Postgres at %s lacks %d of this program's steps, the first is %s.\n  Run flashsale migrate, or start without --no-migrate.",
		redactURL(n.at.PostgresURL), len(missing), missing[0].Name)
}

// recordFailed tells an outage, of a Postgres that has gone since it answered,
// from everything else.
func (n *node) recordFailed(err error) error {
	switch {
	case err == nil:
		return nil
	case engine.CodeOf(err) == engine.CodeUnavailable:
		return &outage{"Postgres", redactURL(n.at.PostgresURL), "--postgres-url", err}
	}
	return &exit{exitUnavailable, err}
}

func (n *node) openGate(ctx context.Context) error {
	// The gate lists a payment as overdue once nobody can be working on it any more.
	lease := n.set.paymentBudget() + engine.PaymentMargin
	soldOutFor := n.set.SoldOutFor
	if soldOutFor == 0 {
		soldOutFor = -1 // the gate's word for never
	}
	gate, err := reservation.Open(reservation.Options{URL: n.at.RedisURL, MaxAttempts: n.set.MaxAttempts, Lease: lease, SoldOutFor: soldOutFor, Lost: n.lostGate, Trace: n.trace, Registerer: n.reg, Log: n.log})
	if err != nil {
		return &exit{exitUsage, err}
	}
	n.gate = gate
	n.onClose(func() { _ = gate.Close() })
	if err := n.answers(ctx, outage{what: "Redis", where: redactURL(n.at.RedisURL), flags: "--redis-url"}, reservation.Refused, gate.Ping); err != nil {
		return err
	}
	n.replies = gate.Listen(n.orders)
	n.onClose(func() { _ = n.replies.Close() })
	return nil
}

func (n *node) openStream(ctx context.Context) error {
	brokers := n.brokers()
	err := n.answers(ctx, outage{what: "Kafka", where: n.at.KafkaBrokers, flags: "--kafka-brokers, --topic and --partitions"}, orders.Refused, func(ctx context.Context) error {
		return orders.EnsureTopic(ctx, brokers, n.set.Topic, int(n.set.Partitions), int(n.set.Replication))
	})
	if err != nil {
		return err
	}
	n.producer, err = orders.NewProducer(orders.ProducerConfig{Brokers: brokers, Topic: n.set.Topic, Sales: n.cache, Outbox: n.gate, Log: n.log})
	if err != nil {
		return err
	}
	n.onClose(func() {
		ctx, cancel := context.WithTimeout(context.Background(), n.set.DrainTimeout)
		defer cancel()
		if err := n.producer.Close(ctx); err != nil {
			n.log.Warn("events were left to the relay", "err", err)
		}
	})
	n.stream, err = orders.NewStreamAudit(brokers, n.set.Topic, n.ledger)
	if err != nil {
		return err
	}
	n.onClose(n.stream.Close)
	if n.marks, err = orders.NewMarks(brokers, n.stream); err != nil {
		return err
	}
	n.onClose(n.marks.Close)
	return nil
}

func (n *node) brokers() (out []string) {
	for _, b := range strings.Split(n.at.KafkaBrokers, ",") {
		out = append(out, strings.TrimSpace(b))
	}
	return out
}

func (n *node) openEngine(context.Context) (err error) {
	score, err := n.score()
	if err != nil {
		return err
	}
	n.engine, err = engine.New(engine.Ports{
		Sales: n.cache, Gate: n.fault.Gate(n.gate), Reader: n.gate, Attempts: n.fault.Attempts(n.attempts), Payments: n.payments, Stream: n.fault.Stream(n.producer),
		Outcomes: n.replies, Orders: n.orders, Score: score, Hash: reservation.Hasher{}, Clock: systemClock{n.set.ClockSkew}, Log: n.log, Stale: n.cache.Doubt, Admissions: n.desk, Resume: n.resume,
	}, engine.Options{PaymentTimeout: n.router.Budget(), DefaultWait: n.set.DefaultWait, MaxWait: n.set.MaxWait, MaxQueued: n.set.PaymentQueue})
	n.lifecycle = &engine.Lifecycle{Store: n.sales, Gate: n.gate, Reader: n.gate, Shards: n.gate, Holds: n.gate, Repair: n.gate, Rooms: n.desk, PaymentTimeout: n.router.Budget(), Clock: systemClock{n.set.ClockSkew}, Log: n.log}
	if err != nil {
		return err
	}
	shown, err := ops.NewTruthMetrics(n.reg)
	n.truth = newTruth(n, shown)
	n.keep()
	return err
}

// keep prepares what brings lost gates back. Every node can, when an operator
// says so; those with the role reaper watch.
func (n *node) keep() {
	n.rebuilds = record.NewRebuilds(n.db, n.sales)
	metrics := ops.NewGateMetrics(n.cache.Active)
	n.reg.MustRegister(metrics)
	rebuilder := &engine.Rebuilder{Gate: n.gate, Record: n.rebuilds, Stream: n.marks, Clock: systemClock{n.set.ClockSkew}, Log: n.log, Done: metrics.Done}
	n.keeper = &engine.Keeper{Rebuilder: rebuilder, Gate: n.gate, Sales: n.cache.Active, Stale: n.cache.Doubt, Manual: !n.set.AutoRebuild, Log: n.log}
}

// lostGate hears of a call that a lost shard has refused. It does not block.
func (n *node) lostGate(saleNo uint32, _ int, _ string) {
	n.cache.Doubt(saleNo)
	if k := n.watch.Load(); k != nil {
		k.Wake()
	}
}

func (n *node) openServers(ctx context.Context) (err error) {
	if n.has(roleAPI) && n.set.Decisions > 0 {
		n.trail = trail.New(n.set.Decisions, time.Now())
	}
	tokens, err := n.set.tokens()
	if err != nil {
		return &exit{exitUsage, err}
	}
	known, err := n.set.staff(n.board, n.log)
	if err != nil {
		return &exit{exitUsage, err}
	}
	screen, err := n.openLive()
	if err != nil {
		return err
	}
	var who ops.Staff // an interface that holds nil is not nil
	if known != nil {
		who = known
	}
	n.admin, err = ops.New(ops.Options{Staff: who, Lifecycle: n.lifecycle, Reader: n.gate, Orders: n.orders, Payments: n.attempts, Resolver: n.engine, Dead: orders.NewDeadLetters(n.db), Truth: n.truth, Ready: n.ready,
		Breaker: n.router.State, Breakers: breakerDesk{n}, Rooms: n.desk, Gates: &ops.Gates{Rebuilder: n.keeper.Rebuilder, Taken: n.rebuilds, Automatic: n.set.AutoRebuild}, Tokens: tokens, Registry: n.reg,
		Contacts: record.NewContacts(n.db), Buyers: stories{n}, Live: screen, Log: n.log, Secure: n.doors.adminCert != nil})
	if err != nil || !n.has(roleAPI) {
		return err
	}
	return n.openPublic(ctx)
}

func (n *node) publicURL() string { return doorURL(n.doors.public, n.doors.publicCert) }

func (n *node) adminURL() string { return doorURL(n.doors.admin, n.doors.adminCert) }

// webhooks takes events from the payment providers that can verify them.
type webhooks struct{ *node }

func (w webhooks) Event(provider string, body []byte, header func(name string) string) (engine.ProviderEvent, error) {
	return w.router.Event(provider, body, header)
}

func (w webhooks) Keep(ctx context.Context, ev engine.ProviderEvent) (bool, error) {
	return w.events.Keep(ctx, ev)
}

// views is what anyone may read.
type views struct{ *node }

func (v views) SaleView(ctx context.Context, id string) (*engine.Sale, []engine.Counters, error) {
	s, err := v.cache.Sale(ctx, id)
	if err != nil || s.Epoch == 0 {
		return s, nil, err
	}
	cs, err := v.gate.Counters(ctx, s)
	return s, cs, err
}

func (v views) Ready(ctx context.Context) error { return v.ready(ctx) }

// ready says whether every backend answers.
func (n *node) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	var g errgroup.Group
	var mu sync.Mutex
	var all []error
	for name, ping := range map[string]func(context.Context) error{"redis": n.gate.Ping, "postgres": n.db.Ping,
		"kafka": func(ctx context.Context) error { _, err := n.stream.Mark(ctx); return err }} {
		g.Go(func() error {
			if err := ping(ctx); err != nil {
				mu.Lock()
				defer mu.Unlock()
				all = append(all, fmt.Errorf("%s does not answer: %w", name, err))
			}
			return nil
		})
	}
	_ = g.Wait()
	return errors.Join(all...)
}
