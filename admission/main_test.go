package admission

import (
	"testing"

	"go.uber.org/goleak"
)

// The shared Redis of testenv lives as long as the process, and so do its keepers.
func TestMain(m *testing.M) {
	const devstack = "github.com/flashsale-engine/flashsale/internal/devstack."
	goleak.VerifyTestMain(m,
		goleak.IgnoreAnyFunction(devstack+"(*server).watch"),
		goleak.IgnoreAnyFunction(devstack+"startChild.func1"),
		goleak.IgnoreAnyFunction(devstack+"startChild.func2"))
}
