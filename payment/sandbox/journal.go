package sandbox

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
)

// record is one line of the journal: an intent as it is from now on and, where
// an Idempotency-Key came with the change, the key and what its answer is made
// of.
//
// The journal is append-only JSON lines, each handed to the operating system
// before the answer leaves, so a killed process loses nothing. It is not synced
// to disk: a machine that loses power may lose its last lines, which a sandbox
// may. How the sandbox was told to misbehave is not kept, nor are webhooks that
// were not delivered: like a provider's, they are a hint, not the truth.
type record struct {
	Intent  *Intent     `json:"intent"`
	Key     string      `json:"key,omitempty"`
	Print   fingerprint `json:"print,omitzero"`
	At      int64       `json:"at,omitempty"`      // when the key was used, Unix seconds
	Done    bool        `json:"done,omitempty"`    // the request came to its answer; false: it is under way
	Problem *Problem    `json:"problem,omitempty"` // the answer is this error
	Refund  string      `json:"refund,omitempty"`  // the answer is this refund
	Answer  *struct{}   `json:"answer,omitempty"`  // how older journals say done
}

type journal struct {
	file   *os.File
	broken error // a write failed and may have left half a line: nothing may follow it
}

// openJournal reads the records of path into load and opens it for more. A last
// line without its newline is what a kill left of one: it is cut off.
func openJournal(path string, load func(record) error) (*journal, error) {
	data, err := os.ReadFile(path)
	if err != nil && !os.IsNotExist(err) {
		return nil, err
	}
	whole := data[:bytes.LastIndexByte(data, '\n')+1]
	for n, rest := 1, whole; len(rest) > 0; n++ {
		var line []byte
		line, rest, _ = bytes.Cut(rest, []byte{'\n'})
		var r record
		if err := json.Unmarshal(line, &r); err != nil {
			return nil, fmt.Errorf("%s line %d: %w", path, n, err)
		}
		if err := load(r); err != nil {
			return nil, fmt.Errorf("%s line %d: %w", path, n, err)
		}
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	if len(whole) < len(data) {
		if err := f.Truncate(int64(len(whole))); err != nil {
			_ = f.Close()
			return nil, err
		}
	}
	return &journal{file: f}, nil
}

// add writes one record; nil writes nothing, for a sandbox without a file.
func (j *journal) add(r record) error {
	if j == nil {
		return nil
	}
	if j.broken != nil {
		return j.broken
	}
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	_, j.broken = j.file.Write(append(b, '\n'))
	return j.broken
}

func (j *journal) close() error {
	if j == nil {
		return nil
	}
	return j.file.Close()
}
