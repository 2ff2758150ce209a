package main

// checkoutMutants are seeded bugs of the checkout's story.
var checkoutMutants = []mutant{
	{"publish-before-claim", "the event leaves before the units are claimed", []patch{
		{"charge.go", "\t_, entry, err := e.Gate.Claim(ctx, s, h.ID, a.ID.Fence(), event)\n\tswitch", "\t_ = e.Stream.Publish(ctx, OutboxEntry{Sale: s.No, ID: h.ID, Payload: event})\n\t_, entry, err := e.Gate.Claim(ctx, s, h.ID, a.ID.Fence(), event)\n\tswitch"},
	}},
	{"release-on-unknown", "a payment without an answer counts as failed: the hold is given back", []patch{
		{"charge.go", "\t\te.note(ctx, a, Payment{State: PaymentUnknown}, \"no answer\")\n\t\treturn p, err\n", "\t\treturn p, e.decline(ctx, s, a, Payment{State: PaymentDeclined})\n"},
	}},
	{"unnoted-attempt", "the provider is called though the attempt could not be noted", []patch{
		{"checkout.go", "\tcase err != nil:\n\t\t// The provider was never called.", "\tcase err != nil:\n\t\treturn want, false, nil\n\t\t// The provider was never called."},
	}},
	{"units-before-money", "at the cap the units are freed before the payment is cancelled", []patch{
		{"resolve.go", "\th, err := e.giveBack(ctx, s, h, a, p, reason)\n", "\t_ = e.release(ctx, s, h, a)\n\th, err := e.giveBack(ctx, s, h, a, p, reason)\n"},
	}},
	{"void-claimed", "a payment is voided without taking its hold away first", []patch{
		{"charge.go", "\tif h, err = e.bar(ctx, s, h, a); err != nil {\n\t\treturn h, err\n\t}\n", ""},
	}},
	{"late-money-kept-first", "units are taken again for late money without a word that it is still wanted", []patch{
		{"charge.go", "\tkept, err := e.Attempts.Keep(ctx, a, e.lease())\n", "\tkept, err := a, error(nil)\n"},
	}},
	{"dropped-without-lease", "a payment is noted as never sent by a node that has lost its lease", []patch{
		{"resolve.go", "\tours, err := e.Attempts.Drop(ctx, a, reason)\n", "\tours, err := true, e.Attempts.Note(ctx, a, Payment{State: PaymentVoided}, reason)\n"},
	}},
	{"fence-ignored", "whoever resolves takes any paying hold for its own", []patch{
		{"resolve.go", "\treturn h.State == Paying && (h.Fence == a.ID.Fence() || a.barred(h))\n", "\treturn h.State == Paying\n"},
	}},
	{"money-left", "a payment whose hold is gone stays authorised", []patch{
		{"resolve.go", "\t\treturn e.cancel(ctx, s, h, a, p, reasonHoldGone)\n\tcase StepEnd:", "\t\treturn nil\n\tcase StepEnd:"},
	}},
	{"another-provider", "a payment that may have been sent goes to another provider", []patch{
		{"charge.go", "\tif a.Parked == NotParked {\n\t\treturn a, nil\n\t}\n\twas := a.Provider", "\twas := a.Provider"},
	}},
}

// writerMutants are seeded bugs of the order writer's transaction.
var writerMutants = []mutant{
	{"record-oversells", "the writer does not look whether the stock covers an order", []patch{
		{"decide.go", "if row.stock-row.sold < units {", "if row.stock-row.sold < units-1 {"},
	}},
	{"half-a-cart", "a cart that is refused keeps the lines that were there", []patch{
		{"decide.go", "move(-int64(back.Quantity))", "move(0 * int64(back.Quantity))"},
	}},
	{"order-twice", "an event that comes again is decided again", []patch{
		{"decide.go", "if o, ok := d.existing[ev.ID]; ok {", "if o, ok := d.existing[ev.ID]; ok && o.State == engine.Refused {"},
	}},
	{"price-believed", "an event's prices are not compared with the sale's", []patch{
		{"decide.go", "if l.UnitPrice != row.price {", "if false {"},
	}},
	{"position-fence", "a writer that has lost its partition commits all the same", []patch{
		{"commit.go", "if err == nil && !same(at, b.From) {", "if false && !same(at, b.From) {"},
	}},
	{"position-stays", "the position does not move with the orders", []patch{
		{"commitrows.go", "offsets[i] = next[p]", "offsets[i] = next[p] - 1"},
	}},
	{"unsorted-locks", "SKU rows are locked in whatever order a cart names them", []patch{
		{"commit.go", "\n\t\tORDER BY k.sale_no, k.no FOR UPDATE OF k", " FOR UPDATE OF k"},
		{"commit.go", "\tslices.SortFunc(keys, func(a, b skuKey) int {\n\t\treturn cmp.Or(cmp.Compare(a.sale, b.sale), cmp.Compare(a.no, b.no))\n\t})\n", "\t_ = cmp.Or[int]\n\t_ = slices.Sort[[]int]\n"},
	}},
}
