package chaos

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
)

// admin calls the admin API of the first node that answers well.
func (w *world) admin(ctx context.Context, method, path string, body, into any) (err error) {
	for _, base := range w.admins {
		if err = call(ctx, method, base+"/admin/v1"+path, adminToken, body, into); err == nil {
			return nil
		}
	}
	return err
}

// control tells the provider how to misbehave.
func (w *world) control(ctx context.Context, c map[string]any) error {
	return call(ctx, http.MethodPost, w.boxURL+"/control", "", c, nil)
}

// call makes a request with a JSON body and reads a JSON answer.
func call(ctx context.Context, method, url, token string, body, into any) error {
	var text io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return err
		}
		text = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, url, text)
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	if res.StatusCode >= 300 {
		return fmt.Errorf("%s %s: status %d: %.300s", method, url, res.StatusCode, answer)
	}
	if into == nil {
		return nil
	}
	return json.Unmarshal(answer, into)
}

// host gives the host:port of a URL.
func host(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return raw
	}
	return u.Host
}

// swapHost has a URL lead to another host:port.
func swapHost(raw, addr string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return raw
	}
	u.Host = addr
	return u.String()
}

func split(addr string) (name, port string) {
	name, port, _ = net.SplitHostPort(addr) // an address of ours
	return name, port
}
