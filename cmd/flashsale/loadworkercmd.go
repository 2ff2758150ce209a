package main

import (
	"os"

	"github.com/flashsale-engine/flashsale/internal/certs"
	"github.com/flashsale-engine/flashsale/loadtest"
)

// loadWorkerCmd is a further process of a load test. It is told what to do on its
// standard input, secrets included, and says what came of it on its standard output.
type loadWorkerCmd struct {
	CAFile string `name:"ca-file" help:"PEM file with the authorities that may vouch for the engine's certificate." placeholder:"FILE"`
}

func (c *loadWorkerCmd) Run(w *world) error {
	trust, err := certs.Client(c.CAFile)
	if err != nil {
		return fail(exitUsage, "--ca-file: %w", err)
	}
	return loadtest.Work(w, os.Stdin, w.stdout, trust)
}

// worker is the command of one.
func worker(caFile string) ([]string, error) {
	self, err := os.Executable()
	if err != nil || caFile == "" {
		return []string{self, "loadtest", "worker"}, err
	}
	return []string{self, "loadtest", "worker", "--ca-file", caFile}, nil
}
