package sandbox

import "testing"

func FuzzASearchEndsAndKnowsItsFields(f *testing.F) {
	for _, q := range []string{"metadata['attempt']:'a' AND status:'x'", `currency:"usd"`, `metadata["a\"b"]:'c\'d'`, "AND AND", "status:'"} {
		f.Add(q)
	}
	f.Fuzz(func(t *testing.T, q string) {
		all, p := parseSearch(q)
		if (p == nil) != (len(all) > 0) && p == nil {
			t.Fatalf("%q asks for nothing and is no problem", q)
		}
		for _, c := range all {
			if (c.metadata == "") == (c.field == "") && c.metadata+c.field != "" {
				t.Fatalf("%q became %+v", q, c)
			}
		}
	})
}
