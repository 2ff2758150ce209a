package e2e

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"math/bits"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/network"
	cdppage "github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
)

type screen struct {
	name          string
	width, height int64
	mobile        bool
}

var (
	desktop = screen{"desktop", 1440, 900, false}
	phone   = screen{"phone", 390, 844, true}
)

// page is a tab of a browser profile of its own, and what a person does there.
type page struct {
	t   *testing.T
	ctx context.Context
	screen
	url string
}

const patience = 90 * time.Second // for a whole story on a machine that is busy

// visit opens the shop as a new visitor. Scripts run before the page's own.
func visit(t *testing.T, s screen, sale string, scripts ...string) *page {
	t.Helper()
	return browse(t, s, demo.API+"/shop/?sale="+sale, scripts...)
}

func browse(t *testing.T, s screen, url string, scripts ...string) *page {
	t.Helper()
	ctx, done := chromedp.NewContext(browser, chromedp.WithNewBrowserContext())
	t.Cleanup(done)
	return opened(t, ctx, s, url, scripts...)
}

// tab opens another of the same visitor.
func (p *page) tab() *page {
	p.t.Helper()
	ctx, done := chromedp.NewContext(p.ctx)
	p.t.Cleanup(done)
	return opened(p.t, ctx, p.screen, p.url)
}

func opened(t *testing.T, ctx context.Context, s screen, url string, scripts ...string) *page {
	t.Helper()
	p := &page{t, ctx, s, url}
	// The first Do makes the tab, which lives as long as its context: no deadline here.
	if err := chromedp.Do(ctx); err != nil {
		t.Fatal(err)
	}
	view := []chromedp.EmulateViewportOption{}
	if s.mobile {
		view = append(view, chromedp.EmulateMobile, chromedp.EmulateTouch)
	}
	acts := []chromedp.Action[chromedp.Void]{chromedp.EmulateViewport(s.width, s.height, view...), call(network.Enable, network.EnableParams{})}
	for _, js := range scripts {
		acts = append(acts, call(cdppage.AddScriptToEvaluateOnNewDocument, cdppage.AddScriptToEvaluateOnNewDocumentParams{Source: js}))
	}
	p.run(append(acts, chromedp.Navigate(url))...)
	return p
}

// call is a command of the DevTools protocol whose answer nobody needs.
func call[P, R any](c cdp.Command[P, R], params P) chromedp.Action[chromedp.Void] {
	return chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, c, params)
		return err
	})
}

func (p *page) run(acts ...chromedp.Action[chromedp.Void]) {
	p.t.Helper()
	ctx, done := context.WithTimeout(p.ctx, patience)
	defer done()
	if err := chromedp.Do(ctx, acts...); err != nil {
		p.stuck("%v", err)
	}
}

// ask evaluates an expression in the page.
func ask[T any](p *page, expression string) T {
	p.t.Helper()
	ctx, done := context.WithTimeout(p.ctx, patience)
	defer done()
	v, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	if err != nil {
		p.stuck("%s: %v", expression[:min(len(expression), 100)], err)
	}
	return v
}

func (p *page) stuck(format string, args ...any) {
	p.t.Helper()
	p.snap(p.t.Name() + "-stuck")
	p.t.Fatalf(format+"\nthe page says: %s", append(args, p.words())...)
}

// words are what the page says, for whoever has to find out why it is stuck.
func (p *page) words() (text string) {
	ctx, done := context.WithTimeout(p.ctx, 5*time.Second)
	defer done()
	text, _ = chromedp.Run(ctx, chromedp.Evaluate[string](`(document.getElementById("panel") || document.body).innerText`))
	return text
}

// until waits for a condition. A page that is being left answers with an error: it is asked again.
func (p *page) until(condition string) {
	p.t.Helper()
	ctx, done := context.WithTimeout(p.ctx, patience)
	defer done()
	look := time.NewTicker(50 * time.Millisecond)
	defer look.Stop()
	for {
		if yes, err := chromedp.Run(ctx, chromedp.Evaluate[bool]("!!("+condition+")")); yes && err == nil {
			return
		}
		select {
		case <-look.C:
		case <-ctx.Done():
			p.stuck("it never came to %s", condition)
		}
	}
}

