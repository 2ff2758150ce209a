package api

import "bytes"

// cardNumber refuses a body that carries what looks like a card number, in any
// string or number of it. The engine takes providers' tokens only: a card
// number must not reach a log, the gate or the record, not even by accident.
// The refusal names the field and never repeats its value.
func cardNumber(c cursor) *fieldError {
	if bytes.IndexByte(c.b, '\\') < 0 && !looksLikeCard(c.b) {
		return nil // the usual case: no such run of digits anywhere, and no escapes to hide one
	}
	return c.cardIn(0)
}

func (c *cursor) cardIn(depth int) *fieldError {
	if depth > 8 {
		return &fieldError{"", "is nested too deeply"}
	}
	const refused = "carries a card number; send the payment provider's token instead. It was not stored"
	switch kindName(c.kind()) {
	case "an object":
		return c.fields(func(name string) *fieldError {
			if looksLikeCard([]byte(name)) {
				return &fieldError{"", "a field's name " + refused}
			}
			value := *c
			err := under(clip(name), c.cardIn(depth+1))
			if err != nil && name == "sku" && value.barcode() {
				return nil
			}
			return err
		})
	case "an array":
		return c.array(func(int) *fieldError { return c.cardIn(depth + 1) })
	case "a string":
		s, err := c.str()
		if err == nil && looksLikeCard([]byte(s)) {
			err = &fieldError{"", refused}
		}
		return err
	case "a number":
		if looksLikeCard(c.number()) {
			return &fieldError{"", refused}
		}
	default: // true, false, null
		for c.i < len(c.b) && c.b[c.i] >= 'a' && c.b[c.i] <= 'z' {
			c.i++
		}
	}
	return nil
}

// looksLikeCard finds 13 to 19 digits that pass the Luhn check. Single spaces
// and hyphens may stand between groups of digits; the run must begin and end
// where a group does, so digits inside a longer number do not count.
func looksLikeCard(b []byte) bool {
	for i := 0; i < len(b); i++ {
		if digit(b[i]) && (i == 0 || !digit(b[i-1])) && cardAt(b[i:]) {
			return true
		}
	}
	return false
}

func digit(b byte) bool { return b >= '0' && b <= '9' }

// cardAt tells whether a card number begins at b[0].
func cardAt(b []byte) bool {
	var run [20]byte
	n := 0
	for i := 0; i < len(b); i++ {
		switch {
		case digit(b[i]):
			if n == 19 {
				return false
			}
			run[n] = b[i] - '0'
			n++
			if n >= 13 && (i+1 == len(b) || !digit(b[i+1])) && luhn(run[:n]) {
				return true
			}
		case (b[i] == ' ' || b[i] == '-') && i+1 < len(b) && digit(b[i+1]):
		default:
			return false
		}
	}
	return false
}

// luhn is the check of ISO/IEC 7812-1. A run of zeros passes it and is no card.
func luhn(d []byte) bool {
	sum, nonzero := 0, false
	for i, v := range d {
		x := int(v)
		nonzero = nonzero || x != 0
		if (len(d)-i)%2 == 0 {
			if x *= 2; x > 9 {
				x -= 9
			}
		}
		sum += x
	}
	return nonzero && sum%10 == 0
}

// barcode tells whether the next value is a string of 13 or 14 digits with a
// right GTIN check digit. Such a SKU is a bar code; one in ten of them passes
// the card's check too, and its buyers would be turned away for nothing.
func (c *cursor) barcode() bool {
	if c.kind() != '"' {
		return false
	}
	s, err := c.str()
	if err != nil || len(s) != 13 && len(s) != 14 {
		return false
	}
	sum := 0
	for i := range len(s) {
		if !digit(s[i]) {
			return false
		}
		weight := 1
		if (len(s)-i)%2 == 0 {
			weight = 3
		}
		sum += weight * int(s[i]-'0')
	}
	return sum%10 == 0
}
