package admission

// Limit names what holds the front back.
type Limit string

// What may hold the front back.
const (
	LimitNone     Limit = "none"     // everybody has been reached
	LimitStock    Limit = "stock"    // those inside can buy all that is left
	LimitGate     Limit = "gate"     // the gate is slow or away
	LimitWriter   Limit = "writer"   // orders wait to be written
	LimitPayment  Limit = "payment"  // the provider is slow or away
	LimitRamp     Limit = "ramp"     // nothing: the pace is still growing
	LimitOperator Limit = "operator" // somebody said so
)
