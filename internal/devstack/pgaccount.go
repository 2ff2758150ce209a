package devstack

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
)

// pgAccount is the operating system user Postgres runs as. Postgres refuses to
// run as root, so root lends it another account.
type pgAccount struct {
	name     string
	uid, gid int
	cred     *syscall.Credential // nil: the current user
}

func pgOwner() (pgAccount, error) {
	if os.Geteuid() != 0 {
		return pgAccount{uid: os.Geteuid(), gid: os.Getegid()}, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
		gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
		if err := errors.Join(err1, err2); err != nil || uid == 0 {
			continue
		}
		return pgAccount{name, int(uid), int(gid), &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}, nil
	}
	return pgAccount{}, errors.New("devstack: postgres: it refuses to run as root, and there is no user postgres or nobody to lend it to: run as another user")
}

// ensureData makes s.data a directory that belongs to the account. If the
// account can't walk to it (a home directory is usually closed to others, and
// so are the temporary directories of go test), the data gets a directory of
// its own elsewhere, and s.data is a link to it, which the next run follows.
func (a pgAccount) ensureData(s *server, opt Options) error {
	link := s.data
	if target, err := filepath.EvalSymlinks(link); err == nil && a.canReach(target) {
		s.data = target
		return a.give(target)
	}
	if a.canReach(s.dir) {
		// EvalSymlinks also makes it the name Postgres will report.
		if err := os.MkdirAll(link, 0o700); err != nil {
			return err
		}
		target, err := filepath.EvalSymlinks(link)
		if err != nil {
			return err
		}
		s.data = target
		return a.give(target)
	}
	if st, err := os.Stat(link); err == nil && st.IsDir() && !isLink(link) {
		return fmt.Errorf("user %s can't reach the data in %s: make its parents searchable (chmod o+x), or choose another data directory", a.name, link)
	}
	elsewhere, err := a.makeElsewhere(opt.Ephemeral)
	if err != nil {
		return err
	}
	if err := os.Remove(link); err != nil && !errors.Is(err, os.ErrNotExist) { // a link to data that is gone
		return err
	}
	if err := os.Symlink(elsewhere, link); err != nil {
		return err
	}
	s.data = elsewhere
	return a.give(elsewhere)
}

// makeElsewhere makes a directory where everybody may walk: one that survives a
// reboot for data to keep.
func (a pgAccount) makeElsewhere(ephemeral bool) (string, error) {
	var err error
	for _, parent := range []string{"/var/tmp", os.TempDir()} {
		if ephemeral && parent != os.TempDir() {
			continue
		}
		var dir string
		if !a.canReach(parent) {
			err = errors.Join(err, fmt.Errorf("user %s can't reach %s", a.name, parent))
			continue
		}
		if dir, err = os.MkdirTemp(parent, "flashsale-postgres-"); err == nil {
			return filepath.EvalSymlinks(dir)
		}
	}
	return "", fmt.Errorf("no place for data that user %s can reach: choose a data directory whose parents are searchable (chmod o+x): %w", a.name, err)
}

func (a pgAccount) give(dir string) error {
	if err := os.Chmod(dir, 0o700); err != nil { //nolint:gosec // a directory: 0700 is what Postgres insists on
		return err
	}
	if a.cred == nil {
		return nil
	}
	return os.Chown(dir, a.uid, a.gid)
}

// canReach says if the account may search every directory down to path.
func (a pgAccount) canReach(path string) bool {
	if a.cred == nil {
		return true // what we can make, we can use
	}
	target, err := filepath.EvalSymlinks(path)
	if err != nil {
		return false
	}
	for dir := target; ; dir = filepath.Dir(dir) {
		st, err := os.Stat(dir)
		if err != nil || !a.maySearch(st) {
			return false
		}
		if dir == filepath.Dir(dir) {
			return true
		}
	}
}

func (a pgAccount) maySearch(st os.FileInfo) bool {
	mode := st.Mode().Perm()
	if sys, ok := st.Sys().(*syscall.Stat_t); ok {
		switch {
		case int(sys.Uid) == a.uid:
			return mode&0o100 != 0
		case int(sys.Gid) == a.gid:
			return mode&0o010 != 0
		}
	}
	return mode&0o001 != 0
}

// note tells the user where the data went, if it isn't where they said.
func (a pgAccount) note(s *server) string {
	if isLink(filepath.Join(s.dir, "data")) {
		return fmt.Sprintf("data is in %s, because user %s can't reach %s", s.data, a.name, s.dir)
	}
	return ""
}

func isLink(path string) bool {
	st, err := os.Lstat(path)
	return err == nil && st.Mode()&os.ModeSymlink != 0
}
