package payment

import (
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"

	"github.com/flashsale-engine/flashsale/engine"
	"github.com/flashsale-engine/flashsale/internal/telemetry"
)

func TestTheProviderIsAskedUnderTheTrace(t *testing.T) {
	seen := make(chan string, 2)
	provider := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen <- r.Header.Get("traceparent")
		http.Error(w, "{}", http.StatusNotFound)
	}))
	defer provider.Close()
	box, err := NewSandbox(SandboxConfig{URL: provider.URL})
	if err != nil {
		t.Fatal(err)
	}
	defer box.Close()
	tel, err := telemetry.Open(telemetry.Config{File: filepath.Join(t.TempDir(), "spans")})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tel.Close(t.Context()) }()
	_, _ = box.Lookup(t.Context(), engine.Attempt{})
	if got := <-seen; got != "" {
		t.Errorf("untraced, %q was sent", got)
	}
	ctx, _ := tel.Begin(t.Context(), []byte("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"), "request")
	_, _ = box.Lookup(ctx, engine.Attempt{})
	if got := <-seen; len(got) != 55 || got[:36] != "00-4bf92f3577b34da6a3ce929d0e0e4736-" || got[36:52] == telemetry.Of(ctx).SpanID() {
		t.Errorf("%q was sent", got)
	}
}
