package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/flashsale-engine/flashsale/api/buyertoken"
	"github.com/flashsale-engine/flashsale/engine"
	"github.com/flashsale-engine/flashsale/internal/devstack/testenv"
	"github.com/flashsale-engine/flashsale/payment/sandbox"
)

// The test binary is the program too: with this variable set it runs main, so
// that tests can start it, kill it and start it again, race detector included.
const asMain = "FLASHSALE_TEST_AS_MAIN"

func TestMain(m *testing.M) {
	if os.Getenv(asMain) != "" {
		os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
	}
	os.Exit(m.Run())
}

const (
	testKey   = "0123456789abcdef0123456789abcdef"
	testToken = "an-admin-token-of-tests"
	patience  = 60 * time.Second // a condition that takes longer will not come true
)

// proc is a running flashsale.
type proc struct {
	t      *testing.T
	cmd    *exec.Cmd
	ready  ready
	stderr *lockedBuffer
	line   chan string // that it is ready
	done   chan error
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// start runs a command that prints a JSON line when it is ready.
func start(t *testing.T, args ...string) *proc {
	t.Helper()
	p := launch(t, args...)
	p.awaitReady()
	return p
}

// launch is start without the wait.
func launch(t *testing.T, args ...string) *proc {
	t.Helper()
	return launchIn(t, nil, args...)
}

// launchIn is launch with more of an environment.
func launchIn(t *testing.T, env []string, args ...string) *proc {
	t.Helper()
	p := &proc{t: t, stderr: &lockedBuffer{}, done: make(chan error, 1), line: make(chan string, 1)}
	p.cmd = exec.Command(os.Args[0], append(args, "--json")...)
	p.cmd.Env = append(append(os.Environ(), asMain+"=1", "XDG_CACHE_HOME="+cacheHome(t)), env...)
	p.cmd.Stderr = p.stderr
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		s := bufio.NewReader(out)
		first, _ := s.ReadString('\n')
		p.line <- first
		_, _ = io.Copy(io.Discard, s)
		p.done <- p.cmd.Wait()
	}()
	t.Cleanup(p.kill)
	return p
}

func (p *proc) awaitReady() {
	p.t.Helper()
	what := strings.Join(p.cmd.Args, " ")
	select {
	case first := <-p.line:
		if err := json.Unmarshal([]byte(first), &p.ready); err != nil {
			p.t.Fatalf("%s is not ready: %q\n%s", what, first, p.stderr)
		}
	case <-time.After(patience):
		p.t.Fatalf("%s is not ready in time\n%s", what, p.stderr)
	}
}

// cacheHome keeps tests away from the account's own demos; the jars stay where they are.
func cacheHome(t *testing.T) string { return t.TempDir() }

func (p *proc) kill() {
	if p.cmd.ProcessState == nil {
		_ = p.cmd.Process.Kill()
		p.done <- <-p.done // wait, and let others see it too
	}
}

// stop asks politely and gives the exit error.
func (p *proc) stop() error {
	p.t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		p.t.Fatal(err)
	}
	select {
	case err := <-p.done:
		p.done <- err
		return err
	case <-time.After(patience):
		p.t.Fatalf("it does not stop\n%s", p.stderr)
		return nil
	}
}

// command runs a command to its end.
func command(t *testing.T, args ...string) (stdout, stderr string, status int) {
	t.Helper()
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), asMain+"=1", "XDG_CACHE_HOME="+cacheHome(t))
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// rig is a set of backends for one test. Redis is its own: sale numbers begin
// at 1 in each new database, and a gate is found by its sale's number.
type rig struct {
	t                      *testing.T
	redis, postgres, kafka string
	topic                  string
	box                    *sandbox.Server
	db                     *testenv.DB
}

func newRig(t *testing.T) *rig {
	t.Helper()
	t.Parallel()
	return rigOn(t, testenv.OwnRedis(t).URL, testenv.Postgres(t), strings.Join(testenv.Kafka(t), ","))
}

