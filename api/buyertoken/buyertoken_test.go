package buyertoken_test

import (
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/flashsale-engine/flashsale/api/buyertoken"
)

func TestAMintedTokenNamesItsBuyer(t *testing.T) {
	secret := []byte("0123456789abcdef0123456789abcdef")
	text, err := buyertoken.Mint(secret, "buyer-7", "", time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	tok, err := jwt.Parse(text, func(*jwt.Token) (any, error) { return secret, nil },
		jwt.WithValidMethods([]string{"HS256"}), jwt.WithAudience(buyertoken.DefaultAudience), jwt.WithExpirationRequired())
	if err != nil {
		t.Fatal(err)
	}
	if sub, _ := tok.Claims.GetSubject(); sub != "buyer-7" {
		t.Errorf("sub %q", sub)
	}
}

func TestWhatCannotBecomeATokenIsRefused(t *testing.T) {
	secret := make([]byte, 32)
	for name, mint := range map[string]func() (string, error){
		"a short secret":       func() (string, error) { return buyertoken.Mint(secret[:31], "b", "", time.Minute) },
		"no buyer":             func() (string, error) { return buyertoken.Mint(secret, "", "", time.Minute) },
		"a buyer too long":     func() (string, error) { return buyertoken.Mint(secret, string(make([]byte, 129)), "", time.Minute) },
		"a token already over": func() (string, error) { return buyertoken.Mint(secret, "b", "", 0) },
	} {
		if _, err := mint(); err == nil {
			t.Errorf("%s: minted", name)
		}
	}
}
