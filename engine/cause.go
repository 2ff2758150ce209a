package engine

// Cause says of a Finding what is wrong, for machines, and for Repair.
type Cause string

// The causes, by what can be done about them.
const (
	CauseNoOrder      Cause = "no_order"      // accepted at the gate, and the record never heard of it
	CauseDeadLetter   Cause = "dead_letter"   // its event is a dead letter that nobody has retried or dropped
	CauseOrderGone    Cause = "order_gone"    // the ledger sold to it, and the order's row is not there
	CauseGateStock    Cause = "gate_stock"    // the gate has another stock than the record
	CauseGateSums     Cause = "gate_sums"     // the gate does not conserve
	CauseGateBehind   Cause = "gate_behind"   // the gate has sold less than the record
	CauseGateAhead    Cause = "gate_ahead"    // the gate has sold more, and nothing is on its way
	CauseGateUnknown  Cause = "gate_unknown"  // the gate does not know the SKU
	CauseRecordSums   Cause = "record_sums"   // SKU row, ledger and orders differ
	CauseRunningSums  Cause = "running_sums"  // the ledger's running sums are not its sums
	CauseOversold     Cause = "oversold"      // more sold than stock
	CauseOrderMoney   Cause = "order_money"   // a confirmed order without its money
	CauseOrderTotal   Cause = "order_total"   // an order's lines do not come to its total
	CauseCaptured     Cause = "captured"      // captured by the record's word, and no confirmed order has it
	CauseTaken        Cause = "taken"         // captured by the provider's word, and no confirmed order has it
	CauseHeldOn       Cause = "held_on"       // the provider holds money of an attempt that has ended
	CauseStranger     Cause = "stranger"      // the provider has money of an attempt that the record does not know
	CauseChargedTwice Cause = "charged_twice" // the provider captured an attempt more than once
	CauseAmount       Cause = "amount"        // the provider captured another amount
	CauseMoneyLedger  Cause = "money_ledger"  // the money ledger does not come to what the payment says
)
