package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/chromedp"
)

// lookout notes, inside the console's page, what no person could write down quickly enough:
// what it sends that is not a reading, how old what it shows is every 20 ms (its own word,
// and the time since it said so), and whatever is drawn that does not add up.
const lookout = `
	window.sent = []; window.ages = []; window.wrong = []; window.looks = 0;
	const real = window.fetch.bind(window);
	window.fetch = (url, how) => { if (how?.method && how.method != "GET") sent.push(how.method + " " + url); return real(url, how); };
	document.addEventListener("DOMContentLoaded", () => {
		let age = 0, said = 0;
		new MutationObserver(() => { age = Number(document.body.dataset.age); said = performance.now(); }).observe(document.body, { attributeFilter: ["data-age"] });
		setInterval(() => { if (said) ages.push(Math.round(age + performance.now() - said)); }, 20);
		new MutationObserver(() => {
			for (const z of document.querySelectorAll("#zeros b")) if (!["0", "–"].includes(z.textContent)) wrong.push(z.parentNode.textContent);
			const [stock, ...parts] = [...document.querySelectorAll("#sum b")].map((b) => Number(b.textContent.replaceAll(",", "")));
			if (stock === undefined) return;
			looks++;
			const bar = [...document.querySelectorAll("#units rect")].slice(1).reduce((n, r) => n + Number(r.getAttribute("width")), 0);
			if (parts.reduce((n, v) => n + v, 0) != stock || document.getElementById("sum").textContent.includes("≠")) wrong.push(document.getElementById("sum").textContent);
			if (stock && Math.abs(bar - 400) > 0.01) wrong.push("a bar of " + bar / 4 + "%");
		}).observe(document.querySelector(".verdict"), { childList: true, subtree: true, characterData: true, attributes: true });
	});`

// desk signs in at the console as a person would, and looks at a sale.
func desk(t *testing.T, token, sale string) *page {
	t.Helper()
	return deskAt(t, demo.Admin, token, sale)
}

func deskAt(t *testing.T, base, token, sale string) *page {
	t.Helper()
	p := browse(t, desktop, base+"/console/", lookout)
	p.until(`document.activeElement.id == "token"`)
	p.run(chromedp.SendKeys(chromedp.CSS("#token"), token+"\r"))
	p.until(`!document.getElementById("desk").hidden && document.querySelector("#sale option[value='` + sale + `']")`)
	p.run(chromedp.SetValue(chromedp.CSS("#sale"), sale))
	ask[int](p, `document.getElementById("sale").dispatchEvent(new Event("change")); 0`)
	p.until(`document.getElementById("state").textContent != "–"`)
	return p
}

// press is a key as a keyboard sends it: whoever takes it keeps its letter out of what has the focus then.
func (p *page) press(key string) {
	p.t.Helper()
	p.run(chromedp.KeyEvent(key, func(k *input.DispatchKeyEventParams) {
		if k.Type == input.DispatchKeyEventTypeKeyDown {
			k.Type = input.DispatchKeyEventTypeRawKeyDown
		}
	}))
}

// is waits for a state of the sale on the screen.
func (p *page) is(state string) {
	p.t.Helper()
	p.until(`document.getElementById("state").textContent == ` + quoted(state))
}

// noted waits for a line of faults and acts, where it can be seen.
func (p *page) noted(words ...string) {
	p.t.Helper()
	raw, _ := json.Marshal(words)
	p.until(`(() => { const list = document.getElementById("events"), box = list.getBoundingClientRect();
		return [...list.children].some((li) => ` + string(raw) + `.every((w) => li.textContent.includes(w)) && li.getBoundingClientRect().bottom <= box.bottom + 1); })()`)
}

// field is what a person fills in.
type field struct{ name, value string }

// reach opens a hand's dialog: by its key if it has one here, else by its button.
func (p *page) reach(hand, key string, fields ...field) {
	p.t.Helper()
	p.until(`document.getElementById("hand-` + hand + `").getAttribute("aria-disabled") == "false"`)
	if key != "" {
		p.press(key)
	} else {
		p.click("#hand-" + hand)
	}
	p.until(`document.querySelector("#dialog-` + hand + `[open]")`)
	for _, f := range fields {
		p.run(chromedp.SetValue(chromedp.CSS(`dialog [name="`+f.name+`"]`), f.value))
	}
}

// confirm types the sale's id and presses Enter.
func (p *page) confirm(sale string) {
	p.t.Helper()
	p.run(chromedp.SendKeys(chromedp.CSS(`dialog [data-testid="confirm"]`), sale+"\r"))
}

// act is a hand from its dialog to its end; what it said then.
func (p *page) act(hand, key, sale string, fields ...field) string {
	p.t.Helper()
	p.reach(hand, key, fields...)
	p.confirm(sale)
	p.until(`!document.querySelector("dialog")`)
	return p.text("#said")
}

// fits demands that nothing on the screen is scrolled out of it or cut off.
func (p *page) fits() {
	p.t.Helper()
	found := ask[string](p, `(() => {
		const out = [], all = document.documentElement;
		if (all.scrollHeight > innerHeight || all.scrollWidth > innerWidth) out.push("the page is " + all.scrollWidth + "x" + all.scrollHeight);
		for (const e of document.querySelectorAll("#desk, #desk .top, #desk .panel, #desk .verdict, #desk .hands, dialog[open]")) {
			const name = e.id || e.className, box = e.getBoundingClientRect();
			if (e.scrollHeight > e.clientHeight + 1 || e.scrollWidth > e.clientWidth + 1) out.push(name + " holds " + e.scrollWidth + "x" + e.scrollHeight + " in " + e.clientWidth + "x" + e.clientHeight);
			if (box.bottom > innerHeight + 0.5 || box.right > innerWidth + 0.5) out.push(name + " ends at " + box.right + "x" + box.bottom);
		}
		return JSON.stringify(out); })()`)
	if found != "[]" {
		p.t.Errorf("at %dx%d: %s", p.width, p.height, found)
	}
}

