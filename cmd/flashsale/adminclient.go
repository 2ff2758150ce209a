package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/flashsale-engine/flashsale/internal/certs"
)

// Admin says how to reach a running engine's admin listener. Where a flag is
// not given, the last demo that was started on this account is meant.
type Admin struct {
	Admin string `help:"Base URL of the admin listener; default: the last demo started here, else http://127.0.0.1:9090." placeholder:"URL"`
	Token string `name:"token" env:"FLASHSALE_ADMIN_TOKEN" help:"Admin token." placeholder:"TOKEN" type:"secret"`
	JSON  bool   `help:"Print JSON for machines."`

	CAFile string `name:"ca-file" help:"PEM file with the authorities that may vouch for the engine's certificate; default: the system's." placeholder:"FILE"`
}

// ready is the line that demo prints, and what the other commands find it by.
type ready struct {
	API        string            `json:"api"`
	Shop       string            `json:"shop"`
	Admin      string            `json:"admin"`
	AdminToken string            `json:"admin_token"`
	Sale       string            `json:"sale"`
	SKUs       []string          `json:"skus"`
	BuyerKey   string            `json:"buyer_key"`
	Backends   map[string]string `json:"backends"`
	Sandbox    string            `json:"sandbox,omitempty"`
	Postgres   string            `json:"postgres,omitempty"`
	DataDir    string            `json:"data_dir,omitempty"`
	TraceFile  string            `json:"trace_file,omitempty"`
	PID        int               `json:"pid"`
	Started    time.Time         `json:"started"`
}

// demoFile is where a demo notes how to reach it; private to the account.
func demoFile(pid string) (string, error) {
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	return filepath.Join(dir, "flashsale", "demos", pid+".json"), nil
}

// lastDemo finds the demo that was started last and still runs.
func lastDemo() (found ready, err error) {
	pattern, err := demoFile("*")
	if err != nil {
		return found, err
	}
	files, err := filepath.Glob(pattern)
	if err != nil {
		return found, err
	}
	for _, file := range files {
		var r ready
		raw, err := os.ReadFile(file)
		if err != nil || json.Unmarshal(raw, &r) != nil {
			continue
		}
		if syscall.Kill(r.PID, 0) != nil {
			_ = os.Remove(file) // it was killed
			continue
		}
		if r.Started.After(found.Started) {
			found = r
		}
	}
	if found.PID == 0 {
		return found, errors.New("no running demo")
	}
	return found, nil
}

func (r ready) remember() error {
	file, err := demoFile(strconv.Itoa(r.PID))
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return err
	}
	raw, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return os.WriteFile(file, raw, 0o600)
}

func (r ready) forget() {
	if file, err := demoFile(strconv.Itoa(r.PID)); err == nil {
		_ = os.Remove(file)
	}
}

// refusal is a problem document as the command line shows it.
type refusal struct {
	Status   int      `json:"status"`
	Code     string   `json:"code"`
	Detail   string   `json:"detail"`
	WhatToDo string   `json:"what_to_do"`
	Allowed  []string `json:"allowed"`
}

func (r refusal) Error() string {
	s := fmt.Sprintf("%s (%d)", r.Code, r.Status)
	if r.Detail != "" {
		s += ": " + r.Detail
	}
	if len(r.Allowed) > 0 {
		s += "; it can become: " + strings.Join(r.Allowed, ", ")
	}
	if r.WhatToDo != "" {
		s += "\n  " + r.WhatToDo
	}
	return s
}

func (a *Admin) resolve() error {
	if a.Admin != "" && a.Token != "" {
		return nil
	}
	if r, err := lastDemo(); err == nil && (a.Admin == "" || a.Admin == r.Admin) {
		a.Admin = r.Admin
		if a.Token == "" {
			a.Token = r.AdminToken
		}
	}
	if a.Admin == "" {
		a.Admin = "http://127.0.0.1:9090"
	}
	if !strings.Contains(a.Admin, "://") {
		a.Admin = "http://" + a.Admin
	}
	if a.Token == "" {
		return fail(exitUsage, "no admin token: give --token or FLASHSALE_ADMIN_TOKEN (no running demo was found to take it from)")
	}
	// Several tokens may be set for a server; a client uses the first secret.
	first, _, _ := strings.Cut(a.Token, ",")
	a.Token = first[strings.LastIndexByte(first, ':')+1:]
	return nil
}

// call sends one admin request and decodes the answer into out.
func (a *Admin) call(ctx context.Context, method, path string, in, out any) error {
	body, err := a.open(ctx, method, path, in)
	if err != nil {
		return err
	}
	defer func() { _ = body.Close() }()
	if out == nil {
		return nil
	}
	return json.NewDecoder(body).Decode(out)
}

// open sends one admin request and gives the body of a 2xx answer.
func (a *Admin) open(ctx context.Context, method, path string, in any) (io.ReadCloser, error) {
	return a.send(ctx, method, path, in, "", 2*time.Minute)
}

// send is open for an answer of some form ("": any), which may take so long (0: for ever).
func (a *Admin) send(ctx context.Context, method, path string, in any, accept string, most time.Duration) (io.ReadCloser, error) {
	if err := a.resolve(); err != nil {
		return nil, err
	}
	var body io.Reader
	if in != nil {
		raw, err := json.Marshal(in)
		if err != nil {
			return nil, err
		}
		body = bytes.NewReader(raw)
	}
	req, err := http.NewRequestWithContext(ctx, method, strings.TrimSuffix(a.Admin, "/")+path, body)
	if err != nil {
		return nil, fail(exitUsage, "--admin %q is not a URL", a.Admin)
	}
	req.Header.Set("Authorization", "Bearer "+a.Token)
	req.Header.Set("Content-Type", "application/json")
	if accept != "" {
		req.Header.Set("Accept", accept)
	}
	trust, err := certs.Client(a.CAFile)
	if err != nil {
		return nil, fail(exitUsage, "--ca-file: %w", err)
	}
	// One request, one connection: nothing is left open when the body is closed.
	client := &http.Client{Timeout: most, Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: trust, DisableKeepAlives: true}}
	res, err := client.Do(req)
	if err != nil {
		return nil, &exit{exitUnavailable, fmt.Errorf("the engine's admin listener at %s does not answer; is it running? (%w)", a.Admin, errors.Unwrap(err))}
	}
	if res.StatusCode/100 == 2 {
		return res.Body, nil
	}
	defer func() { _ = res.Body.Close() }()
	r := refusal{Status: res.StatusCode, Code: res.Status}
	_ = json.NewDecoder(io.LimitReader(res.Body, 1<<20)).Decode(&r)
	status := exitFound
	if r.Status >= 500 {
		status = exitUnavailable
	}
	return nil, &exit{status, r}
}

func printJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	return e.Encode(v)
}
