package main

import (
	"encoding/json"
	"io"
	"os"
	"path/filepath"

	"github.com/flashsale-engine/flashsale/loadtest"
	"github.com/flashsale-engine/flashsale/loadtest/page"
)

// Reports says where a load test's report goes, beside what is printed.
type Reports struct {
	HTML   string `name:"html" help:"Write the report as a page for people into this file." placeholder:"FILE"`
	Report string `help:"Write the report as JSON into this file, for loadtest compare." placeholder:"FILE"`
}

// keep writes them, also of a run that failed.
func (r Reports) keep(title string, of loadtest.Report) error {
	if r.HTML != "" {
		if err := writeFile(r.HTML, func(w io.Writer) error { return page.Write(w, title, of) }); err != nil {
			return err
		}
	}
	if r.Report != "" {
		return writeFile(r.Report, func(w io.Writer) error { return printJSON(w, of) })
	}
	return nil
}

func writeFile(name string, write func(io.Writer) error) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	err = write(f)
	if e := f.Close(); err == nil {
		err = e
	}
	return err
}

// compareCmd puts two reports beside each other.
type compareCmd struct {
	A    string `arg:"" help:"A report, as --report writes it." type:"existingfile"`
	B    string `arg:"" help:"Another one." type:"existingfile"`
	HTML string `name:"html" help:"The page to write." required:"" placeholder:"FILE"`
}

func (c *compareCmd) Run(*world) error {
	var reports [2]loadtest.Report
	for i, name := range []string{c.A, c.B} {
		text, err := os.ReadFile(name)
		if err != nil {
			return &exit{exitUsage, err}
		}
		if err := json.Unmarshal(text, &reports[i]); err != nil {
			return fail(exitUsage, "%s is not a load test's report: %w", name, err)
		}
		if reports[i].Run == "" {
			return fail(exitUsage, "%s is not a load test's report", name)
		}
	}
	return writeFile(c.HTML, func(w io.Writer) error {
		return page.Compare(w, [2]string{filepath.Base(c.A), filepath.Base(c.B)}, reports[0], reports[1])
	})
}
