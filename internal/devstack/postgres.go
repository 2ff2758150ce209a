package devstack

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	pgUser     = "flashsale" // superuser of a cluster we create
	pgDatabase = "flashsale"

	postgresMissing = "the Postgres server is not installed (no initdb and postgres on PATH or in the usual places): run `make deps`, or install your system's postgresql package"
)

func newPostgres(opt Options) (*Backend, error) {
	if opt.Postgres.Mode == External {
		check := func(ctx context.Context) error { _, err := pgVersion(ctx, opt.Postgres.URL); return err }
		return &Backend{URL: opt.Postgres.URL, Kind: "external", Mode: External, Durable: true, driver: external{"postgres", check}}, nil
	}
	s, err := newServer(opt, "postgres")
	if err != nil {
		return nil, err
	}
	owner, err := pgOwner()
	if err != nil {
		return nil, err
	}
	if err := owner.ensureData(s, opt); err != nil {
		return nil, fmt.Errorf("devstack: postgres: %w", err)
	}
	bin, err := findPostgres(s.data)
	if err != nil {
		return nil, err
	}
	place := s.data
	if opt.Postgres.Disk > 0 {
		s.disk = &disk{mib: opt.Postgres.Disk, owner: owner}
	}
	b := &Backend{Kind: "child postgres", Mode: Child, Durable: true, Dir: s.dir, driver: s, Note: owner.note(s)}
	if opt.Postgres.Fast {
		b.Note = strings.TrimPrefix(b.Note+"; fsync is off: everything may be lost if the machine (not just the process) dies", "; ")
	}
	s.nports, s.stopSig, s.ready = 1, syscall.SIGINT, 60*time.Second // "fast" shutdown
	if opt.Ephemeral {
		s.stopSig = syscall.SIGQUIT // "immediate": no checkpoint, but shared memory is given back
		b.remove = func() error { return errors.Join(os.RemoveAll(place), os.RemoveAll(s.dir)) }
	}
	s.prepare = func(ctx context.Context) error { return initdb(ctx, s, bin, owner, opt.Postgres) }
	s.configure = func([]int) error { return clearStalePid(s.data) }
	s.command = func(ports []int) command {
		return command{path: filepath.Join(bin, "postgres"), args: postgresArgs(s.data, ports[0], opt.Postgres),
			// SIGQUIT, not SIGKILL, when we die: the same end, but Postgres takes
			// its shared memory and pid file with it.
			cred: owner.cred, deathSignal: syscall.SIGQUIT}
	}
	s.check = func(ctx context.Context, _ int, ports []int) error {
		version, err := checkPostgres(ctx, loopback(ports[0]), s.data)
		if err != nil {
			return err
		}
		b.settle(pgURL(loopback(ports[0]), pgDatabase), "child postgres "+version)
		return nil
	}
	return b, nil
}

func postgresArgs(data string, port int, spec Spec) []string {
	args := []string{"-D", data}
	settings := []string{
		"listen_addresses=127.0.0.1",
		"port=" + strconv.Itoa(port),
		"unix_socket_directories=", // TCP is enough, and a socket file needs a writable short path
		"max_connections=500",
		"synchronous_commit=on",
		"logging_collector=off", // to our log file
	}
	if spec.Fast {
		settings = append(settings, "fsync=off", "full_page_writes=off")
	}
	if spec.Disk > 0 {
		settings = append(settings, "min_wal_size=2MB", "max_wal_size="+strconv.Itoa(spec.Disk/4)+"MB")
	}
	for _, s := range settings {
		args = append(args, "-c", s)
	}
	return args
}

// initdb makes the cluster in a folder below its final place and moves it up when
// complete, so that an interrupted run never looks like a finished one.
func initdb(ctx context.Context, s *server, bin string, owner pgAccount, spec Spec) error {
	if _, err := os.Stat(filepath.Join(s.data, "PG_VERSION")); err == nil {
		return nil
	}
	leftovers, err := os.ReadDir(s.data) // of a run interrupted here
	if err != nil {
		return err
	}
	for _, e := range leftovers {
		if err := os.RemoveAll(filepath.Join(s.data, e.Name())); err != nil {
			return err
		}
	}
	fresh := filepath.Join(s.data, "new")
	args := []string{"-D", fresh, "-U", pgUser, "--auth=trust", "--encoding=UTF8", "--locale=C"}
	if spec.Fast {
		args = append(args, "--no-sync")
	}
	if spec.Disk > 0 {
		args = append(args, "--wal-segsize=1") // MiB: a new one, which needs space, comes soon
	}
	err = runToEnd(ctx, command{
		path: filepath.Join(bin, "initdb"), args: args, dir: s.workDir(), cred: owner.cred, logPath: filepath.Join(s.dir, "initdb.log"),
	})
	if err != nil {
		return err
	}
	return moveUp(fresh, s.data)
}

// moveUp moves everything in from to its parent, PG_VERSION last: it is the sign
// that the cluster is complete.
func moveUp(from, to string) error {
	entries, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	sort.SliceStable(entries, func(i, j int) bool { return entries[j].Name() == "PG_VERSION" && entries[i].Name() != "PG_VERSION" })
	for _, e := range entries {
		if err := os.Rename(filepath.Join(from, e.Name()), filepath.Join(to, e.Name())); err != nil {
			return err
		}
	}
	return os.Remove(from)
}

// clearStalePid removes the pid file of a killed postmaster. Postgres would do it
// too, unless the pid has been given to another process since: then it refuses.
func clearStalePid(data string) error {
	pidFile := filepath.Join(data, "postmaster.pid")
	if err := refuseLeftover(pidFile, data); err != nil {
		return err
	}
	if err := os.Remove(pidFile); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// pgPlaces are where systems put server binaries, which is often not on PATH:
// Debian, Red Hat, Homebrew on two kinds of Mac.
var pgPlaces = []string{"/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/opt/homebrew/opt/postgresql*/bin", "/usr/local/opt/postgresql*/bin"}

// findPostgres returns the folder with the server binaries, of the version that
// made the data if there is data, else the newest.
func findPostgres(data string) (string, error) {
	var dirs []string
	for _, pattern := range pgPlaces {
		found, _ := filepath.Glob(pattern)
		sort.Slice(found, func(i, j int) bool { return pgMajor(found[i]) > pgMajor(found[j]) })
		dirs = append(dirs, found...)
	}
	if path, err := exec.LookPath("postgres"); err == nil {
		dirs = append([]string{filepath.Dir(path)}, dirs...)
	}
	want, _ := os.ReadFile(filepath.Join(data, "PG_VERSION"))
	var best string
	for _, dir := range dirs {
		if _, err := exec.LookPath(filepath.Join(dir, "initdb")); err != nil {
			continue
		}
		if best == "" || (len(want) > 0 && strconv.Itoa(pgMajor(dir)) == strings.TrimSpace(string(want))) {
			best = dir
		}
	}
	if best == "" {
		return "", errors.New("devstack: postgres: " + postgresMissing)
	}
	return best, nil
}

// pgMajor reads the major version out of a path such as /usr/lib/postgresql/15/bin.
func pgMajor(dir string) int {
	name := filepath.Base(filepath.Dir(dir))
	n, _ := strconv.Atoi(name[strings.LastIndexAny(name, "-@")+1:]) // 0 if it names none
	return n
}
