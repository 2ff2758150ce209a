package api

import (
	"fmt"
	"strings"

	"github.com/flashsale-engine/flashsale/engine"
)

// reserveBody reads {"lines":[{"sku","quantity"}]}.
func reserveBody(b []byte) ([]engine.CartLine, *fieldError) {
	c, err := openJSON(b)
	if err != nil {
		return nil, err
	}
	if err := cardNumber(c); err != nil {
		return nil, err
	}
	var lines []engine.CartLine
	given := false
	err = c.object(func(name string) (err *fieldError) {
		if name != "lines" {
			return unknown(name)
		}
		given = true
		lines, err = cartLines(&c)
		return under(name, err)
	})
	switch {
	case err != nil:
		return nil, err
	case !given:
		return nil, missing("lines")
	case len(lines) == 0:
		return nil, noLines()
	}
	return lines, nil
}

func noLines() *fieldError { return &fieldError{"lines", "must have at least one line"} }

// cartLines reads the lines of a cart.
func cartLines(c *cursor) (lines []engine.CartLine, err *fieldError) {
	err = c.array(func(i int) *fieldError {
		if i == engine.MaxLines {
			return &fieldError{"", fmt.Sprintf("a cart has at most %d lines", engine.MaxLines)}
		}
		line, err := cartLine(c)
		lines = append(lines, line)
		return err
	})
	return lines, err
}

func cartLine(c *cursor) (engine.CartLine, *fieldError) {
	var l engine.CartLine
	var sku, quantity bool
	err := c.object(func(name string) (err *fieldError) {
		switch name {
		case "sku":
			sku = true
			if l.SKU, err = c.str(); err == nil && (l.SKU == "" || len(l.SKU) > 64) {
				err = &fieldError{"", "must have 1 to 64 characters"}
			}
		case "quantity":
			quantity = true
			l.Quantity, err = c.whole(1, engine.MaxQuantity)
		default:
			return unknown(name)
		}
		return under(name, err)
	})
	switch {
	case err != nil:
		return l, err
	case !sku:
		return l, missing("sku")
	case !quantity:
		return l, missing("quantity")
	}
	return l, nil
}

// payBody is a checkout's body.
type payBody struct{ method, email string }

// checkoutBody reads {"payment_method","contact":{"email"}?}.
func checkoutBody(b []byte) (payBody, *fieldError) {
	var p payBody
	c, err := openJSON(b)
	if err != nil {
		return p, err
	}
	if err := cardNumber(c); err != nil {
		return p, err
	}
	err = c.object(func(name string) (err *fieldError) {
		switch name {
		case "payment_method":
			if p.method, err = c.str(); err == nil && !methodToken(p.method) {
				err = &fieldError{"", "must be a payment provider's token: 1 to 128 of A-Z a-z 0-9 _ -"}
			}
		case "contact":
			p.email, err = contact(&c)
		default:
			return unknown(name)
		}
		return under(name, err)
	})
	if err == nil && p.method == "" {
		err = missing("payment_method")
	}
	return p, err
}

func contact(c *cursor) (email string, err *fieldError) {
	err = c.object(func(name string) (err *fieldError) {
		if name != "email" {
			return unknown(name)
		}
		if email, err = c.str(); err == nil && !plausibleEmail(email) {
			err = &fieldError{"", "does not look like an e-mail address"}
		}
		return under(name, err)
	})
	return email, err
}

func methodToken(s string) bool {
	if s == "" || len(s) > 128 {
		return false
	}
	for i := range len(s) {
		if !wordByte(s[i]) {
			return false
		}
	}
	return true
}

// plausibleEmail catches slips, not fakes: only a mail that arrives proves an
// address. At most 254 bytes (RFC 5321), 64 of them before the @.
func plausibleEmail(s string) bool {
	local, domain, at := strings.Cut(s, "@")
	if !at || local == "" || len(local) > 64 || len(s) > 254 || strings.ContainsFunc(s, notInEmail) {
		return false
	}
	return strings.Contains(domain, ".") && !strings.Contains(domain, "@") && !strings.Contains(domain, "..") &&
		domain[0] != '.' && domain[len(domain)-1] != '.'
}

func notInEmail(r rune) bool { return r <= ' ' || r == 0x7f || strings.ContainsRune(`<>()[]\,;:"`, r) }
