package chaos

import (
	"context"
	"net"
	"net/http"
	"net/url"

	"github.com/flashsale-engine/flashsale/loadtest/rest"
)

// admin calls the admin API of the first node that answers well.
func (w *world) admin(ctx context.Context, method, path string, body, into any) (err error) {
	for _, base := range w.admins {
		if err = rest.JSON(ctx, method, base+"/admin/v1"+path, adminToken, body, into); err == nil {
			return nil
		}
	}
	return err
}

// control tells the provider how to misbehave.
func (w *world) control(ctx context.Context, c map[string]any) error {
	return rest.JSON(ctx, http.MethodPost, w.boxURL+"/control", "", c, nil)
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
