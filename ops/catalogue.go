package ops

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/flashsale-engine/flashsale/engine"
)

// importBody is a draft's terms with its catalogue as CSV. Without a name, the terms
// are those of the draft that is there.
type importBody struct {
	saleBody
	CSV    string `json:"csv"`
	DryRun bool   `json:"dry_run"`
}

// importSale makes a draft of a catalogue, or gives a draft another one: all of it, or
// nothing.
func (s *Server) importSale(w http.ResponseWriter, r *http.Request) error {
	var b importBody
	if err := decode(w, r, &b); err != nil {
		return err
	}
	if len(b.Items) > 0 {
		return engine.E(engine.CodeInvalidRequest, "items: they come as csv").With("field", "items")
	}
	items, wrong := readCatalogue(b.CSV)
	if len(wrong) > 0 {
		return engine.E(engine.CodeInvalidRequest, "csv: %d errors, nothing is imported:\n%s", len(wrong), strings.Join(wrong[:min(len(wrong), 100)], "\n")).
			With("field", "csv").With("errors", wrong)
	}
	sale, err := b.sale(r.PathValue("sale"))
	if err == nil && b.Name == "" {
		var was *engine.Sale
		if was, err = s.Lifecycle.Store.Get(r.Context(), r.PathValue("sale")); err == nil {
			keep := *was
			sale = &keep
		}
	}
	if err != nil {
		return err
	}
	sale.Items = items
	if !b.DryRun {
		return s.put(w, r, sale)
	}
	if err := engine.ValidateSale(sale, s.Lifecycle.PaymentTimeout); err != nil {
		return err
	}
	units := int64(0)
	for _, it := range items {
		units += it.Stock
	}
	reply(w, http.StatusOK, map[string]any{"dry_run": true, "sale": sale.ID, "skus": len(items), "units": units})
	return nil
}

// columns are the header of a catalogue, in any order.
var columns = []string{"sku", "title", "unit_price", "stock"}

// readCatalogue reads all of a catalogue and says everything that is wrong with it, by line.
func readCatalogue(text string) (items []engine.Item, wrong []string) {
	complain := func(line int, format string, args ...any) {
		wrong = append(wrong, fmt.Sprintf("line %d: ", line)+fmt.Sprintf(format, args...))
	}
	in := csv.NewReader(strings.NewReader(strings.TrimPrefix(text, "\ufeff"))) // as spreadsheets begin them
	in.FieldsPerRecord = -1
	head, err := in.Read()
	for i := range head {
		head[i] = strings.ToLower(strings.TrimSpace(head[i]))
	}
	sorted, want := slices.Sorted(slices.Values(head)), slices.Sorted(slices.Values(columns))
	if err != nil || !slices.Equal(sorted, want) {
		complain(1, "the header must be %s", strings.Join(columns, ","))
		return nil, wrong
	}
	first := map[string]int{}
	for {
		row, err := in.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		var bad *csv.ParseError
		if errors.As(err, &bad) {
			complain(bad.Line, "%v", bad.Err)
			break // where the next line begins is not known any more
		}
		line, _ := in.FieldPos(0)
		if len(row) != len(columns) {
			complain(line, "%d fields, and the header has %d", len(row), len(columns))
			continue
		}
		it, faults := item(head, row)
		for _, f := range faults {
			complain(line, "%s", f)
		}
		if was, again := first[it.SKU]; again {
			complain(line, "SKU %q is in line %d, too", it.SKU, was)
		} else {
			first[it.SKU] = line
		}
		items = append(items, it)
	}
	if len(wrong) == 0 && (len(items) == 0 || len(items) > engine.MaxItems) {
		complain(1, "a catalogue has 1 to %d SKUs, not %d", engine.MaxItems, len(items))
	}
	return items, wrong
}

func item(head, row []string) (it engine.Item, faults []string) {
	number := func(name, text string) int64 {
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			faults = append(faults, fmt.Sprintf("%s: %q is not a whole number", name, text))
			return 0
		}
		return n
	}
	for i, name := range head {
		switch text := strings.TrimSpace(row[i]); name {
		case "sku":
			it.SKU = text
		case "title":
			it.Title = text
		case "unit_price":
			it.UnitPrice = number(name, text)
		case "stock":
			it.Stock = number(name, text)
		}
	}
	if what := it.Fault(); what != "" {
		faults = append(faults, what)
	}
	return it, faults
}
