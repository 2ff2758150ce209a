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
		BuyerKey   string `json:"buyer_key"`
		PID        int    `json:"pid"`
	}
	browser   context.Context
	shots     = os.Getenv("E2E_SHOTS")
	engine    = os.Getenv("E2E_ENGINE")
	axeSource string
)

// The demo's own token is an owner's. These two are known besides.
const (
	viewer   = "only-looks-on-and-clicks"
	operator = "has-a-hand-on-the-sale"
)

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	fail := func(err error) int { fmt.Fprintln(os.Stderr, "e2e:", err); return 1 }
	axe, err := os.ReadFile(os.Getenv("E2E_AXE"))
	if err != nil {
		return fail(fmt.Errorf("run this by make e2e: %w", err))
	}
	axeSource = string(axe)
	cmd := exec.Command(engine, "demo", "--json", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--admin-token", "eve:viewer:"+viewer, "--admin-token", "olga:operator:"+operator)
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
	code := m.Run()
	if err := booksAreRight(); err != nil {
		fmt.Println("--- FAIL: the books after all the stories:", err)
		return max(code, 1)
	}
	fmt.Println("--- PASS: the books after all the stories")
	return code
}

// booksAreRight says whether what all the stories have done adds up.
func booksAreRight() error {
	var v struct{ Oversold, Lost, Drift, Unpaid int }
	if err := callAdmin(context.Background(), "GET", "/verify?settle=10s", nil, &v); err != nil {
		return err
	}
	if v.Oversold+v.Lost+v.Drift+v.Unpaid != 0 {
		return fmt.Errorf("%+v", v)
	}
	return nil
}

// admin calls the admin API.
func admin(t *testing.T, method, path string, body, into any) {
	t.Helper()
	if err := callAdmin(t.Context(), method, path, body, into); err != nil {
		t.Fatal(err)
	}
}

func callAdmin(ctx context.Context, method, path string, body, into any) error {
	status, text, err := request(ctx, method, demo.Admin+"/admin/v1"+path, demo.AdminToken, "", body)
	if err == nil && status > 299 {
		err = fmt.Errorf("%s %s: %d %s", method, path, status, text)
	}
	if err == nil && into != nil {
		err = json.Unmarshal(text, into)
	}
	return err
}

// request sends JSON as the token's bearer; a key makes it a mutation that can be repeated.
func request(ctx context.Context, method, url, token, key string, body any) (status int, text []byte, err error) {
	raw, err := json.Marshal(body)
	if err != nil {
		return 0, nil, err
	}
	req, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(raw))
	if err != nil {
		return 0, nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	if key != "" {
		req.Header.Set("Idempotency-Key", `"`+key+`"`)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer func() { _ = res.Body.Close() }()
	text, err = io.ReadAll(res.Body)
	return res.StatusCode, text, err
}

// terms are what a story's sale has.
type terms struct {
	Stock   int
	OpensAt time.Time // zero: now
	HoldTTL string
	Queue   bool
	SKUs    int // more than one
}

var sales atomic.Int64

// newSale makes a sale for one story, and opens it, or has it wait for its time.
func newSale(t *testing.T, c terms) string {
	t.Helper()
	id := draft(t, c)
	admin(t, "POST", "/sales/"+id+"/arm", struct{}{}, nil)
	if c.OpensAt.IsZero() {
		admin(t, "POST", "/sales/"+id+"/open", struct{}{}, nil)
	}
	return id
}

// draft makes a sale that nobody has armed.
func draft(t *testing.T, c terms) string {
	t.Helper()
	id := fmt.Sprintf("story-%d", sales.Add(1))
	if c.HoldTTL == "" {
		c.HoldTTL = "2m"
	}
	var items []map[string]any
	for i := range max(c.SKUs, 1) {
		sku := "SNEAKER"
		if i > 0 {
			sku = fmt.Sprintf("SNEAKER-%d", i+1)
		}
		items = append(items, map[string]any{"sku": sku, "title": "Numbered sneaker", "unit_price": 19900, "stock": c.Stock})
	}
	put := map[string]any{"name": "Numbered sneaker, first run", "currency": "USD", "hold_ttl": c.HoldTTL, "hold_cap": "10m", "per_buyer_limit": 2, "items": items}
	if !c.OpensAt.IsZero() {
		put["opens_at"] = c.OpensAt.UTC().Format(time.RFC3339)
	}
	if c.Queue {
		put["admission"] = map[string]any{}
	}
	admin(t, "PUT", "/sales/"+id, put, nil)
	return id
}

type counters struct{ Available, Held, Paying, Sold int }

// units are those of all of a sale's SKUs.
func units(t *testing.T, sale string) (all counters) {
	t.Helper()
	var s struct{ Items []counters }
	admin(t, "GET", "/sales/"+sale, nil, &s)
	for _, n := range s.Items {
		all.Available, all.Held, all.Paying, all.Sold = all.Available+n.Available, all.Held+n.Held, all.Paying+n.Paying, all.Sold+n.Sold
	}
	return all
}
