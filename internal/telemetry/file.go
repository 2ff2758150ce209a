package telemetry

import (
	"errors"
	"io/fs"
	"os"
)

// rotating is a file that does not grow without end: when it is full it takes the
// name with .1 behind it, in the place of the one that had that.
type rotating struct {
	name string
	file *os.File
	size int64
	most int64
}

const fileMost = 64 << 20 // bytes

func openRotating(name string) (*rotating, error) {
	r := &rotating{name: name, most: fileMost}
	return r, r.open()
}

func (r *rotating) open() error {
	f, err := os.OpenFile(r.name, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		return errors.Join(err, f.Close())
	}
	r.file, r.size = f, info.Size()
	return nil
}

// Write appends a line, whole, into one of the two files.
func (r *rotating) Write(line []byte) (int, error) {
	if r.size > 0 && r.size+int64(len(line)) > r.most {
		if err := r.turn(); err != nil {
			return 0, err
		}
	}
	n, err := r.file.Write(line)
	r.size += int64(n)
	return n, err
}

// turn begins a new file. If it cannot, the next line tries again.
func (r *rotating) turn() error {
	if err := r.file.Close(); err != nil && !errors.Is(err, fs.ErrClosed) {
		return err
	}
	err := os.Rename(r.name, r.name+".1")
	return errors.Join(err, r.open())
}

// Close closes the file.
func (r *rotating) Close() error { return r.file.Close() }
