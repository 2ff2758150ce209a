package main

import (
	"fmt"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/flashsale-engine/flashsale/internal/devstack"
	"github.com/flashsale-engine/flashsale/internal/devstack/testenv"
)

// behind gives the flag that leads a node to one of its backends by way of a switch.
func behind(t *testing.T, r *rig, what, addr string) (flag, value, end string) {
	t.Helper()
	flag, value = "--kafka-brokers", addr
	end, _, _ = strings.Cut(r.kafka, ",")
	for name, at := range map[string]string{"Redis": r.redis, "Postgres": r.postgres} {
		if name == what {
			u, err := url.Parse(at)
			must(t, err)
			flag, end = "--"+strings.ToLower(name)+"-url", u.Host
			u.Host = addr
			value = u.String()
		}
	}
	return flag, value, end
}

func TestANodeThatIsStartedWhileABackendIsAwaySaysSoAndGoesToWorkWhenItComes(t *testing.T) {
	r := newRig(t)
	for _, what := range []string{"Redis", "Postgres", "Kafka"} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			r := &rig{t: t, redis: r.redis, postgres: r.postgres, kafka: r.kafka, topic: r.topic, box: r.box}
			ports, err := devstack.FreePorts(2)
			must(t, err)
			at := newSwitch(t, "127.0.0.1:1") // nobody is there
			flag, value, end := behind(t, r, what, at.addr())
			p := launch(t, r.node(flag, value, "--listen", fmt.Sprint("127.0.0.1:", ports[0]), "--admin-listen", fmt.Sprint("127.0.0.1:", ports[1]))...)
			p.ready.API, p.ready.Admin = fmt.Sprint("http://127.0.0.1:", ports[0]), fmt.Sprint("http://127.0.0.1:", ports[1])

			var operators reply
			eventually(t, "operators hear what is missing, where, and why", func() (bool, string) {
				operators = send("GET", p.ready.Admin+"/readyz", "", "", "")
				return strings.Contains(operators.Raw, what+" at "), operators.Raw
			})
			// From then on, too: while it is tried again, others answer and this one does not.
			var strangers reply
			for range 20 {
				strangers = send("GET", p.ready.API+"/readyz", "", "", "")
				if !strings.Contains(strangers.Raw, what) || strings.Contains(strangers.Raw, at.addr()) {
					t.Errorf("strangers hear %s", strangers.Raw)
				}
				<-time.After(50 * time.Millisecond)
			}
			for name, got := range map[string]reply{"operators": operators, "strangers": strangers, "buyers": p.reserve(token(t, "b"), "drop", "k"),
				"a provider": send("POST", p.ready.API+"/v1/webhooks/sandbox", "", "", "{}"), "an operator's command": p.admin("GET", "/sales", "")} {
				if got.Status != 503 || got.Code != "unavailable" || got.Header.Get("Retry-After") == "" {
					t.Errorf("%s: %d, Retry-After %q: %s", name, got.Status, got.Header.Get("Retry-After"), got.Raw)
				}
			}
			for _, door := range []string{p.ready.API, p.ready.Admin} {
				send("GET", door+"/healthz", "", "", "").must(t, 200)
			}

			at.turn(end)
			p.awaitReady()
			for _, door := range []string{p.ready.API, p.ready.Admin} {
				eventually(t, "the door is open", func() (bool, string) {
					got := send("GET", door+"/readyz", "", "", "")
					return got.Status == 200, got.Raw
				})
			}
			sale := "drop-" + strings.ToLower(what)
			p.sale(sale, 1, 1, "4m")
			p.held(t, token(t, "b"), sale, "k")
			if n := strings.Count(p.stderr.String(), "nothing is served"); n != 1 {
				t.Errorf("the log says it %d times:\n%s", n, p.stderr)
			}
			must(t, p.stop())
		})
	}
}

