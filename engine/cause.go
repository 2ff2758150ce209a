package engine

// FindingCause says of a Finding what is wrong, for machines, and for Repair.
type FindingCause string

// The causes, by what can be done about them.
const (
	CauseNoOrder      FindingCause = "no_order"      // accepted at the gate, and the record never heard of it
	CauseDeadLetter   FindingCause = "dead_letter"   // its event is a dead letter that nobody has retried or dropped
	CauseOrderGone    FindingCause = "order_gone"    // the ledger sold to it, and the order's row is not there
	CauseGateStock    FindingCause = "gate_stock"    // the gate has another stock than the record
	CauseGateSums     FindingCause = "gate_sums"     // the gate does not conserve
	CauseGateBehind   FindingCause = "gate_behind"   // the gate has sold less than the record
	CauseGateAhead    FindingCause = "gate_ahead"    // the gate has sold more, and nothing is on its way
	CauseGateUnknown  FindingCause = "gate_unknown"  // the gate does not know the SKU
	CauseRecordSums   FindingCause = "record_sums"   // SKU row, ledger and orders differ
	CauseRunningSums  FindingCause = "running_sums"  // the ledger's running sums are not its sums
	CauseOversold     FindingCause = "oversold"      // more sold than stock
	CauseOrderMoney   FindingCause = "order_money"   // a confirmed order without its money
	CauseOrderTotal   FindingCause = "order_total"   // an order's lines do not come to its total
	CauseCaptured     FindingCause = "captured"      // captured by the record's word, and no confirmed order has it
	CauseTaken        FindingCause = "taken"         // captured by the provider's word, and no confirmed order has it
	CauseHeldOn       FindingCause = "held_on"       // the provider holds money of an attempt that has ended
	CauseStranger     FindingCause = "stranger"      // the provider has money of an attempt that the record does not know
	CauseChargedTwice FindingCause = "charged_twice" // the provider captured an attempt more than once
	CauseAmount       FindingCause = "amount"        // the provider captured another amount
	CauseMoneyLedger  FindingCause = "money_ledger"  // the money ledger does not come to what the payment says
)