func quoted(s string) string {
	b, _ := json.Marshal(s)
	return string(b)
}

func (p *page) see(state string) {
	p.t.Helper()
	p.until(`document.getElementById("panel")?.dataset.state == ` + quoted(state))
}

func (p *page) says(where, what string) {
	p.t.Helper()
	p.until(`document.querySelector(` + quoted(where) + `).textContent.includes(` + quoted(what) + `)`)
}

func (p *page) state() string {
	p.t.Helper()
	return ask[string](p, `document.getElementById("panel")?.dataset.state ?? ""`)
}

func (p *page) text(where string) string {
	p.t.Helper()
	return ask[string](p, `document.querySelector(`+quoted(where)+`).textContent.trim()`)
}

func (p *page) click(where string) {
	p.t.Helper()
	p.until(`!document.querySelector(` + quoted(where) + `).disabled`)
	p.run(chromedp.Click(chromedp.CSS(where)))
}

func (p *page) reserve() {
	p.t.Helper()
	p.click("#reserve")
	p.see("held")
}

func (p *page) pay(card string) {
	p.t.Helper()
	p.run(chromedp.SetValue(chromedp.CSS("#email"), "buyer@example.com"), chromedp.Click(chromedp.CSS(`input[value="`+card+`"]`)))
	p.click("#pay")
}

// bank presses a button on the sandbox's 3-D Secure page, and comes back.
func (p *page) bank(button string) {
	p.t.Helper()
	p.until(`location.pathname.startsWith("/3ds/") && document.readyState == "complete"`)
	p.check("bank")
	p.click(`form[action$="/` + button + `"] button`)
	p.until(`location.pathname == "/shop/"`)
}

func (p *page) reload() {
	p.t.Helper()
	p.run(chromedp.Reload())
}

func (p *page) offline(yes bool) {
	p.t.Helper()
	p.run(call(network.EmulateNetworkConditionsByRule, network.EmulateNetworkConditionsByRuleParams{MatchedNetworkConditions: []*network.Conditions{
		{Offline: yes, DownloadThroughput: -1, UploadThroughput: -1}}}),
		call(network.OverrideNetworkState, network.OverrideNetworkStateParams{Offline: yes, DownloadThroughput: -1, UploadThroughput: -1}))
}

// check looks at the page in both themes: a screenshot, and axe.
func (p *page) check(name string) {
	p.t.Helper()
	for _, theme := range []string{"light", "dark"} {
		p.run(call(emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: theme}}}))
		p.snap(name + "-" + p.screen.name + "-" + theme)
		p.axe(name + " (" + theme + ")")
	}
}

func (p *page) snap(name string) {
	ctx, done := context.WithTimeout(p.ctx, 20*time.Second)
	defer done()
	png, err := chromedp.Run(ctx, chromedp.FullScreenshot(100))
	if err != nil {
		p.t.Logf("no screenshot of %s: %v", name, err)
		return
	}
	file := filepath.Join(shots, strings.NewReplacer("/", "-", " ", "-").Replace(name)+".png")
	if err := os.WriteFile(file, png, 0o600); err != nil {
		p.t.Error(err)
	}
}

// axe demands that a page has no serious barrier.
func (p *page) axe(name string) {
	p.t.Helper()
	ask[int](p, axeSource+`;0`)
	found := ask[string](p, `axe.run().then((r) => JSON.stringify(r.violations
		.filter((v) => v.impact == "serious" || v.impact == "critical").map((v) => v.id + ": " + v.help + ": " + v.nodes.map((n) => n.html).join(" | "))))`)
	if found != "[]" {
		p.t.Errorf("axe finds at %s: %s", name, found)
	}
}

func zeroBits(text string) (n int) {
	for _, b := range sha256.Sum256([]byte(text)) {
		n += bits.LeadingZeros8(b)
		if b != 0 {
			break
		}
	}
	return n
}
