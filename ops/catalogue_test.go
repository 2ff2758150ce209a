package ops

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

func TestACatalogueIsReadAsAWholeOrNotAtAll(t *testing.T) {
	for what, c := range map[string]struct {
		csv   string
		wrong []string
	}{
		"plain":                            {"sku,title,unit_price,stock\nA,Shoe,100,5\nB,\"Cap, navy\",200,6\n", nil},
		"as a spreadsheet saves it":        {"\ufeffstock,SKU,Title,unit_price\r\n5,A,Shoe,100\r\n", nil},
		"a title of two lines":             {"sku,title,unit_price,stock\nA,\"two\nlines\",1,1\nB,t,x,1\n", []string{"line 4: unit_price: \"x\""}},
		"every error, with its line":       {"sku,title,unit_price,stock\nA,t,1,1\nA,t,1,1\n-,t,1,1\nB,t,-1,x\nC,t\n", []string{"line 3: SKU \"A\" is in line 2", "line 4: \"-\" is not a SKU", "line 5: stock: \"x\"", "line 5: SKU \"B\": unit_price -1", "line 6: 2 fields"}},
		"no header":                        {"A,t,1,1\n", []string{"line 1: the header"}},
		"a column too many":                {"sku,title,unit_price,stock,colour\n", []string{"line 1: the header"}},
		"a header and nothing else":        {"sku,title,unit_price,stock\n", []string{"line 1: a catalogue has"}},
		"a quote that never ends":          {"sku,title,unit_price,stock\nA,t,1,1\nB,\"t,1,1\n", []string{"line 3: extraneous or missing \" in quoted-field"}},
		"nothing at all":                   {"", []string{"line 1: the header"}},
		"a number beyond what numbers are": {"sku,title,unit_price,stock\nA,t,1,99999999999999999999\n", []string{"line 2: stock:"}},
	} {
		_, wrong := readCatalogue(c.csv)
		ok := len(wrong) == len(c.wrong)
		for i := range c.wrong {
			ok = ok && strings.HasPrefix(wrong[i], c.wrong[i])
		}
		if !ok {
			t.Errorf("%s: %q, want %q", what, wrong, c.wrong)
		}
	}
}

func TestAnImportWithErrorsChangesNothing(t *testing.T) {
	s, w := serving(t)
	send := func(csv string, more string) (int, string) {
		raw, _ := json.Marshal(csv)
		got := s.ask("POST", "/admin/v1/sales/drop/import", secretOf(Owner), fmt.Sprintf(`{"csv":%s%s}`, raw, more))
		return got.Code, got.Body.String()
	}
	const head = "sku,title,unit_price,stock\n"
	if code, text := send(head+"A,t,1,1\nB,t,x,1\nC,t,1,y\n", ""); code != 400 || !strings.Contains(text, "line 3") || !strings.Contains(text, "line 4") || len(w.did) > 0 {
		t.Fatalf("%d %s; it did %v", code, text, w.did)
	}
	if code, text := send(head+"A,t,1,3\nB,t,1,4\n", `,"dry_run":true`); code != 200 || !strings.Contains(text, `"units":7`) || len(w.did) > 0 {
		t.Fatalf("dry: %d %s; it did %v", code, text, w.did)
	}
	if code, text := send(head+"A,t,1,3\n", ""); code != 201 || len(w.did) != 1 {
		t.Fatalf("%d %s; it did %v", code, text, w.did)
	}
}
