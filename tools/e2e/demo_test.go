// Package e2e clicks through the demo's shop and the console in a real browser. Run it by `make e2e`.
package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

var (
	demo struct {
		API        string `json:"api"`
		Admin      string `json:"admin"`
		AdminToken string `json:"admin_token"`
	}
	browser   context.Context
	shots     = os.Getenv("E2E_SHOTS")
	engine    = os.Getenv("E2E_ENGINE")
	axeSource string
)

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	fail := func(err error) int { fmt.Fprintln(os.Stderr, "e2e:", err); return 1 }
	axe, err := os.ReadFile(os.Getenv("E2E_AXE"))
	if err != nil {
		return fail(fmt.Errorf("run this by make e2e: %w", err))
	}
	axeSource = string(axe)
	cmd := exec.Command(engine, "demo", "--json", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0")
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return fail(err)
	}
	defer func() { _ = cmd.Process.Signal(os.Interrupt); _ = cmd.Wait() }()
	line, err := bufio.NewReader(out).ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, &demo)
	}
	if err != nil {
		return fail(fmt.Errorf("the demo did not come up: %w", err))
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.NoSandbox, chromedp.Flag("hide-scrollbars", true))
	alloc, stop := chromedp.NewExecAllocator(context.Background(), options...)
	defer stop()
	var done context.CancelFunc
	browser, done = chromedp.NewContext(alloc)
	defer done()
	if err := chromedp.Do(browser); err != nil {
		return fail(err)
	}
	return m.Run()
}

// admin calls the admin API.
func admin(t *testing.T, method, path string, body, into any) {
	t.Helper()
	raw, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), method, demo.Admin+"/admin/v1"+path, bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+demo.AdminToken)
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode > 299 {
		t.Fatalf("%s %s: %d %s %v", method, path, res.StatusCode, text, err)
	}
	if into != nil {
		if err := json.Unmarshal(text, into); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
	}
}

// terms are what a story's sale has.
type terms struct {
	Stock   int
	OpensAt time.Time // zero: now
	HoldTTL string
	Queue   bool
}

var sales atomic.Int64

// newSale makes a sale for one story.
func newSale(t *testing.T, c terms) string {
	t.Helper()
	id := fmt.Sprintf("story-%d", sales.Add(1))
	if c.HoldTTL == "" {
		c.HoldTTL = "2m"
	}
	put := map[string]any{"name": "Numbered sneaker, first run", "currency": "USD", "hold_ttl": c.HoldTTL, "hold_cap": "10m", "per_buyer_limit": 2,
		"items": []map[string]any{{"sku": "SNEAKER", "title": "Numbered sneaker", "unit_price": 19900, "stock": c.Stock}}}
	if !c.OpensAt.IsZero() {
		put["opens_at"] = c.OpensAt.UTC().Format(time.RFC3339)
	}
	if c.Queue {
		put["admission"] = map[string]any{}
	}
	admin(t, "PUT", "/sales/"+id, put, nil)
	admin(t, "POST", "/sales/"+id+"/arm", struct{}{}, nil)
	if c.OpensAt.IsZero() {
		admin(t, "POST", "/sales/"+id+"/open", struct{}{}, nil)
	}
	return id
}

type counters struct{ Available, Held, Paying, Sold int }

func units(t *testing.T, sale string) counters {
	t.Helper()
	var s struct{ Items []counters }
	admin(t, "GET", "/sales/"+sale, nil, &s)
	return s.Items[0]
}

// What all the stories have done must add up.
func TestZTheBooksAreRight(t *testing.T) {
	var v struct{ Oversold, Lost, Drift, Unpaid int }
	admin(t, "GET", "/verify", nil, &v)
	if v.Oversold+v.Lost+v.Drift+v.Unpaid != 0 {
		t.Errorf("%+v", v)
	}
}
