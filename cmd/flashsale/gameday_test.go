//go:build gameday

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/flashsale-engine/flashsale/internal/devstack/testenv"
	"github.com/flashsale-engine/flashsale/payment/sandbox"
)

// day is a game day: a sale on real parts, watched by a real Prometheus with the
// rules as they are deployed, and somebody who types what the runbooks say.
type day struct {
	t          *testing.T
	r          *rig
	node       *proc
	prometheus string // its URL
	began      time.Time
	buyers     atomic.Int64
}

// TestGameDay plays three incidents. Each: something breaks, its alert fires, the
// runbook's commands are typed, the alert ends, and the books are clean.
func TestGameDay(t *testing.T) {
	redis := testenv.OwnRedis(t)
	d := &day{t: t, began: time.Now(), r: rigOn(t, redis.URL, testenv.Postgres(t), strings.Join(testenv.Kafka(t), ","))}
	// Gates are rebuilt by hand, or there would be nothing to do.
	d.node = d.r.serve("--roles", "api,relay,reaper,payments", "--no-auto-rebuild", "--payment-timeout", "1s", "--default-wait", "5s")
	writer := d.r.serve("--roles", "writer")
	d.watch(d.node, writer)
	d.node.sale("drop", 1000, 100, "4m")
	d.say("a sale is open, and Prometheus watches")
	d.buy("pm_card_visa", 201)

	d.say("INCIDENT 1: Redis loses everything")
	redisDo(t, addrOf(t, redis), "FLUSHALL")
	if got := d.node.reserve(token(t, "eve"), "drop", "x"); got.Code != "gate_frozen" {
		t.Fatalf("a buyer is told %d %s", got.Status, got.Raw)
	}
	d.fires("FlashsaleGateFrozen")
	d.follow("gate-frozen", "gate status", "gate rebuild --dry-run", "gate rebuild --reason")
	d.ends("FlashsaleGateFrozen")
	d.clean()
	d.buy("pm_card_visa", 201)

	d.say("INCIDENT 2: the payment provider falls silent")
	d.control(sandbox.Control{TimeoutBeforeRate: 1, HangMS: 3000})
	each(12, 12, func(int) { d.buy("pm_card_visa", 202) })
	d.fires("FlashsaleBreakerOpen")
	d.fires("FlashsalePaymentsUnknown")
	d.follow("breaker-open", "breaker ls", "payments ls --state unknown")
	d.say("the provider is back")
	d.control(sandbox.Control{})
	d.follow("payments-unknown", "payments ls --state unknown", "breaker ls")
	d.ends("FlashsaleBreakerOpen")
	d.ends("FlashsalePaymentsUnknown")
	d.clean()
	d.buy("pm_card_visa", 201)

	d.say("INCIDENT 3: the order writer stops")
	if err := writer.stop(); err != nil {
		t.Fatal(err)
	}
	each(12, 12, func(int) { d.buy("pm_card_visa", 202) })
	d.fires("FlashsaleWriterLag")
	d.follow("writer-lag", "doctor")
	d.say("a writer is started, as the runbook says")
	again := d.r.serve("--roles", "writer")
	d.watch(d.node, again)
	d.ends("FlashsaleWriterLag")
	d.clean()
	d.buy("pm_card_visa", 201)
	d.clean()
	d.say("three incidents, three times four zeros")
}

func (d *day) say(format string, args ...any) {
	fmt.Printf("%6.1f s  %s\n", time.Since(d.began).Seconds(), fmt.Sprintf(format, args...))
}

// watch starts Prometheus, or tells it where nodes are now.
func (d *day) watch(nodes ...*proc) {
	d.t.Helper()
	var at []string
	for _, n := range nodes {
		at = append(at, fmt.Sprintf("%q", strings.TrimPrefix(n.ready.Admin, "http://")))
	}
	dir := filepath.Join(os.TempDir(), fmt.Sprintf("flashsale-gameday-%d", os.Getpid()))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		d.t.Fatal(err)
	}
	targets := filepath.Join(dir, "nodes.json")
	d.write(targets, fmt.Sprintf(`[{"targets":[%s]}]`, strings.Join(at, ",")))
	if d.prometheus != "" {
		return
	}
	d.t.Cleanup(func() { _ = os.RemoveAll(dir) })
	rules, err := filepath.Abs(filepath.Join(deployed, "prometheus/rules.yml"))
	if err != nil {
		d.t.Fatal(err)
	}
	config := filepath.Join(dir, "prometheus.yml")
	d.write(config, fmt.Sprintf("global: {scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}\nrule_files: [%q]\nscrape_configs: [{job_name: flashsale, file_sd_configs: [{files: [%q], refresh_interval: 1s}]}]\n", rules, targets))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		d.t.Fatal(err)
	}
	addr := l.Addr().String()
	_ = l.Close()
	cmd := exec.Command("prometheus", "--config.file="+config, "--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address="+addr, "--log.level=warn")
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		d.t.Fatalf("%v: make deps installs it", err)
	}
	d.t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	d.prometheus = "http://" + addr
	eventually(d.t, "Prometheus is ready", func() (bool, string) {
		got := send("GET", d.prometheus+"/-/ready", "", "", "")
		return got.Status == 200, got.Raw
	})
}

