package engine

import (
	"context"
	"testing"
)

// ledgers are a provider's books and the record's view of the same attempts.
type ledgers struct {
	RecordAudit
	pays     []Payment // by attempt: the number in Ref's first byte
	standing []Standing
}

func (l ledgers) Payments(_ context.Context, visit func(AttemptID, Payment) error) error {
	for _, p := range l.pays {
		if err := visit(AttemptID{p.Ref[0] - '0'}, p); err != nil {
			return err
		}
	}
	return nil
}

func (l ledgers) Standing(context.Context, []AttemptID) ([]Standing, error) { return l.standing, nil }

func TestBooksAndRecordAreComparedPaymentByPayment(t *testing.T) {
	five, six := Money{500, "USD"}, Money{600, "USD"}
	one := AttemptID{1}
	at := func(s PaymentState) Payment { return Payment{State: s, Ref: "1", Amount: five} }
	for name, c := range map[string]struct {
		pays     []Payment
		standing []Standing
		unpaid   int
		open     int
	}{
		"captured for an order":                      {[]Payment{at(PaymentCaptured)}, []Standing{{ID: one, State: PaymentCaptured, Amount: five, Ordered: true}}, 0, 0},
		"captured, the record still says authorised": {[]Payment{at(PaymentCaptured)}, []Standing{{ID: one, State: PaymentAuthorised, Amount: five, Ordered: true}}, 0, 0},
		"captured for nothing":                       {[]Payment{at(PaymentCaptured)}, []Standing{{ID: one, State: PaymentVoided, Amount: five}}, 1, 0},
		"captured by an attempt nobody knows":        {[]Payment{at(PaymentCaptured)}, nil, 1, 0},
		"captured, and to be refunded":               {[]Payment{at(PaymentCaptured)}, []Standing{{ID: one, State: PaymentCaptured, Amount: five, Owed: true}}, 0, 1},
		"captured in another amount":                 {[]Payment{at(PaymentCaptured)}, []Standing{{ID: one, State: PaymentCaptured, Amount: six, Ordered: true}}, 1, 0},
		"charged twice": {[]Payment{at(PaymentCaptured), {State: PaymentCaptured, Ref: "1b", Amount: five}},
			[]Standing{{ID: one, State: PaymentCaptured, Amount: five, Ordered: true}}, 1, 0},
		"held for an order, not captured yet":         {[]Payment{at(PaymentAuthorised)}, []Standing{{ID: one, State: PaymentAuthorised, Amount: five, Ordered: true}}, 0, 1},
		"held, and being found out":                   {[]Payment{at(PaymentAuthorised)}, []Standing{{ID: one, State: PaymentUnknown, Amount: five}}, 0, 1},
		"held, though the attempt has ended":          {[]Payment{at(PaymentAuthorised)}, []Standing{{ID: one, State: PaymentVoided, Amount: five}}, 1, 0},
		"held, and nobody knows the attempt":          {[]Payment{at(PaymentAuthorised)}, nil, 1, 0},
		"waiting for a buyer":                         {[]Payment{at(PaymentNeedsAction)}, []Standing{{ID: one, State: PaymentNeedsAction, Amount: five}}, 0, 1},
		"voided, without an order":                    {[]Payment{at(PaymentVoided)}, []Standing{{ID: one, State: PaymentVoided, Amount: five}}, 0, 0},
		"voided, with an order":                       {[]Payment{at(PaymentVoided)}, []Standing{{ID: one, State: PaymentCaptured, Amount: five, Ordered: true}}, 1, 0},
		"refunded by an operator":                     {[]Payment{at(PaymentRefunded)}, []Standing{{ID: one, State: PaymentRefunded, Amount: five, Ordered: true, Owed: true}}, 0, 0},
		"refunded behind everybody's back":            {[]Payment{at(PaymentRefunded)}, []Standing{{ID: one, State: PaymentCaptured, Amount: five, Ordered: true}}, 1, 0},
		"declined, and the record is a moment behind": {[]Payment{at(PaymentDeclined)}, []Standing{{ID: one, State: PaymentUnknown, Amount: five}}, 0, 1},
	} {
		t.Run(name, func(t *testing.T) {
			l := ledgers{pays: c.pays, standing: c.standing}
			v := Verifier{Record: l, Books: l}
			var out Verdict
			if err := v.books(context.Background(), &out); err != nil {
				t.Fatal(err)
			}
			out.count()
			if out.Unpaid != c.unpaid || out.Checked.Unresolved != c.open || out.Checked.Payments != len(c.pays) {
				t.Errorf("%d unpaid, %d open: %+v", out.Unpaid, out.Checked.Unresolved, out.Findings)
			}
		})
	}
}
