// Command flashsale is the flash-sale inventory and checkout engine: the
// server, the demo and the operators' command line in one binary.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/alecthomas/kong"

	"github.com/flashsale-engine/flashsale/internal/redact"
	"github.com/flashsale-engine/flashsale/internal/telemetry"
)

// Exit statuses. Scripts may rely on them.
const (
	exitOK          = 0
	exitFound       = 1 // the command ran, and its verdict is no
	exitUsage       = 2 // the command line or configuration is wrong
	exitUnavailable = 3 // something that the command needs cannot be reached
)

// exit carries a status through error returns.
type exit struct {
	status int
	err    error
}

func (e *exit) Error() string { return e.err.Error() }
func (e *exit) Unwrap() error { return e.err }

func fail(status int, format string, args ...any) error {
	return &exit{status, fmt.Errorf(format, args...)}
}

// CLI is the command line. Every flag may also be set as FLASHSALE_<FLAG> in
// the environment, or by its name in the file that --config names; the command
// line wins over the environment, which wins over the file.
type CLI struct {
	Config    kong.ConfigFlag  `help:"Read settings from this YAML file." placeholder:"FILE"`
	LogLevel  string           `help:"Least level that is logged." enum:"debug,info,warn,error" default:"info"`
	LogFormat string           `help:"Log format." enum:"json,text" default:"text"`
	Version   kong.VersionFlag `help:"Print the version and leave."`

	Demo     demoCmd     `cmd:"" help:"Start everything on embedded or child backends with a sale to try."`
	Env      envCmd      `cmd:"" help:"Print the last demo's addresses as export lines for a shell."`
	Serve    serveCmd    `cmd:"" help:"Run the engine on the backends that the URLs name."`
	Migrate  migrateCmd  `cmd:"" help:"Bring the Postgres schema up to date."`
	Doctor   doctorCmd   `cmd:"" help:"Check the configuration and every dependency, live."`
	Conf     configCmd   `cmd:"" name:"config" help:"Check or print the configuration."`
	Sandbox  sandboxCmd  `cmd:"" help:"Run the sandbox payment provider alone."`
	Sale     saleCmd     `cmd:"" help:"Create sales and move them through their states."`
	Top      topCmd      `cmd:"" help:"Watch everything in the terminal, as the console shows it."`
	Stock    stockCmd    `cmd:"" help:"Change stock."`
	Hold     holdCmd     `cmd:"" help:"List or release holds."`
	Gate     gateCmd     `cmd:"" help:"Show how the gates stand, and rebuild lost ones from the record."`
	Order    orderCmd    `cmd:"" help:"Show orders."`
	Payments paymentsCmd `cmd:"" help:"Look at payments, and bring them to an end."`
	DLQ      dlqCmd      `cmd:"" name:"dlq" help:"Look at events that could not become orders, and retry or drop them."`
	Trace    traceCmd    `cmd:"" help:"Show traces of requests, or tell support what became of a buyer."`
	Data     dataCmd     `cmd:"" help:"Keys of buyers' contact data, and erasing it."`
	Token    tokenCmd    `cmd:"" help:"Mint a buyer token for trying things."`
	Solve    solveCmd    `cmd:"" help:"Solve a challenge for trying things, as a page would."`
	Breaker  breakerCmd  `cmd:"" help:"Show the circuit breakers around what is outside, or force them."`
	Verify   verifyCmd   `cmd:"" help:"Compare gate, stream, record and payments: the four zeros, or exit 1 and the list."`
	Audit    auditCmd    `cmd:"" help:"Check that nobody has tampered with the ledgers."`
	Loadtest struct {
		Buyers      loadtestCmd    `cmd:"" default:"withargs" help:"Send buyers at a sale, open loop, and end with verify. The default."`
		Blackfriday blackFridayCmd `cmd:"" help:"Black Friday, rehearsed: the whole day at an engine that is started for it, with a spike, a storm of retries, an outage of payments and the sell-out."`
		Worker      loadWorkerCmd  `cmd:"" hidden:"" help:"A further process of a load test, which it starts itself."`
		Compare     compareCmd     `cmd:"" help:"Put the reports of two runs beside each other, on a page."`
		Crowd       crowdCmd       `cmd:"" help:"A million waiters in the waiting room of a server that is started for them, and what they were told, judged."`
	} `cmd:"" help:"Send buyers at a sale, or a crowd through its waiting room."`
	Capacity struct {
		Fit      capacityFitCmd      `cmd:"" help:"Measure a ladder of loads here, and fit the model that plans are made of."`
		Plan     capacityPlanCmd     `cmd:"" help:"From buyers, stock, window and p99 to nodes, shards, partitions, connections and money."`
		Simulate capacitySimulateCmd `cmd:"" help:"Play a sale event by event, at sizes that no machine here can run."`
	} `cmd:"" help:"What a sale takes, from what was measured."`
	Bench benchCmd `cmd:"" help:"Measure the hot path beside its limits and other ways to do it, as ratios."`
	Chaos chaosCmd `cmd:"" help:"Let faults happen under load on real parts, then compare the books: exit 1 if anybody was hurt."`

	BenchServer benchServerCmd `cmd:"" hidden:"" help:"A server to compare with."`
	BenchLoad   benchLoadCmd   `cmd:"" hidden:"" help:"The benchmark's load generator."`
	BenchGate   benchGateCmd   `cmd:"" hidden:"" help:"The gate without HTTP around it."`
	BenchWriter benchWriterCmd `cmd:"" hidden:"" help:"Ways to write orders to Postgres."`
}

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// run is main with its world given, so that tests call it too.
func run(args []string, stdout, stderr io.Writer) (status int) {
	var cli CLI
	leave := -1
	parser, err := newParser(&cli, stdout, stderr, func(code int) { leave = code; panic(leaving{}) })
	if err != nil {
		fmt.Fprintln(stderr, "flashsale:", err)
		return exitUsage
	}
	defer func() { // --help and --version leave from inside the parser
		if p := recover(); p != nil {
			if _, ok := p.(leaving); !ok {
				panic(p)
			}
			status = leave
		}
	}()
	kctx, err := parser.Parse(args)
	if err != nil {
		fmt.Fprintln(stderr, "flashsale:", err)
		return exitUsage
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	w := &world{Context: ctx, stdout: stdout, stderr: stderr, log: logger(stderr, cli.LogLevel, cli.LogFormat)}
	if err := kctx.Run(w); err != nil {
		fmt.Fprintln(stderr, "flashsale:", redact.Text(err.Error()))
		var x *exit
		if errors.As(err, &x) {
			return x.status
		}
		return exitFound
	}
	return exitOK
}

func newParser(cli *CLI, stdout, stderr io.Writer, leave func(code int)) (*kong.Kong, error) {
	return kong.New(cli, kong.Name("flashsale"),
		kong.Description("A flash-sale inventory and checkout engine: never oversells, never loses an acknowledged order."),
		kong.UsageOnError(), kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
		kong.DefaultEnvars("FLASHSALE"), kong.NamedMapper("secret", kong.MapperFunc(secretMapper)), kong.Configuration(loadConfig),
		kong.Vars{"version": version()}, kong.Writers(stdout, stderr), kong.Exit(leave))
}

type leaving struct{}

// world is what a command may touch.
type world struct {
	context.Context
	stdout, stderr io.Writer
	log            *slog.Logger
}

func logger(w io.Writer, level, format string) *slog.Logger {
	var l slog.Level
	_ = l.UnmarshalText([]byte(level)) // the flag's enum admits no other
	o := &slog.HandlerOptions{Level: l}
	var h slog.Handler = slog.NewTextHandler(w, o)
	if format == "json" {
		h = slog.NewJSONHandler(w, o)
	}
	return slog.New(telemetry.LogHandler{Handler: redact.Handler{Handler: h}})
}

func version() string {
	if b, ok := debug.ReadBuildInfo(); ok && b.Main.Version != "" {
		return b.Main.Version
	}
	return "(devel)"
}