// aged reads how old what was shown has been since the last call of forget, in milliseconds.
func (p *page) aged() (p50, most, samples int) {
	p.t.Helper()
	var n [3]int
	text := ask[string](p, `(() => { const a = ages.slice().sort((x, y) => x - y); return JSON.stringify([a[a.length >> 1] ?? 0, a[a.length - 1] ?? 0, a.length]); })()`)
	if err := json.Unmarshal([]byte(text), &n); err != nil {
		p.t.Fatal(err)
	}
	return n[0], n[1], n[2]
}

func (p *page) forget() {
	p.t.Helper()
	ask[int](p, `ages.length = 0`)
}

// buyer is one at the public listener.
type buyer struct {
	t     *testing.T
	token string
	keys  int
}

func newBuyer(t *testing.T) *buyer {
	t.Helper()
	_, text, err := request(t.Context(), "POST", demo.API+"/shop/session", "", "", nil)
	var s struct{ Token string }
	if err == nil {
		err = json.Unmarshal(text, &s)
	}
	if err != nil || s.Token == "" {
		t.Fatalf("no token: %s %v", text, err)
	}
	return &buyer{t: t, token: s.Token}
}

// answer is what a buyer is told.
type answer struct {
	Status    int       `json:"-"`
	Code      string    `json:"code"`
	ID        string    `json:"id"`
	State     string    `json:"state"`
	ExpiresAt time.Time `json:"expires_at"`
}

func (b *buyer) ask(method, path string, body any) (a answer) {
	b.t.Helper()
	key := ""
	if method != "GET" {
		b.keys++
		key = "key-" + strconv.Itoa(b.keys)
	}
	status, text, err := request(b.t.Context(), method, demo.API+"/v1"+path, b.token, key, body)
	if err != nil {
		b.t.Fatal(err)
	}
	if err := json.Unmarshal(text, &a); err != nil {
		b.t.Fatalf("%s: %v", text, err)
	}
	a.Status = status
	return a
}

func (b *buyer) reserve(sale string) answer {
	b.t.Helper()
	return b.ask("POST", "/sales/"+sale+"/reservations", map[string]any{"lines": []map[string]any{{"sku": "SNEAKER", "quantity": 1}}})
}

func (b *buyer) pay(reservation string) answer {
	b.t.Helper()
	return b.ask("POST", "/reservations/"+reservation+"/checkout", map[string]any{"payment_method": "pm_card_visa", "contact": map[string]any{"email": "buyer@example.com"}})
}

// told checks an answer; code is empty where it is no refusal.
func (a answer) told(t *testing.T, who string, status int, code string) {
	t.Helper()
	if a.Status != status || a.Code != code {
		t.Errorf("%s: told %d %q, not %d %q", who, a.Status, a.Code, status, code)
	}
}

// crowd is the load generator at a sale, a process of its own.
type crowd struct {
	cmd       *exec.Cmd
	out, errs bytes.Buffer
}

func send(t *testing.T, sale string, rate int, d time.Duration) *crowd {
	t.Helper()
	c := &crowd{}
	c.cmd = exec.CommandContext(t.Context(), engine, "loadtest", "--api", demo.API, "--admin", demo.Admin, "--token", demo.AdminToken, "--buyer-key", demo.BuyerKey,
		"--sale", sale, "--buyers", strconv.Itoa(rate*int(d/time.Second)), "--rate", strconv.Itoa(rate), "--duration", d.String(), "--abandon", "0.1", "--hesitate", "300ms", "--quiet", "--json")
	c.cmd.Stdout, c.cmd.Stderr = &c.out, &c.errs
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return c
}

// ends waits for the crowd to be gone: whatever it was told must fit together, and the books.
func (c *crowd) ends(t *testing.T) {
	t.Helper()
	var r struct {
		Arrivals, Holds, Confirmed int64
		Contradictions             []string
		Verify                     struct{ Oversold, Lost, Drift, Unpaid *int }
	}
	err := c.cmd.Wait()
	if jsonErr := json.Unmarshal(c.out.Bytes(), &r); jsonErr != nil {
		t.Fatalf("the load test: %v %v: %s", err, jsonErr, c.errs.String())
	}
	t.Logf("the crowd: %d arrivals, %d holds, %d confirmed orders", r.Arrivals, r.Holds, r.Confirmed)
	for _, n := range []*int{r.Verify.Oversold, r.Verify.Lost, r.Verify.Drift, r.Verify.Unpaid} {
		if n == nil || *n != 0 {
			t.Errorf("its verify is %+v", r.Verify)
		}
	}
	if r.Confirmed == 0 || len(r.Contradictions) > 0 {
		t.Errorf("of %d arrivals %d were confirmed; %s", r.Arrivals, r.Confirmed, strings.Join(r.Contradictions, "; "))
	}
}

// command is what the same would be in a terminal.
func command(t *testing.T, args ...string) string {
	t.Helper()
	ctx, done := context.WithTimeout(t.Context(), patience)
	defer done()
	out, err := exec.CommandContext(ctx, engine, append(args, "--admin", demo.Admin, "--token", demo.AdminToken)...).Output()
	if err != nil {
		t.Fatalf("%s: %v", strings.Join(args, " "), err)
	}
	return string(out)
}
