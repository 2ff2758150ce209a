package orders_test

import (
	"testing"

	"github.com/flashsale-engine/flashsale/engine"
	"github.com/flashsale-engine/flashsale/internal/devstack/testenv"
	"github.com/flashsale-engine/flashsale/orders"
	"github.com/flashsale-engine/flashsale/orders/record"
)

func TestAnEpochsMarkIsReadByAllAndBecomesNothing(t *testing.T) {
	onEveryKafka(t, func(t *testing.T, brokers []string) {
		r := newRig(t, brokers, testenv.Postgres(t), 3, 100)
		audit, err := orders.NewStreamAudit(brokers, r.topic, record.NewLedger(r.db))
		if err != nil {
			t.Fatal(err)
		}
		defer audit.Close()
		marks, err := orders.NewMarks(brokers, audit)
		if err != nil {
			t.Fatal(err)
		}
		defer marks.Close()
		p := r.producer()
		before := []engine.OutboxEntry{r.accept(1, 0), r.accept(1, 0), r.accept(1, 0)}
		r.publish(p, before...)
		m, err := marks.MarkEpoch(t.Context(), r.sale, 0, 2)
		if err != nil || len(m) != 3 {
			t.Fatalf("marked %v, %v", m, err)
		}
		if left, err := marks.Left(t.Context(), m); left != 6 || err != nil {
			t.Errorf("%d of 3 events and 3 marks are left before anybody has read: %v", left, err)
		}
		late := r.accept(1, 0)
		r.publish(p, late)
		start(t, r.writer(nil).Run)
		until(t, "the marks are passed", func() bool { left, err := marks.Left(t.Context(), m); return left == 0 && err == nil })
		if missing, err := record.NewAudit(r.db).Missing(t.Context(), []engine.ReservationID{before[0].ID, before[1].ID, before[2].ID}); err != nil || len(missing) > 0 {
			t.Errorf("published before the mark and not there: %v, %v", missing, err)
		}
		until(t, "an event behind the mark is an order", func() bool { return r.notes.of(late.ID) == engine.Confirmed })
		if n := r.count(`SELECT count(*) FROM dead_letters`); n != 0 {
			t.Errorf("%d dead letters", n)
		}
		r.balanced()
	})
}
