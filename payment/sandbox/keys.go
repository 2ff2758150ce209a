package sandbox

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"sync"
	"time"
)

// keyLife is how long an Idempotency-Key is remembered.
const keyLife = 24 * time.Hour

// keyed is what is known of an Idempotency-Key. Instead of the bytes of the
// answer it keeps what the answer was written from; an intent never changes in
// place, so writing it again gives the same bytes.
type keyed struct {
	print   fingerprint
	at      int64 // Unix seconds
	intent  *Intent
	problem *Problem
	refund  string
	done    bool // false: a crash cut the request short before it was answered
}

// fingerprint is equal for equal requests.
type fingerprint [16]byte

// MarshalText is how the journal keeps it.
func (f fingerprint) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, f[:]), nil }

// UnmarshalText reads what MarshalText wrote.
func (f *fingerprint) UnmarshalText(b []byte) error {
	if len(b) != hex.EncodedLen(len(f)) {
		return errors.New("a fingerprint has 32 hexadecimal digits")
	}
	_, err := hex.Decode(f[:], b)
	return err
}

func digest(b []byte) (f fingerprint) {
	sum := sha256.Sum256(b)
	copy(f[:], sum[:])
	return f
}

// keyring holds the keys of the last day, oldest forgotten first when there are
// too many. Server.mu guards it.
type keyring struct {
	known map[string]keyed
	queue []string // oldest first; one that was put again is here once
}

func (k *keyring) put(r record, most int) {
	if _, again := k.known[r.Key]; !again {
		k.queue = append(k.queue, r.Key)
	}
	k.known[r.Key] = keyed{print: r.Print, at: r.At, intent: r.Intent, problem: r.Problem, refund: r.Refund, done: r.Done || r.Answer != nil}
	for len(k.queue) > most || r.At-k.known[k.queue[0]].at > int64(keyLife/time.Second) {
		delete(k.known, k.queue[0])
		k.queue[0] = ""
		k.queue = k.queue[1:]
	}
}

// recall answers a request whose key was used before; ok is false if it was
// not. s.mu is held.
func (s *Server) recall(key string, mark fingerprint) (r result, ok bool) {
	k, known := s.keys.known[key]
	if !known || s.config.Now().Unix()-k.at > int64(keyLife/time.Second) {
		return result{}, false
	}
	if k.print != mark {
		return refuse(&Problem{Type: "idempotency_error", Message: "this Idempotency-Key was used with other parameters"}), true
	}
	r = result{intent: k.intent, problem: k.problem, refund: k.refund}
	if !k.done {
		in, err := s.intent(k.intent.ID)
		if err != nil {
			return failed(err), true
		}
		r = outcomeOf(in)
	}
	r.replayed = true
	return r, true
}

// inFlight are the keys of requests that are being worked on.
type inFlight struct {
	mu   sync.Mutex
	keys map[string]struct{}
}

// enter claims key, unless another request has it.
func (f *inFlight) enter(key string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, busy := f.keys[key]; busy {
		return false
	}
	f.keys[key] = struct{}{}
	return true
}

func (f *inFlight) leave(key string) {
	f.mu.Lock()
	delete(f.keys, key)
	f.mu.Unlock()
}

func keyInUse() *Problem {
	return invalid("", "idempotency_key_in_use", "a request with this Idempotency-Key is in progress")
}
