// Command devstack starts real Redis, Postgres and Apache Kafka as child
// processes, runs a command with their addresses in its environment, and stops
// them again:
//
//	go run ./internal/devstack/cmd/devstack -- go test ./...
//
// It exits as the command did. Without a command it prints the addresses, in the
// form of shell exports, and keeps the servers up until it is interrupted.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"time"

	"github.com/flashsale-engine/flashsale/internal/devstack"
	"github.com/flashsale-engine/flashsale/internal/devstack/testenv"
)

// startPatience covers a Kafka on a busy machine.
const startPatience = 3 * time.Minute

func main() {
	code, err := run(os.Args[1:], os.Stdout, os.Stderr)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	os.Exit(code)
}

func run(args []string, stdout, stderr io.Writer) (code int, err error) {
	flags := flag.NewFlagSet("devstack", flag.ContinueOnError)
	flags.SetOutput(stderr)
	dir := flags.String("data-dir", "", "keep data here (default: a temporary directory, removed at the end)")
	durable := flags.Bool("durable", false, "Postgres with fsync, as in production; tests don't need it")
	if err := flags.Parse(args); err != nil {
		return 2, nil // flag has printed it
	}
	// Registered before the start: an interrupt during it stops it.
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(signals)

	begin := time.Now()
	stack, err := start(*dir, !*durable, signals, stderr)
	if err != nil {
		return 1, err
	}
	defer func() {
		if cerr := stack.Close(); cerr != nil {
			code, err = max(code, 1), errors.Join(err, cerr)
		}
	}()
	env := []string{
		testenv.EnvRedis + "=" + stack.Redis.URL,
		testenv.EnvPostgres + "=" + stack.Postgres.URL,
		testenv.EnvKafka + "=" + stack.Kafka.URL,
	}
	fmt.Fprintf(stderr, "devstack: %s, %s, %s: up in %.1f s\n",
		stack.Redis.Kind, stack.Postgres.Kind, stack.Kafka.Kind, time.Since(begin).Seconds())

	if flags.NArg() == 0 {
		for _, line := range env {
			fmt.Fprintln(stdout, "export", quote(line))
		}
		<-signals
		return 0, nil
	}
	return runCommand(flags.Args(), env, signals)
}

func start(dir string, fast bool, signals <-chan os.Signal, stderr io.Writer) (*devstack.Stack, error) {
	ctx, cancel := context.WithTimeout(context.Background(), startPatience)
	defer cancel()
	up := make(chan struct{})
	defer close(up)
	go func() {
		select {
		case <-signals:
			cancel()
		case <-up:
		}
	}()
	return devstack.Start(ctx, devstack.Options{
		DataDir:  dir,
		Redis:    devstack.Spec{Mode: devstack.Child},
		Postgres: devstack.Spec{Mode: devstack.Child, Fast: fast},
		Kafka:    devstack.Spec{Mode: devstack.Child},
		Log:      slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
	})
}

// runCommand runs the command to its end and returns its exit status, or 128
// plus the signal that ended it, as a shell does.
func runCommand(args, env []string, signals <-chan os.Signal) (int, error) {
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	if err := cmd.Start(); err != nil {
		return 127, fmt.Errorf("devstack: %w", err)
	}
	ended := make(chan struct{})
	go func() {
		for {
			select {
			case sig := <-signals:
				// At a terminal the command has had Ctrl-C itself; it may get it twice.
				_ = cmd.Process.Signal(sig) // gone already is as good
			case <-ended:
				return
			}
		}
	}()
	err := cmd.Wait()
	close(ended)
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		if ws, ok := exit.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
			return 128 + int(ws.Signal()), nil
		}
		return exit.ExitCode(), nil
	}
	if err != nil {
		return 1, fmt.Errorf("devstack: %w", err)
	}
	return 0, nil
}

// quote makes NAME=value safe to eval in a shell; our values hold no single quotes.
func quote(line string) string { return "'" + line + "'" }
