package rest

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestWhatIsAskedAndWhatComesBack(t *testing.T) {
	heard := ""
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		heard = r.Method + " " + r.Header.Get("Authorization") + " " + string(b)
		if r.URL.Path == "/no" {
			w.WriteHeader(http.StatusConflict)
		}
		_, _ = io.WriteString(w, `{"n":7}`)
	}))
	defer s.Close()
	var out struct{ N int }
	if err := JSON(t.Context(), "POST", s.URL, "secret", map[string]int{"a": 1}, &out); err != nil || out.N != 7 || heard != `POST Bearer secret {"a":1}` {
		t.Errorf("%v, %v, heard %q", err, out, heard)
	}
	if err := JSON(t.Context(), "GET", s.URL, "", nil, nil); err != nil || heard != "GET  " {
		t.Errorf("%v, heard %q", err, heard)
	}
	if err := JSON(t.Context(), "GET", s.URL+"/no", "", nil, &out); err == nil || !strings.Contains(err.Error(), "409") || !strings.Contains(err.Error(), `{"n":7}`) {
		t.Errorf("a refusal is %v", err)
	}
	s.Close()
	if err := JSON(t.Context(), "GET", s.URL, "", nil, nil); err == nil {
		t.Error("nobody answered, and that is no error")
	}
}