func (d *day) write(file, text string) {
	d.t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		d.t.Fatal(err)
	}
}

func (d *day) control(c sandbox.Control) {
	d.t.Helper()
	if err := d.r.box.SetControl(c); err != nil {
		d.t.Fatal(err)
	}
}

// buy sends a buyer who pays, and is told what is wanted.
func (d *day) buy(method string, want int) {
	name := fmt.Sprintf("buyer-%d", d.buyers.Add(1))
	who := token(d.t, name)
	held := d.node.reserve(who, "drop", "cart")
	got := d.node.checkout(who, held.text("id"), "pay", method, "Prefer", "wait=2")
	if held.Status != 201 || got.Status != want && !(want == 202 && got.Status == 503) {
		d.t.Errorf("%s: reserved %d, paid %d and not %d: %s", name, held.Status, got.Status, want, got.Raw)
	}
}

// alerts gives those that Prometheus says are firing.
func (d *day) alerts() map[string]bool {
	var body struct {
		Data struct {
			Alerts []struct {
				State  string
				Labels map[string]string
			}
		}
	}
	_ = json.Unmarshal([]byte(send("GET", d.prometheus+"/api/v1/alerts", "", "", "").Raw), &body)
	out := map[string]bool{}
	for _, a := range body.Data.Alerts {
		if a.State == "firing" {
			out[a.Labels["alertname"]] = true
		}
	}
	return out
}

func (d *day) fires(alert string) {
	d.t.Helper()
	d.until("fires", alert, func(firing map[string]bool) bool { return firing[alert] })
}

func (d *day) ends(alert string) {
	d.t.Helper()
	d.until("has ended", alert, func(firing map[string]bool) bool { return !firing[alert] })
}

// until waits for longer than the slowest alert takes.
func (d *day) until(what, alert string, ok func(map[string]bool) bool) {
	d.t.Helper()
	deadline := time.Now().Add(3 * time.Minute)
	for !ok(d.alerts()) {
		if time.Now().After(deadline) {
			d.t.Fatalf("%s: not so that it %s; firing are %v", alert, what, d.alerts())
		}
		<-time.After(500 * time.Millisecond)
	}
	d.say("%s %s", alert, what)
}

// follow runs the commands of a runbook that begin so. Each must be in it.
func (d *day) follow(runbook string, begin ...string) {
	d.t.Helper()
	text, err := os.ReadFile(filepath.Join(runbooks, runbook+".md"))
	if err != nil {
		d.t.Fatal(err)
	}
	for _, b := range begin {
		ran := false
		for _, line := range typed(d.t, string(text)) {
			if ran || !strings.HasPrefix(line, "flashsale "+b) {
				continue
			}
			ran = true
			args := shellWords(line)[1:]
			if args[0] == "doctor" {
				args = append(args, d.r.node()[1:]...)
			} else {
				args = append(args, "--admin", d.node.ready.Admin, "--token", testToken)
			}
			out, errs, status := command(d.t, args...)
			d.say("$ %s", line)
			for l := range strings.Lines(out) {
				fmt.Printf("          | %s", l)
			}
			if status > exitFound { // doctor finds a test's Redis unfit, and says so by 1
				d.t.Fatalf("%s: status %d, %s", line, status, errs)
			}
		}
		if !ran {
			d.t.Fatalf("the runbook %s has no command %q", runbook, b)
		}
	}
}

func (d *day) clean() {
	d.t.Helper()
	d.node.mustBeClean(d.t)
	d.say("flashsale verify: four zeros")
}
