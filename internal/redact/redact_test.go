package redact

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

func TestWhatMustNotBeReadIsHiddenWhereverItStands(t *testing.T) {
	secrets := []string{"ann@example.org", "ann.o'hara+x@mail.example.co.uk", "Bearer abcdef0123456789", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbm4ifQ.c2ln",
		"4242 4242 4242 4242", "5555555555554444", "378282246310005", "sk_live_0123456789", "whsec_c2VjcmV0c2VjcmV0", "postgres://u:hunter2@h/db", "redis://:hunter2@10.0.0.1:6379/0"}
	for _, secret := range secrets {
		var b bytes.Buffer
		for _, h := range []slog.Handler{slog.NewTextHandler(&b, &slog.HandlerOptions{Level: slog.LevelDebug}), slog.NewJSONHandler(&b, &slog.HandlerOptions{Level: slog.LevelDebug})} {
			log := slog.New(Handler{h})
			log.Debug("message "+secret+" goes on", "text", secret, "err", fmt.Errorf("wrapped: %w", errors.New("it says "+secret+".")), "list", []string{"x", secret},
				slog.Group("g", "deep", secret), "struct", struct{ A string }{secret}, "pointer", &struct{ A string }{secret}, "bytes", fmt.Appendf(nil, "%s", secret))
			log.With("kept", secret).WithGroup("g").Info("x", "email", "anything", "buyer_token", 75318642)
		}
		read := strings.NewReplacer("postgres://u:", "", "redis://:", "", "@h/db", "", "@10.0.0.1:6379/0", "", "Bearer ", "").Replace(secret)
		if strings.Contains(b.String(), read) || strings.Contains(b.String(), "anything") || strings.Contains(b.String(), "75318642") {
			t.Errorf("%q is in\n%s", secret, b.String())
		}
	}
}

func TestTheRestIsLoggedAsItWas(t *testing.T) {
	for _, s := range []string{"", "a plain sentence", "rsv_000001rdybn0v001081g81860w40j00000000000", "pay_29312a10292362aa25d2b30bca795b30", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
		"github.com/jackc/pgx/v5@v5.12.0/conn.go:12", "1700000000000", "127.0.0.1:8080", "2026-11-29T07:00:00.000Z", "4242424242424241", "bearer of news", "key@host", "user_sk_x"} {
		if got := Text(s); got != s {
			t.Errorf("%q became %q", s, got)
		}
	}
	var with, without bytes.Buffer
	for _, log := range []*slog.Logger{slog.New(Handler{slog.NewJSONHandler(&with, nil)}), slog.New(slog.NewJSONHandler(&without, nil))} {
		log.Info("x", "n", 1, "list", []string{"a"}, "none", nil, "token_cache", 3, slog.Group("g", "a", true))
	}
	cut := func(b bytes.Buffer) string { _, rest, _ := strings.Cut(b.String(), `"msg"`); return rest }
	if cut(with) != cut(without) {
		t.Errorf("%s%s", with.String(), without.String())
	}
}

func BenchmarkText(b *testing.B) {
	const line = "publish failed; the relay will: rsv_000001rdybn0v001081g81860w40j00000000000: dial tcp 127.0.0.1:9092: connection refused"
	for b.Loop() {
		Text(line)
	}
}
