package main

// truthMutants are seeded bugs of what is to survive the loss of a gate, of a
// writer, of a relay or of an answer. Their files are named from the module's root.
var truthMutants = []mutant{
	{"rebuild-forgets-payments", "a rebuild does not keep the units of payments that live", []patch{
		{"engine/rebuildplan.go", "\tcase len(h.Lines) == 0:\n", "\tcase h.State == Paying && len(h.Lines) > 0:\n\t\treturn\n\tcase len(h.Lines) == 0:\n"},
	}},
	{"read-before-raise", "a rebuild reads payments and orders before the new epoch stops others from beginning", []patch{
		{"engine/rebuild.go", "\ts, err = b.Record.Raise(ctx, lease, out.Server)\n", "\tif err := b.drain(ctx, s, shard, s.Lease(shard).Epoch); err != nil {\n\t\treturn out, err\n\t}\n\tearly, err := b.plan(ctx, lease, s)\n\tif err != nil {\n\t\treturn out, err\n\t}\n\ts, err = b.Record.Raise(ctx, lease, out.Server)\n"},
		{"engine/rebuild.go", "\tplan, err := b.plan(ctx, lease, s)\n", "\tplan, err := early, error(nil)\n"},
	}},
	{"opened-before-drain", "a rebuild does not wait for the record to read what was published", []patch{
		{"engine/rebuild.go", "\tif err := b.drain(ctx, s, shard, out.Epoch); err != nil {", "\tif _, err := b.Stream.MarkEpoch(ctx, s, shard, out.Epoch); err != nil {"},
	}},
	{"epoch-not-compared", "a payment may begin for a hold of an older gate", []patch{
		{"orders/record/begin.go", "\t\t\t\tWHERE g.epoch IS NULL OR g.epoch = b.epoch\n\t\t\t\tON CONFLICT", "\t\t\t\tWHERE g.epoch IS NULL OR g.epoch >= b.epoch\n\t\t\t\tON CONFLICT"},
	}},
	{"rebuilder-without-lease", "a rebuilder whose lease was taken over goes on", []patch{
		{"orders/record/rebuild.go", " AND g.token = $3 AND g.until > clock_timestamp()`", " AND g.token >= $3`"},
	}},
	{"void-unbarred", "money is given back while an event of it may still come", []patch{
		{"engine/charge.go", "\tif err := e.Attempts.Bar(ctx, a); err != nil {", "\tif err := error(nil); err != nil {"},
	}},
	{"barred-unread", "the writer makes an order of a payment that is being given back", []patch{
		{"orders/record/commit.go", "(p.barred OR p.state IN", "(p.state IN"},
	}},
	{"bar-over-order", "the record bars a payment that has become an order", []patch{
		{"orders/record/lease.go", "p.lease_until > clock_timestamp() AND p.state IN `+unfinished+`\n\t\t\tAND NOT EXISTS (SELECT FROM orders o WHERE o.id = p.reservation AND o.reserved_at = reserved_at(p.reservation) AND o.attempt = p.id)`", "p.lease_until IS NOT NULL`"},
		{"orders/record/lease.go", "WHERE p.id = $1 AND p.lease_until = $2 AND p.lease_until IS", "WHERE p.id = $1 AND $2::timestamptz IS NOT NULL AND p.lease_until IS"},
	}},
	{"accepted-voided", "a payment whose units are claimed is voided", []patch{
		{"engine/charge.go", "\tcase err == nil && now.State == Accepted && now.Fence == a.ID.Fence():\n", "\tcase err == nil && now.State == Accepted && now.Fence == a.ID.Fence() && e.Clock == nil:\n"},
	}},
	{"freed-too-early", "units that an older gate may have sold to another payment are given back", []patch{
		{"engine/resolve.go", "\t\t\tif a.ID != ended && a.lives() && a.State != PaymentCaptured {", "\t\t\tif false && a.lives() {"},
	}},
	{"lost-too-early", "a hold is called lost while a payment of it lives", []patch{
		{"engine/rebuildbuyers.go", "\t\tif a.lives() {\n", "\t\tif a.lives() && e.Clock == nil {\n"},
	}},
	{"final-too-early", "a key hears that the hold is over while its own payment lives", []patch{
		{"engine/replay.go", "\t\tif a.Parked != Unsent {\n", "\t\tif false {\n"},
	}},
	{"capture-before-commit", "money is taken as soon as it is authorised", []patch{
		{"engine/checkout.go", "\t\tif err == nil {\n\t\t\thold.State, err = Accepted,", "\t\tif err == nil {\n\t\t\t_, _ = e.Payments.Capture(work, attempt)\n\t\t\thold.State, err = Accepted,"},
	}},
	{"position-before-orders", "a writer whose transaction failed reads on: its position is ahead of its orders", []patch{
		{"orders/reader.go", "\tr.rewind(entries)\n\treturn err\n", "\treturn err\n"},
	}},
	{"fenced-believes-itself", "a writer that was fenced does not ask where the record stands", []patch{
		{"orders/reader.go", "loadErr == nil {\n\t\t\tr.believe(at)", "loadErr != nil {\n\t\t\tr.believe(at)"},
	}},
	{"trimmed-before-acks", "an event leaves the outbox though the stream has not acknowledged it", []patch{
		{"orders/producer.go", "\t\tif err == nil {\n\t\t\tp.tidy.add(e)", "\t\tif true {\n\t\t\tp.tidy.add(e)"},
	}},
	{"sent-once", "an event that the stream did not take is not sent again", []patch{
		{"orders/producer.go", "\t\t\tp.forget(e)\n", "\t\t\t_ = e\n"},
	}},
	{"unknown-commit-failed", "a COMMIT without an answer is read as a failure", []patch{
		{"orders/record/ledger.go", "\t\tif !errors.Is(err, engine.ErrUnknown) {\n\t\t\treturn Result{}, err\n", "\t\tif true {\n\t\t\treturn Result{}, unavailable(err)\n"},
	}},
	{"dead-letter-dropped", "the position passes a dead letter that is not stored", []patch{
		{"orders/record/commitrows.go", "\tif err := d.queueDead(q, b.Topic); err != nil {", "\tif err := error(nil); err != nil {"},
	}},
	{"poison-skipped", "an event that the record refuses is skipped, and becomes no dead letter", []patch{
		{"orders/reader.go", "\tentries[0].Reason, entries[0].Detail = DeadRejected, clip(data.Error())\n\treturn r.commitOnce(ctx, entries)\n", "\tr.believe(map[int32]int64{entries[0].Partition: entries[0].Offset + 1})\n\treturn nil\n"},
	}},
	{"lease-ignored", "a payment is cancelled under another node's lease", []patch{
		{"orders/record/lease.go", "nullif(p.cancelled, ''), $4), lease_until = clock_timestamp() + $3::interval, updated_at = clock_timestamp()\n\t\tWHERE p.id = $1 AND p.lease_until = $2", "nullif(p.cancelled, ''), $4), lease_until = clock_timestamp() + $3::interval, updated_at = clock_timestamp()\n\t\tWHERE p.id = $1 AND $2::timestamptz IS NOT NULL"},
	}},
}
