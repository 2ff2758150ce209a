package e2e

import (
	"encoding/json"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

func TestTheConsoleTakesATokenAndNothingElse(t *testing.T) {
	p := browse(t, desktop, demo.Admin+"/console/", lookout)
	p.until(`document.activeElement.id == "token"`)
	p.check("console-sign-in")
	p.run(chromedp.SendKeys(chromedp.CSS("#token"), "not-a-token-that-anybody-has\r"))
	p.says("#signin-error", "This token is not known.")
	if ask[bool](p, `!document.getElementById("desk").hidden || sessionStorage.length > 0`) {
		t.Error("it let somebody in whom nobody knows")
	}
	p.run(chromedp.SendKeys(chromedp.CSS("#token"), operator), chromedp.Click(chromedp.CSS("#signin-go")))
	p.says("#who", "olga · operator")
	p.reload() // keeps the token in this tab
	p.says("#who", "olga · operator")
	if ask[bool](p, `location.href.includes(`+quoted(operator)+`) || document.cookie != "" || localStorage.length > 0`) {
		t.Error("the token lies where it must not")
	}
	p.click("#leave")
	p.until(`document.getElementById("desk").hidden && sessionStorage.getItem("flashsale-token") === null`)
}

// The whole life of a sale by the console's buttons and keys, while buyers come at it.
func TestASaleIsLedThroughItsLifeUnderLoad(t *testing.T) {
	sale := draft(t, terms{Stock: 1000, HoldTTL: "20s", SKUs: 4})
	p := desk(t, demo.AdminToken, sale)
	p.is("draft")
	newBuyer(t).reserve(sale).told(t, "at a draft", 409, "sale_not_open")
	p.act("arm", "a", sale)
	p.is("armed")
	p.noted("armed", sale, "owner")
	newBuyer(t).reserve(sale).told(t, "before it opens", 409, "sale_not_open")
	p.act("open", "", sale)
	p.is("open")
	p.noted("open", sale, "owner")
	load := send(t, sale, 40, 45*time.Second)
	p.until(`parseFloat(document.querySelector("#funnel .stage:last-child .rate").textContent) > 10`) // confirmed, per second
	p.check("console-under-load")
	p.fits()
	p.forget()

	early, late := newBuyer(t), newBuyer(t)
	first, second := early.reserve(sale), late.reserve(sale)
	first.told(t, "while it is open", 201, "")
	p.act("pause", "p", sale)
	p.is("paused")
	p.noted("paused", sale, "owner")
	newBuyer(t).reserve(sale).told(t, "while it is paused", 409, "sale_not_open")
	early.pay(first.ID).told(t, "who pays while it is paused", 201, "")
	p.act("open", "o", sale)
	p.is("open")
	newBuyer(t).reserve(sale).told(t, "when it is open again", 201, "") // who never pays
	p.act("drain", "", sale)
	p.is("draining")
	p.noted("draining", sale, "owner")
	newBuyer(t).reserve(sale).told(t, "while it drains", 409, "sale_not_open")
	late.pay(second.ID).told(t, "who pays while it drains", 201, "")
	p.reach("close", "c")
	p.confirm(sale)
	p.says(`dialog [data-testid="problem"]`, "held or being paid; drain it until there are none")
	p.until(`/\+ 0 held \+ 0 paying/.test(document.getElementById("sum").textContent)`)
	p.click(`dialog [data-testid="confirm-go"]`) // the same again
	p.until(`!document.querySelector("dialog")`)
	p.is("closed")
	p.noted("closed", sale, "owner")
	newBuyer(t).reserve(sale).told(t, "when it is closed", 409, "sale_not_open")

	p50, most, samples := p.aged()
	t.Logf("under load, what the console showed was %d ms old in the median, %d ms at most, of %d looks", p50, most, samples)
	if samples < 100 || most > 1000 {
		t.Errorf("what it showed was up to %d ms old, of %d looks", most, samples)
	}
	load.ends(t)
	p.fourZeros()
	if n, shown := units(t, sale), p.text("#sum"); n.Sold < 2 || n.Held+n.Paying > 0 || !strings.Contains(strings.ReplaceAll(shown, ",", ""), strconv.Itoa(n.Sold)+" sold") {
		t.Errorf("%+v, and the screen says %s", n, shown)
	}
	p.check("console-closed")
}

// fourZeros waits for a proof of everything that is as new as can be, and for its zeros,
// and asks what the page showed all the while.
func (p *page) fourZeros() {
	p.t.Helper()
	p.until(`!document.getElementById("proof-full").textContent.startsWith("now")`)
	p.until(`document.getElementById("proof-full").textContent.startsWith("now") && [...document.querySelectorAll("#zeros .zero")].every((z) => z.firstChild.textContent == "0" && z.dataset.is == "good")`)
	if wrong := ask[string](p, `wrong.join(" | ")`); wrong != "" {
		p.t.Errorf("it showed %s", wrong)
	}
	if looks := ask[int](p, `looks`); looks < 10 {
		p.t.Errorf("the units were drawn %d times only", looks)
	}
}

func TestHandsThatAreNotAMove(t *testing.T) {
	sale := newSale(t, terms{Stock: 50})
	p := desk(t, operator, sale)
	ann := newBuyer(t)
	hold := ann.reserve(sale)
	hold.told(t, "at first", 201, "")

	p.act("stock", "s", sale, field{"delta", "25"}, field{"reason", "a box was found"})
	p.says("#sum", "75 stock")
	p.noted("stock", sale, "olga", "a box was found")

	p.reach("extend", "h", field{"seconds", "300"}, field{"reason", "the bank is slow"})
	p.click(`dialog [data-testid="dry-run"]`)
	p.says(`dialog [data-testid="plan"]`, "Holds alive: 1. Would live longer: up to 1.")
	p.check("console-dialog")
	p.fits()
	p.confirm(sale)
	p.until(`!document.querySelector("dialog")`)
	p.noted("extend holds", sale, "olga", "the bank is slow")
	if now := ann.ask("GET", "/reservations/"+hold.ID, nil); now.ExpiresAt.Sub(hold.ExpiresAt) < 2*time.Minute {
		t.Errorf("it lives until %s, as before until %s", now.ExpiresAt, hold.ExpiresAt)
	}

	p.act("breaker", "b", sale, field{"verb", "open"}, field{"reason", "the provider says so"})
	p.noted("breaker open", "olga", "the provider says so")
	p.until(`[...document.querySelectorAll("#needs .breaker")].some((b) => b.textContent.includes("open, forced"))`)
	ann.pay(hold.ID).told(t, "who pays at an open breaker", 202, "") // it waits for the provider
	p.act("breaker", "b", sale, field{"verb", "auto"}, field{"reason", "it is well again"})
	p.noted("breaker auto", "olga", "it is well again")
	p.until(`/ 1 sold/.test(document.getElementById("sum").textContent)`)
	bob := newBuyer(t)
	hold = bob.reserve(sale)
	hold.told(t, "the next one", 201, "")

	p.act("freeze", "f", sale, field{"reason", "a look at the books"})
	p.says("#gate", "frozen")
	p.noted("gate freeze", sale, "olga", "a look at the books")
	newBuyer(t).reserve(sale).told(t, "at a frozen gate", 503, "gate_frozen")
	p.check("console-frozen")
	epoch := ask[int](p, `Number(document.getElementById("epoch").textContent)`)
	p.act("rebuild", "g", sale, field{"reason", "the books are right"})
	p.says("#gate", "live")
	p.until(`Number(document.getElementById("epoch").textContent) > ` + strconv.Itoa(epoch))
	p.noted("gate rebuild", sale, "olga", "the books are right")
	newBuyer(t).reserve(sale).told(t, "at the gate that was rebuilt", 201, "")
	bob.pay(hold.ID).told(t, "who held through a rebuild", 201, "")
	p.fourZeros()

	room := newSale(t, terms{Stock: 50, Queue: true})
	q := desk(t, operator, room)
	q.act("rate", "r", room, field{"rate_cap", "7"}, field{"reason", "slower, please"})
	q.noted("queue", room, "olga", "slower, please")
	q.says("#control", "cap 7/s")
	q.check("console-room")
	q.fits()
}

func TestAViewerCanDoNothingAndIsToldWhy(t *testing.T) {
	sale := newSale(t, terms{Stock: 5})
	p := desk(t, viewer, sale)
	p.says("#who", "eve · viewer")
	const hands = `[...document.querySelectorAll("#hands button")]`
	p.until(hands + `.every((b) => b.getAttribute("aria-disabled") == "true")`)
	if why := ask[string](p, hands+`.filter((b) => !/^this needs the role (operator|owner); eve has viewer$/.test(b.title)).map((b) => b.id + ": " + b.title).join(", ")`); why != "" {
		t.Errorf("not told why: %s", why)
	}
	for _, key := range ask[[]string](p, hands+`.map((b) => b.getAttribute("aria-keyshortcuts"))`) {
		p.press(key)
	}
	p.click("#hand-pause")
	p.says("#said", "Pause: this needs the role operator; eve has viewer")
	p.until(`document.getElementById("said").getBoundingClientRect().width > 100`) // where it can be read
	p.check("console-viewer")
	if ask[bool](p, `sent.length > 0 || document.querySelector("dialog") !== null`) {
		t.Error("a viewer's console sent something")
	}
	// Whoever leaves the buttons out is told the same.
	for _, path := range []string{"/sales/" + sale + "/pause", "/sales/" + sale + "/stock", "/gate/freeze", "/gate/rebuild", "/sales/" + sale + "/holds/extend", "/sales/" + sale + "/queue", "/breakers/x/open"} {
		status, text, err := request(t.Context(), "POST", demo.Admin+"/admin/v1"+path, viewer, "key", map[string]any{})
		if err != nil || status != 403 {
			t.Errorf("%s: %d %s %v", path, status, text, err)
		}
	}
	p.is("open")
}

func TestAWrongConfirmationSendsNothing(t *testing.T) {
	sale := newSale(t, terms{Stock: 5})
	p := desk(t, operator, sale)
	for _, typed := range []string{"", "close", strings.ToUpper(sale), sale + "0", sale[:len(sale)-1]} {
		p.reach("drain", "d")
		p.confirm(typed)
		p.run(chromedp.Click(chromedp.CSS(`dialog [data-testid="confirm-go"]`)))
		if !ask[bool](p, `document.querySelector('dialog [data-testid="confirm-go"]').disabled && document.querySelector("dialog").open`) {
			t.Errorf("%q confirmed it", typed)
		}
		p.press("\x1b")
		p.until(`!document.querySelector("dialog")`)
	}
	if sent := ask[string](p, `sent.join(", ")`); sent != "" {
		t.Errorf("it sent %s", sent)
	}
	p.is("open")
	newBuyer(t).reserve(sale).told(t, "afterwards", 201, "")
}

// The figures grey when nothing comes any more, whichever way, and come back.
func TestALostConnectionGreysTheConsole(t *testing.T) {
	sale := newSale(t, terms{Stock: 5})
	for _, c := range []struct {
		name       string
		lose, find func(*wire)
	}{
		{"a wire that is cut", (*wire).cut, (*wire).mend},
		{"a node that stands still", func(w *wire) { halt(w.t, syscall.SIGSTOP) }, func(w *wire) { halt(w.t, syscall.SIGCONT) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			w, url := lay(t, demo.Admin)
			p := deskAt(t, url, operator, sale)
			fresh := `!document.getElementById("figures").classList.contains("stale") && document.getElementById("lost").hidden`
			p.until(fresh)
			c.lose(w)
			t.Cleanup(func() { c.find(w) }) // whatever fails
			p.until(`document.getElementById("figures").classList.contains("stale")`)
			if age := ask[int](p, `Number(document.body.dataset.age)`); age < 2000 || age > 3500 {
				t.Errorf("it greyed when they were %d ms old", age)
			}
			p.says("#lost", "Connection lost")
			p.fits()
			p.check("console-lost-" + c.name)
			c.find(w)
			p.until(fresh)
			p.act("pause", "p", sale)
			p.is("paused")
			p.act("open", "o", sale)
			p.is("open")
		})
	}
}

func halt(t *testing.T, s syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(demo.PID, s); err != nil {
		t.Error(err)
	}
}

func TestAnOrdersTimeLineIsThatOfTheTerminal(t *testing.T) {
	sale := newSale(t, terms{Stock: 5})
	ann := newBuyer(t)
	hold := ann.reserve(sale)
	order := ann.pay(hold.ID)
	order.told(t, "who pays", 201, "")
	text := command(t, "order", "trace", order.ID)
	for late := time.Now().Add(patience); !strings.Contains(text, " capture "); { // which is after the answer
		if time.Now().After(late) {
			t.Fatalf("never captured: %s", text)
		}
		text = command(t, "order", "trace", order.ID)
	}
	var want [][]string
	for line := range strings.Lines(text[:strings.Index(text, "\n\n")+1]) {
		want = append(want, regexp.MustCompile(` {2,}`).Split(strings.TrimSpace(line), -1))
	}
	if len(want) < 4 {
		t.Fatalf("few steps: %s", text)
	}
	p := desk(t, viewer, sale)
	p.press("/")
	for _, id := range []string{order.ID, hold.ID} {
		p.until(`document.activeElement.id == "query"`)
		p.run(chromedp.KeyEvent(id + "\r")) // over what was looked for before
		p.until(`document.querySelector('[data-testid="timeline"]')`)
		var got [][]string
		shown := ask[string](p, `JSON.stringify([...document.querySelectorAll('[data-testid="timeline"] tbody tr')].map((tr) => [0, 2, 3, 4].map((i) => tr.children[i].textContent.trim())))`)
		if err := json.Unmarshal([]byte(shown), &got); err != nil {
			t.Fatal(err)
		}
		if a, b := flat(got), flat(want); a != b {
			t.Errorf("%s\nthe console shows\n%s\nthe terminal\n%s", id, a, b)
		}
		if id == order.ID {
			p.check("console-order")
			p.fits()
		}
		p.click(`dialog [data-testid="close-search"]`)
		p.until(`!document.querySelector("dialog")`)
	}
	p.run(chromedp.KeyEvent("ord_nobody\r"))
	p.until(`document.querySelector('dialog .problem')?.textContent.includes("no order")`)
}

func flat(rows [][]string) string {
	var b strings.Builder
	for _, r := range rows {
		b.WriteString(strings.Join(r, " | ") + "\n")
	}
	return b.String()
}
