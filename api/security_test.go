package api

import (
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
)

// What nobody can name, nobody can have fetched.
func TestNoRequestNamesAURL(t *testing.T) {
	var walk func(where string, s *openapi3.SchemaRef)
	walk = func(where string, s *openapi3.SchemaRef) {
		if s == nil {
			return
		}
		if strings.HasPrefix(s.Value.Format, "uri") || strings.Contains(strings.ToLower(where[strings.LastIndexByte(where, '.')+1:]), "url") {
			t.Errorf("%s is a URL", where)
		}
		walk(where, s.Value.Items)
		for name, p := range s.Value.Properties {
			walk(where+"."+name, p)
		}
	}
	bodies := 0
	for path, item := range document(t).Paths.Map() {
		for method, op := range item.Operations() {
			for _, p := range op.Parameters {
				walk(method+" "+path+" ."+p.Value.Name, p.Value.Schema)
			}
			if op.RequestBody == nil {
				continue
			}
			bodies++
			for _, c := range op.RequestBody.Value.Content {
				walk(method+" "+path, c.Schema)
			}
		}
	}
	if bodies < 4 {
		t.Errorf("%d bodies", bodies)
	}
}
