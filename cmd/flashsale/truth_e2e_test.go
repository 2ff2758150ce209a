package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/flashsale-engine/flashsale/engine"
)

// redisDo sends one command by hand and gives the first line of the answer.
func (r *rig) redisDo(command string) string {
	r.t.Helper()
	u, err := url.Parse(r.redis)
	if err != nil {
		r.t.Fatal(err)
	}
	c, err := net.DialTimeout("tcp", u.Host, patience)
	if err != nil {
		r.t.Fatal(err)
	}
	defer c.Close()
	if _, err := fmt.Fprintf(c, "%s\r\n", command); err != nil {
		r.t.Fatal(err)
	}
	lines := bufio.NewScanner(c)
	for lines.Scan() {
		if line := lines.Text(); !strings.HasPrefix(line, "$") { // the length before a string
			if strings.HasPrefix(line, "-") {
				r.t.Fatalf("%s: %s", command, line)
			}
			return line
		}
	}
	r.t.Fatalf("%s: no answer, %v", command, lines.Err())
	return ""
}

// chain runs audit verify.
func (p *proc) chain(t *testing.T, args ...string) (r engine.ChainReport, status int) {
	t.Helper()
	out, errs, status := command(t, append([]string{"audit", "verify", "--json", "--admin", p.ready.Admin, "--token", testToken}, args...)...)
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		t.Fatalf("audit verify prints %q, %q", out, errs)
	}
	return r, status
}

// sealed waits until every row is sealed.
func (p *proc) sealed(t *testing.T) (r engine.ChainReport) {
	t.Helper()
	eventually(t, "all rows are sealed", func() (bool, string) {
		var status int
		r, status = p.chain(t)
		return status == exitOK && r.Unsealed == 0 && r.Rows > 0, fmt.Sprintf("%d, %+v", status, r)
	})
	return r
}

func (p *proc) fix(t *testing.T, args ...string) (m engine.Mending, status int) {
	t.Helper()
	out, errs, status := command(t, append([]string{"verify", "--fix", "--json", "--admin", p.ready.Admin, "--token", testToken, "--settle", "15s"}, args...)...)
	if err := json.Unmarshal([]byte(out), &m); err != nil {
		t.Fatalf("verify --fix prints %q, %q", out, errs)
	}
	return m, status
}

