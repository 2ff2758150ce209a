package orders_test

import (
	"context"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kfake"
	"go.uber.org/goleak"

	"github.com/flashsale-engine/flashsale/engine"
	"github.com/flashsale-engine/flashsale/internal/devstack/testenv"
	"github.com/flashsale-engine/flashsale/orders"
	"github.com/flashsale-engine/flashsale/orders/record"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		// The shared backends of a lone package run live as long as the process.
		goleak.IgnoreAnyFunction("github.com/flashsale-engine/flashsale/internal/devstack.startChild.func1"),
		goleak.IgnoreAnyFunction("github.com/flashsale-engine/flashsale/internal/devstack.(*server).watch"))
}

// patience is how long a test waits for what must come: the product's own time-outs
// are for the tests of time-outs, for a busy machine gives a backend no processor for seconds.
const patience = 60 * time.Second

// onEveryKafka runs a test on the stand-in and on the real one alike.
func onEveryKafka(t *testing.T, test func(t *testing.T, brokers []string)) {
	t.Run("kfake", func(t *testing.T) { test(t, fakeKafka(t).ListenAddrs()) })
	t.Run("Apache Kafka", func(t *testing.T) { test(t, testenv.Kafka(t)) })
}

func fakeKafka(t *testing.T) *kfake.Cluster {
	t.Helper()
	c, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// rig is one sale with a record, a stream and a producer.
type rig struct {
	t        *testing.T
	url      string
	brokers  []string
	topic    string
	group    string
	db       *record.DB
	sale     *engine.Sale
	attempts *record.Attempts
	outbox   *outbox
	notes    *notes
	registry *prometheus.Registry
	seq      uint64
}

func newRig(t *testing.T, brokers []string, url string, partitions int, stock ...int64) *rig {
	t.Helper()
	if err := record.Migrate(t.Context(), url); err != nil {
		t.Fatal(err)
	}
	db, err := record.Open(t.Context(), url, record.Options{AcquireTimeout: patience, ConnectTimeout: patience})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	s := &engine.Sale{ID: "drop", Name: "Drop", Currency: "USD", HoldTTL: time.Minute, HoldCap: 5 * time.Minute, PerBuyerLimit: 4, Shards: 1}
	for i, n := range stock {
		s.Items = append(s.Items, engine.Item{No: uint16(i), SKU: "SKU-" + strconv.Itoa(i), UnitPrice: 1000, Stock: n})
	}
	s, _, err = record.NewSaleStore(db).Create(t.Context(), s, "test")
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{
		t: t, url: url, brokers: brokers, topic: testenv.Topic(t), group: testenv.Unique(), db: db, sale: s,
		attempts: record.NewAttempts(db), outbox: &outbox{}, notes: newNotes(), registry: prometheus.NewRegistry(),
	}
	if err := orders.EnsureTopic(t.Context(), brokers, r.topic, partitions, -1); err != nil {
		t.Fatal(err)
	}
	return r
}

// producer makes a patient producer; change may bend its configuration.
func (r *rig) producer(change ...func(*orders.ProducerConfig)) *orders.Producer {
	r.t.Helper()
	cfg := orders.ProducerConfig{
		Brokers: r.brokers, Topic: r.topic, Sales: record.NewSales(r.db, record.SalesOptions{}), Outbox: r.outbox,
		PublishTimeout: patience, DeliveryTimeout: patience,
	}
	for _, bend := range change {
		bend(&cfg)
	}
	p, err := orders.NewProducer(cfg)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = p.Close(ctx)
	})
	return p
}

// writer makes a writer; change may bend its configuration.
func (r *rig) writer(change func(*orders.WriterConfig)) *orders.Writer {
	r.t.Helper()
	cfg := orders.WriterConfig{
		Brokers: r.brokers, Topic: r.topic, Group: r.group, Record: record.NewLedger(r.db), Notifier: r.notes,
		MaxBackoff: 100 * time.Millisecond, Registry: r.registry,
	}
	if change != nil {
		change(&cfg)
	}
	w, err := orders.NewWriter(cfg)
	if err != nil {
		r.t.Fatal(err)
	}
	return w
}

// watch shows how far the record is behind the stream.
func (r *rig) watch() *orders.StreamWatch {
	r.t.Helper()
	ledger := record.NewLedger(r.db)
	audit, err := orders.NewStreamAudit(r.brokers, r.topic, ledger)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(audit.Close)
	return orders.NewStreamWatch(audit, ledger, r.registry)
}

// start runs something until the test ends or stop is called; stop waits.
func start(t *testing.T, run func(context.Context) error) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- run(ctx) }()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			select {
			case err := <-done:
				if err != nil {
					t.Errorf("Run: %v", err)
				}
			case <-time.After(patience):
				t.Error("Run does not end")
			}
		})
	}
	t.Cleanup(stop)
	return stop
}

// accept makes an accepted reservation, with its attempt on record, in the outbox.
func (r *rig) accept(quantity int, no uint16) engine.OutboxEntry {
	r.t.Helper()
	r.seq++
	id := engine.ReservationID{Sale: r.sale.No, Created: time.Now().UnixMilli(), Buyer: engine.BuyerKey{byte(r.seq), byte(r.seq >> 8)}, Nonce: engine.Nonce{1}}
	lines, total := r.sale.Price([]engine.Line{{No: no, Quantity: quantity}})
	ev := engine.AcceptedEvent{
		ID: id, SaleID: r.sale.ID, Buyer: "ada", Lines: lines, Total: total, Attempt: engine.NewAttemptID(id, "k"),
		Provider: "sandbox", ProviderRef: "ref", ReplyTo: "node-1", Traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
	}
	_, err := r.attempts.Begin(r.t.Context(), engine.Attempt{ID: ev.Attempt, Reservation: id, Buyer: "ada", Amount: total, Method: "pm_card_visa"}, time.Hour)
	if err != nil {
		r.t.Fatal(err)
	}
	payload, err := orders.Encode(ev)
	if err != nil {
		r.t.Fatal(err)
	}
	e := engine.OutboxEntry{Sale: r.sale.No, EntryID: strconv.FormatUint(r.seq, 10), Payload: payload, ID: id, Epoch: 1, Seq: r.seq, AcceptedAt: time.Now()}
	r.outbox.put(e)
	return e
}

// publish sends entries and waits for each acknowledgement.
func (r *rig) publish(p *orders.Producer, entries ...engine.OutboxEntry) {
	r.t.Helper()
	for _, e := range entries {
		if err := p.Publish(r.t.Context(), e); err != nil {
			r.t.Fatal(err)
		}
	}
}

// until polls a condition until it holds.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-deadline:
			t.Fatalf("not within %s: %s", patience, what)
		case <-tick.C:
		}
	}
}

// count reads one number from the record; -1 while it is away.
func (r *rig) count(sql string) int64 {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c, err := pgx.Connect(ctx, r.url)
	if err != nil {
		return -1
	}
	defer c.Close(ctx)
	n := int64(-1)
	_ = c.QueryRow(ctx, sql).Scan(&n)
	return n
}

// balanced fails unless the record agrees with itself.
func (r *rig) balanced() {
	r.t.Helper()
	totals, err := record.NewAudit(r.db).Totals(context.Background(), r.sale.No)
	if err != nil {
		r.t.Fatal(err)
	}
	for _, x := range totals {
		if x.Sold != x.LedgerSold || x.Sold != x.Orders || x.Stock != x.LedgerStock || x.Sold > x.Stock {
			r.t.Errorf("SKU %d does not balance: %+v", x.No, x)
		}
	}
}
