package main

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/flashsale-engine/flashsale/internal/certs"
	"github.com/flashsale-engine/flashsale/internal/certs/certtest"
	"github.com/flashsale-engine/flashsale/internal/devstack"
)

// A node speaks TLS on both listeners, from before its backends answer until it
// has been used by the command line and a crowd, across a renewed certificate.
func TestANodeSpeaksTLSFromItsFirstMomentOn(t *testing.T) {
	r := newRig(t)
	dir := t.TempDir()
	first := certtest.Good(t)
	cert, key := first.Write(t, dir)
	ports, err := devstack.FreePorts(2)
	must(t, err)
	at := newSwitch(t, "127.0.0.1:1")
	flag, value, end := behind(t, r, "Redis", at.addr())
	p := launch(t, r.node(flag, value, "--listen", fmt.Sprint("127.0.0.1:", ports[0]), "--admin-listen", fmt.Sprint("127.0.0.1:", ports[1]),
		"--tls-cert", cert, "--tls-key", key, "--admin-tls-cert", cert, "--admin-tls-key", key)...)
	api, admin := fmt.Sprint("https://127.0.0.1:", ports[0]), fmt.Sprint("https://127.0.0.1:", ports[1])
	get := func(c *http.Client, url string) (int, http.Header, error) {
		res, err := c.Get(url)
		if err != nil {
			return 0, nil, err
		}
		return res.StatusCode, res.Header, res.Body.Close()
	}
	trusts := func(ca certtest.Pair) *http.Client {
		file := filepath.Join(t.TempDir(), "ca.pem")
		must(t, os.WriteFile(file, ca.Cert, 0o600))
		trust, err := certs.Client(file)
		must(t, err)
		return &http.Client{Timeout: patience, Transport: &http.Transport{TLSClientConfig: trust, DisableKeepAlives: true, ForceAttemptHTTP2: true}}
	}
	before := trusts(first)
	for _, door := range []string{api, admin} {
		eventually(t, "the door is there", func() (bool, string) {
			status, h, err := get(before, door+"/readyz")
			return status == 503 && h.Get("Strict-Transport-Security") != "", fmt.Sprint(status, h, err)
		})
	}
	at.turn(end)
	p.awaitReady()
	if p.ready.API != api || p.ready.Admin != admin {
		t.Fatalf("it says it is at %s and %s", p.ready.API, p.ready.Admin)
	}
	for _, door := range []string{api, admin} {
		eventually(t, "the door is open", func() (bool, string) {
			status, h, err := get(before, door+"/readyz")
			return status == 200 && h.Get("Strict-Transport-Security") != "", fmt.Sprint(status, h, err)
		})
		if status, _, _ := get(before, strings.Replace(door, "https", "http", 1)+"/healthz"); status == 200 {
			t.Errorf("%s speaks plain HTTP, too", door)
		}
		old := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12}}}
		if _, _, err := get(old, door+"/healthz"); err == nil {
			t.Errorf("%s speaks TLS 1.2", door)
		}
	}

	second := certtest.Good(t)
	second.Write(t, dir)
	after := trusts(second)
	eventually(t, "the renewed certificate is shown by both", func() (bool, string) {
		one, _, err1 := get(after, api+"/healthz")
		two, _, err2 := get(after, admin+"/healthz")
		return one == 200 && two == 200, fmt.Sprint(err1, err2)
	})
	talk := func(args ...string) (string, string, int) {
		return command(t, append(args, "--admin", admin, "--token", testToken, "--ca-file", cert)...)
	}
	for _, args := range [][]string{{"sale", "create", "drop", "--item", "A=20@1000", "--hold-cap", "4m", "--hold-ttl", "2m"}, {"sale", "arm", "drop"}, {"sale", "open", "drop"}} {
		if out, errs, status := talk(args...); status != exitOK {
			t.Fatalf("%s: %d %s%s", args, status, out, errs)
		}
	}
	out, errs, status := talk("loadtest", "--api", api, "--buyer-key", testKey, "--sale", "drop", "--buyers", "30", "--connections", "8", "--quiet", "--json")
	if status != exitOK || !strings.Contains(out, `"pass":true`) {
		t.Errorf("the load test over TLS: %d %s%s", status, out, errs)
	}
	if _, errs, status := command(t, "sale", "status", "drop", "--admin", admin, "--token", testToken); status != exitUnavailable || !strings.Contains(errs, "certificate") {
		t.Errorf("a stranger's certificate is trusted: %d %s", status, errs)
	}
	began := time.Now()
	must(t, p.stop())
	t.Logf("stopped in %s", time.Since(began).Round(time.Millisecond))
}