func rigOn(t *testing.T, redis, postgres, kafka string) *rig {
	t.Helper()
	box, err := sandbox.New(sandbox.Config{})
	if err != nil {
		t.Fatal(err)
	}
	if err := box.Start("127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = box.Close() })
	return &rig{t: t, redis: redis, postgres: postgres, kafka: kafka, topic: testenv.Topic(t), box: box}
}

func (r *rig) backends() []string {
	return []string{"--redis-url", r.redis, "--postgres-url", r.postgres, "--kafka-brokers", r.kafka}
}

// serve starts a node.
func (r *rig) serve(more ...string) *proc {
	r.t.Helper()
	return start(r.t, r.node(more...)...)
}

// node is the command of a node; of a flag that is given twice the last counts. Its
// patience is greater than by default: tests share the machine, and one that wants an
// answer of the provider does not want to meet a time-out instead.
func (r *rig) node(more ...string) []string {
	args := append([]string{"serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--admin-token", testToken, "--buyer-key", testKey,
		"--payment-url", r.box.URL(), "--payment-timeout", "5s", "--default-wait", "30s", "--topic", r.topic, "--group", r.topic, "--replication", "1"}, r.backends()...)
	return append(args, more...)
}

// query asks Postgres for one number.
func (r *rig) query(sql string, args ...any) (n int) {
	r.t.Helper()
	if err := r.sql().QueryRow(sql, args...).Scan(&n); err != nil {
		r.t.Fatal(err)
	}
	return n
}

// exec runs SQL by hand.
func (r *rig) exec(sql string, args ...any) {
	r.t.Helper()
	if _, err := r.sql().Exec(sql, args...); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) sql() *testenv.DB {
	if r.db == nil {
		r.db = testenv.SQL(r.t, r.postgres)
	}
	return r.db
}

// reply is an HTTP answer, decoded.
type reply struct {
	Status int
	Header http.Header
	Code   string
	Body   map[string]any
	Raw    string
}

func (r reply) text(field string) string { s, _ := r.Body[field].(string); return s }

var client = &http.Client{Timeout: 2 * time.Minute, Transport: &http.Transport{MaxIdleConnsPerHost: 1024}}

// send makes a request; a connection that broke is status 0.
func send(method, url, token, key, body string, header ...string) (out reply) {
	req, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		panic(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	if key != "" {
		req.Header.Set("Idempotency-Key", key)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := client.Do(req)
	if err != nil {
		return reply{Raw: err.Error()}
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		return reply{Raw: err.Error()}
	}
	out = reply{Status: res.StatusCode, Header: res.Header, Raw: string(raw)}
	_ = json.Unmarshal(raw, &out.Body)
	out.Code = out.text("code")
	return out
}

func (p *proc) admin(method, path, body string) reply {
	return send(method, p.ready.Admin+"/admin/v1"+path, testToken, "", body)
}

// must fails the test unless the status is as wanted.
func (r reply) must(t *testing.T, status int) reply {
	t.Helper()
	if r.Status != status {
		t.Fatalf("status %d, not %d: %s", r.Status, status, r.Raw)
	}
	return r
}

// sale creates and opens a sale of one SKU, A.
func (p *proc) sale(id string, stock, limit int, ttl string) {
	p.t.Helper()
	p.admin("PUT", "/sales/"+id, fmt.Sprintf(`{"name":"Drop","currency":"USD","hold_ttl":%q,"hold_cap":"5m","per_buyer_limit":%d,"items":[{"sku":"A","title":"A thing","unit_price":1000,"stock":%d}]}`, ttl, limit, stock)).must(p.t, 201)
	p.admin("POST", "/sales/"+id+"/arm", "").must(p.t, 200)
	p.admin("POST", "/sales/"+id+"/open", "").must(p.t, 200)
}

func token(t *testing.T, buyer string) string {
	t.Helper()
	s, err := buyertoken.Mint([]byte(testKey), buyer, "flashsale", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (p *proc) reserve(token, sale, key string) reply {
	return send("POST", p.ready.API+"/v1/sales/"+sale+"/reservations", token, key, `{"lines":[{"sku":"A","quantity":1}]}`)
}

func (p *proc) checkout(token, id, key, method string, header ...string) reply {
	return send("POST", p.ready.API+"/v1/reservations/"+id+"/checkout", token, key,
		fmt.Sprintf(`{"payment_method":%q,"contact":{"email":"b@example.com"}}`, method), header...)
}

// insist repeats a request, with the same key, while its answer is "not now", as a
// storefront does.
func insist(t *testing.T, ask func() reply) (got reply) {
	t.Helper()
	eventually(t, "a final answer", func() (bool, string) {
		got = ask()
		later := got.Status == 0 || got.Status == 202 || got.Status == 408 || got.Code == "unavailable" || got.Status == 409 && got.Header.Get("Retry-After") != ""
		return !later, fmt.Sprint(got.Status, " ", got.Raw)
	})
	return got
}

// held is the answer to a reservation that is made.
func (p *proc) held(t *testing.T, token, sale, key string) reply {
	t.Helper()
	return insist(t, func() reply { return p.reserve(token, sale, key) }).must(t, 201)
}

// pays is the answer to a payment that is taken: the order.
func (p *proc) pays(t *testing.T, token, id, key string, header ...string) reply {
	t.Helper()
	return insist(t, func() reply { return p.checkout(token, id, key, "pm_card_visa", header...) }).must(t, 201)
}

func (p *proc) reservation(token, id string) reply {
	return send("GET", p.ready.API+"/v1/reservations/"+id, token, "", "")
}

// verify runs the command against the node.
func (p *proc) verify(t *testing.T) (v engine.Verdict, status int) {
	t.Helper()
	return p.verifyWithin(t, "15s")
}

// verifyWithin is verify, with a time in which what looks wrong may still settle.
func (p *proc) verifyWithin(t *testing.T, settle string) (v engine.Verdict, status int) {
	t.Helper()
	eventually(t, "a verdict", func() (bool, string) { // or a part could not be read in time
		var out, errs string
		out, errs, status = command(t, "verify", "--json", "--admin", p.ready.Admin, "--token", testToken, "--settle", settle)
		v = engine.Verdict{}
		err := json.Unmarshal([]byte(out), &v)
		return err == nil || status != exitUnavailable, fmt.Sprintf("%d %v %q %q", status, err, out, errs)
	})
	return v, status
}

func (p *proc) mustBeClean(t *testing.T) engine.Verdict {
	t.Helper()
	v, status := p.verifyWithin(t, "1m")
	if status != exitOK || !v.Clean() || v.Checked.InFlight != 0 {
		t.Fatalf("verify: status %d, %+v", status, v)
	}
	return v
}

// eventually waits for a condition, and fails with its last word.
func eventually(t *testing.T, what string, ok func() (bool, string)) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		done, last := ok()
		if done {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: not in %s; last: %s", what, patience, last)
		}
		<-time.After(50 * time.Millisecond)
	}
}

// each runs f for 0 … n-1, at most width at once.
func each(n, width int, f func(i int)) {
	var wg sync.WaitGroup
	slots := make(chan struct{}, width)
	for i := range n {
		wg.Add(1)
		slots <- struct{}{}
		go func() {
			defer func() { <-slots; wg.Done() }()
			f(i)
		}()
	}
	wg.Wait()
}
