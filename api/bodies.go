package api

import (
	"fmt"

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
type payBody struct {
	method  string
	contact engine.Contact
}

// checkoutBody reads {"payment_method","contact":{"email"?,"address"?}?}.
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
			p.contact, err = contact(&c)
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