func TestWhatWasDamagedByHandIsFoundPlannedAndMended(t *testing.T) {
	r := newRig(t)
	p := r.serve()
	p.sale("drop", 20, 1, "4m")
	ids := make([]string, 4)
	for i := range ids {
		tok, id := p.hold(t, fmt.Sprint("buyer-", i))
		ids[i] = p.pays(t, tok, id, "k").text("id")
	}
	captured := func(n int) {
		t.Helper()
		eventually(t, "all are captured", func() (bool, string) {
			got := r.query("SELECT count(*) FROM payments WHERE state = 'captured'")
			return got == n, fmt.Sprint(got)
		})
	}
	captured(4)
	tok, lost := p.hold(t, "buyer-lost")
	if err := p.stop(); err != nil {
		t.Errorf("it does not end well: %v", err)
	}

	// An event that was claimed and never published, and whose outbox was lost.
	p = r.serve("--fault", "kill@publish.before#1")
	p.checkout(tok, lost, "k", "pm_card_visa")
	select {
	case err := <-p.done:
		p.done <- err
	case <-time.After(patience):
		t.Fatal("the node never got to the publish")
	}
	if r.redisDo("DEL {fs:1:0}:out") != ":1" {
		t.Fatal("there was no outbox to lose")
	}
	// An order's row that somebody deleted, and a gate that somebody told of five
	// units more. Without the reaper role, nobody brings the gate in step meanwhile.
	p = r.serve("--roles", "api,relay,writer,payments")
	r.exec("DELETE FROM orders WHERE order_id = $1", ids[2])
	var available, held, paying, sold, stock int
	if _, err := fmt.Sscan(r.redisDo("HGET {fs:1:0}:sku 0"), &available, &held, &paying, &sold, &stock); err != nil {
		t.Fatal(err)
	}
	r.redisDo(fmt.Sprintf(`HSET {fs:1:0}:sku 0 "%d %d %d %d %d"`, available+5, held, paying, sold, stock+5))

	plan, status := p.fix(t, "--dry-run", "--settle", "2s")
	actions := map[engine.Action]int{}
	for _, x := range plan.Before.Repairs {
		actions[x.Action]++
		if x.Done || x.What == "" {
			t.Errorf("planned: %+v", x)
		}
	}
	if status != exitFound || plan.After != nil || plan.Before.Lost != 2 || actions[engine.Republish] != 1 || actions[engine.RestoreOrder] != 1 || actions[engine.SyncGate] != 1 {
		t.Errorf("the plan, status %d: %+v", status, plan)
	}
	if v, status := p.verify(t); status != exitFound || v.Lost != 2 || len(v.Repairs) != len(v.Findings) {
		t.Errorf("a plan has changed something: %+v", v)
	}
	out, _, status := command(t, "verify", "--fast", "--admin", p.ready.Admin, "--token", testToken)
	if status != exitFound || !strings.Contains(out, "the gate has stock 25, the record 20") {
		t.Errorf("fast: %d, %s", status, out)
	}

	done, status := p.fix(t)
	if status != exitOK || done.After == nil || !done.After.Clean() {
		t.Fatalf("after the fix, status %d: %+v", status, done)
	}
	captured(5)
	p.mustBeClean(t)
	if n := r.query("SELECT count(*) FROM audit_log WHERE act LIKE 'repair: %' AND actor <> ''"); n != 3 {
		t.Errorf("%d repairs were audited", n)
	}
	if n := r.query("SELECT sum(units) FROM stock_ledger WHERE kind = 'sold'"); n != 5 {
		t.Errorf("the ledger has sold %d", n)
	}
	for id, n := range r.captures(t) {
		if n != 1 {
			t.Errorf("%s was charged %d times", id, n)
		}
	}
	if again, status := p.fix(t); status != exitOK || again.After != nil {
		t.Errorf("a second fix does something: %+v", again)
	}
	if err := p.stop(); err != nil {
		t.Errorf("it does not end well: %v", err)
	}

	p = r.serve()
	kept := p.sealed(t)
	if n := r.query("SELECT count(*) FROM money_ledger"); n != 10 {
		t.Errorf("%d movements of money", n)
	}
	r.exec("ALTER TABLE money_ledger DISABLE TRIGGER money_ledger_append_only")
	r.exec("UPDATE money_ledger SET amount = 1 WHERE id = (SELECT max(id) FROM money_ledger)")
	r.exec("ALTER TABLE money_ledger ENABLE TRIGGER money_ledger_append_only")
	if got, status := p.chain(t, "--expect", kept.Head.Hash); status != exitFound || got.Found != 1 || got.Tampered[0].What != engine.RowChanged || got.Tampered[0].Ledger != "money" {
		t.Errorf("status %d, %+v", status, got)
	}
	if v, status := p.verify(t); status != exitFound || v.Unpaid != 1 || v.Findings[0].Cause != engine.CauseMoneyLedger || v.Repairs[0].Action != engine.None {
		t.Errorf("verify: %d, %+v", status, v)
	}
	if got, status := p.chain(t, "--expect", strings.Repeat("00", 32)); status != exitFound || got.Tampered[0].What != engine.AnchorMissing {
		t.Errorf("status %d, %+v", status, got)
	}
}

func TestVerifyUnderLoadRaisesNoFalseAlarm(t *testing.T) {
	r := newRig(t)
	p := r.serve("--payment-timeout", "1s")
	const buyers = 400
	p.sale("drop", buyers*3/4, 1, "4m")
	stop := make(chan struct{})
	var looks sync.WaitGroup
	looked := map[string]int{}
	var mu sync.Mutex
	since := time.Now()
	for _, path := range []string{"/verify?fast=true", "/verify?fast=true&settle=500ms", "/verify?settle=10s", "/verify?settle=10s", "/audit/verify"} {
		looks.Go(func() {
			for {
				got := p.admin("GET", path, "")
				var v engine.Verdict
				var c engine.ChainReport
				none := got.Status == 503 // Kafka was slow to say where it ends: no verdict, so no alarm
				if !none && got.Status != 200 || json.Unmarshal([]byte(got.Raw), &v) != nil || json.Unmarshal([]byte(got.Raw), &c) != nil || !v.Clean() || !c.Intact() {
					t.Errorf("%s while buyers buy: %d %s\n%s", path, got.Status, got.Raw, p.stderr)
					return
				}
				mu.Lock()
				if !none {
					looked[path]++
				}
				mu.Unlock()
				select {
				case <-stop:
					if !none || time.Since(since) > 3*patience { // each kind of look must have had its say
						return
					}
				default:
				}
			}
		})
	}
	methods := []string{"pm_card_visa", "pm_card_visa", "pm_card_chargeDeclined", "pm_sandbox_timeoutAfterCharge"}
	each(buyers, 16, func(i int) {
		tok := token(t, fmt.Sprint("b", i))
		if got := p.reserve(tok, "drop", "k"); got.Status == 201 {
			p.checkout(tok, got.text("id"), "k", methods[i%len(methods)])
		}
	})
	close(stop)
	looks.Wait()
	if len(looked) != 4 {
		t.Errorf("not every kind of look came to a verdict: %v", looked)
	}
	p.mustBeClean(t)
	p.sealed(t)
}