func TestANodeThatWaitsForABackendEndsAtOnceWhenItIsTold(t *testing.T) {
	r := newRig(t)
	for _, what := range []string{"Redis", "Postgres", "Kafka"} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			silent, err := net.Listen("tcp", "127.0.0.1:0") // takes connections, and never answers
			must(t, err)
			defer silent.Close()
			asked := make(chan net.Conn, 1000)
			go func() {
				for {
					c, err := silent.Accept()
					if err != nil {
						return
					}
					asked <- c
				}
			}()
			flag, value, _ := behind(t, r, what, silent.Addr().String())
			ports, err := devstack.FreePorts(1)
			must(t, err)
			// The race detector would have a process wait a second at its end.
			p := launchIn(t, []string{"GORACE=atexit_sleep_ms=0"}, r.node(flag, value, "--admin-listen", fmt.Sprint("127.0.0.1:", ports[0]))...)
			eventually(t, "it waits", func() (bool, string) {
				got := send("GET", fmt.Sprintf("http://127.0.0.1:%d/readyz", ports[0]), "", "", "")
				return strings.Contains(got.Raw, "waits for "+what), got.Raw
			})
			for len(asked) > 0 {
				defer (<-asked).Close()
			}
			select { // it has just asked anew, and would wait for the answer for its ten seconds
			case c := <-asked:
				defer c.Close()
			case <-time.After(patience):
				t.Fatalf("it asks no more\n%s", p.stderr)
			}
			told := time.Now()
			if err := p.stop(); err != nil {
				t.Errorf("%v\n%s", err, p.stderr)
			}
			if took := time.Since(told); took > tryPatience/2 {
				t.Errorf("it took %s", took)
			}
		})
	}
}

func TestABackendThatRefusesANodeEndsItsStart(t *testing.T) {
	r := newRig(t)
	locked := testenv.OwnRedis(t)
	redisDo(t, addrOf(t, locked), "CONFIG SET requirepass right")
	redis, postgres := strings.Replace(locked.URL, "redis://", "redis://:wrong@", 1), r.postgres[:strings.LastIndex(r.postgres, "/")]+"/nowhere"
	if _, after, found := strings.Cut(r.postgres, "?"); found {
		postgres += "?" + after
	}
	for what, c := range map[string][2]string{
		"Redis's password":     {"--redis-url", redis},
		"Redis without one":    {"--redis-url", locked.URL},
		"Redis's number":       {"--redis-url", r.redis[:strings.LastIndex(r.redis, "/")] + "/4000"},
		"Postgres's database":  {"--postgres-url", postgres},
		"the name of a stream": {"--topic", "no topic's name"},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			p := launch(t, r.node(c[0], c[1])...)
			select {
			case err := <-p.done:
				p.done <- err
			case <-time.After(patience):
				t.Fatalf("it goes on\n%s", p.stderr)
			}
			errs := p.stderr.String()
			if status := p.cmd.ProcessState.ExitCode(); status != exitUsage || !strings.Contains(errs, "refuses this node") || !strings.Contains(errs, c[0]) {
				t.Errorf("status %d: %s", status, errs)
			}
		})
	}
}

func TestANodeThatMayNotMigrateRefusesASchemaThatIsBehind(t *testing.T) {
	r := newRig(t)
	p := launch(t, r.node("--no-migrate")...)
	select {
	case err := <-p.done:
		p.done <- err
	case <-time.After(patience):
		t.Fatalf("it goes on\n%s", p.stderr)
	}
	if status, errs := p.cmd.ProcessState.ExitCode(), p.stderr.String(); status != exitUsage || !strings.Contains(errs, "Run flashsale migrate") {
		t.Errorf("status %d: %s", status, errs)
	}
	out, errs, status := command(t, "migrate", "--dry-run", "--postgres-url", r.postgres)
	if status != exitOK || !strings.Contains(out, "pending") || strings.Contains(out, "applied") {
		t.Fatalf("status %d, it has changed the schema: %s%s", status, out, errs)
	}
	if _, errs, status := command(t, "migrate", "--postgres-url", r.postgres); status != exitOK {
		t.Fatalf("status %d: %s", status, errs)
	}
	p = launch(t, r.node("--no-migrate")...)
	p.awaitReady()
	must(t, p.stop())
}
