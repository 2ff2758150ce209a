package outside

import (
	"errors"
	"fmt"
	"net"
	"net/url"
)

// CheckURL says what is wrong with the URL of something whose word is believed: https,
// or http to this machine.
func CheckURL(raw string) error {
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return errors.New("not a URL of the form https://host/path") // it may hold a password: it is not repeated
	}
	if ip := net.ParseIP(u.Hostname()); u.Scheme == "http" && u.Hostname() != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return fmt.Errorf("http to %s: whoever is on the way could put in a key of their own; use https", u.Host)
	}
	return nil
}
