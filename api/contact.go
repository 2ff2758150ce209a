package api

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/flashsale-engine/flashsale/engine"
)

// contact reads {"email"?,"address"?}.
func contact(c *cursor) (out engine.Contact, err *fieldError) {
	err = c.object(func(name string) (err *fieldError) {
		switch name {
		case "email":
			if out.Email, err = c.str(); err == nil && !plausibleEmail(out.Email) {
				err = &fieldError{"", "does not look like an e-mail address"}
			}
		case "address":
			out.Address, err = address(c)
		default:
			return unknown(name)
		}
		return under(name, err)
	})
	return out, err
}

// address reads {"name","line1","line2"?,"city","region"?,"postal_code"?,"country"}.
// Whether it exists is the storefront's affair; not every country has the rest.
func address(c *cursor) (a engine.Address, err *fieldError) {
	fields := []struct {
		name   string
		into   *string
		most   int
		needed bool
	}{
		{"name", &a.Name, 100, true}, {"line1", &a.Line1, 200, true}, {"line2", &a.Line2, 200, false}, {"city", &a.City, 100, true},
		{"region", &a.Region, 100, false}, {"postal_code", &a.PostalCode, 20, false}, {"country", &a.Country, 2, true},
	}
	err = c.object(func(name string) (err *fieldError) {
		for _, f := range fields {
			if f.name != name {
				continue
			}
			if *f.into, err = c.str(); err == nil && !plainLine(*f.into, f.most) {
				err = &fieldError{"", fmt.Sprintf("must have 1 to %d characters, none of them control characters", f.most)}
			}
			if err == nil && name == "country" && !countryCode(a.Country) {
				err = &fieldError{"", "must be a country's two capital letters (ISO 3166-1)"}
			}
			return under(name, err)
		}
		return unknown(name)
	})
	for _, f := range fields {
		if err == nil && f.needed && *f.into == "" {
			err = missing(f.name)
		}
	}
	return a, err
}

// contactForm is a contact as its buyer reads it.
type contactForm struct {
	Email   string          `json:"email,omitempty"`
	Address *engine.Address `json:"address,omitempty"`
	Lost    string          `json:"lost,omitempty"` // why it cannot be shown any more
}

func formContact(c engine.Contact) *contactForm {
	if c == (engine.Contact{}) {
		return nil
	}
	f := &contactForm{Email: c.Email, Lost: c.Lost}
	if c.Address != (engine.Address{}) {
		f.Address = &c.Address
	}
	return f
}

func plainLine(s string, most int) bool {
	return strings.TrimSpace(s) != "" && utf8.RuneCountInString(s) <= most && !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f })
}

func countryCode(s string) bool {
	return len(s) == 2 && s[0] >= 'A' && s[0] <= 'Z' && s[1] >= 'A' && s[1] <= 'Z'
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
