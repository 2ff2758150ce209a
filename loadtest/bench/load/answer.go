package load

import (
	"bytes"
	"strconv"
)

// answer is a whole answer in a connection's buffer.
type answer struct {
	status int
	body   []byte
	good   int // Script: replies that say accepted
}

var (
	headEnd    = []byte("\r\n\r\n")
	lastChunk  = []byte("\r\n0\r\n\r\n")
	lengthName = []byte("content-length:")
	chunked    = []byte("transfer-encoding: chunked")
)

// readHTTP says whether b is a whole answer; ok is false while it is not.
// A connection has one request under way, so the answer ends where b ends.
func readHTTP(b []byte) (a answer, ok bool) {
	end := bytes.Index(b, headEnd)
	if end < 0 || len(b) < 12 {
		return a, false
	}
	a.status, _ = strconv.Atoi(string(b[9:12]))
	head := b[:end+2]
	a.body = b[end+4:]
	if a.status == 204 {
		return a, true
	}
	if n, has := length(head); has {
		return a, len(a.body) >= n
	}
	if bytes.Contains(bytes.ToLower(head), chunked) {
		if !bytes.HasSuffix(a.body, lastChunk) && !bytes.Equal(a.body, lastChunk[2:]) {
			return a, false
		}
		a.body = joined(a.body)
		return a, true
	}
	return a, true // nothing says how long: the status is all that is counted
}

// joined takes a whole body out of its chunks, in place: what is looked for in it
// may lie across two of them.
func joined(b []byte) []byte {
	out := b[:0]
	for {
		end := bytes.IndexByte(b, '\n')
		if end < 1 {
			return out
		}
		size, err := strconv.ParseUint(string(bytes.TrimSpace(b[:end])), 16, 31)
		b = b[end+1:]
		if err != nil || size == 0 || uint64(len(b)) < size+2 {
			return out
		}
		out = append(out, b[:size]...)
		b = b[size+2:]
	}
}

// length reads Content-Length, which comes as any server likes to spell it.
func length(head []byte) (int, bool) {
	for len(head) > 0 {
		line := head
		if i := bytes.IndexByte(head, '\n'); i >= 0 {
			line, head = head[:i], head[i+1:]
		} else {
			head = nil
		}
		if len(line) > len(lengthName) && line[0]|0x20 == 'c' && bytes.EqualFold(line[:len(lengthName)], lengthName) {
			n, err := strconv.Atoi(string(bytes.TrimSpace(line[len(lengthName):])))
			return n, err == nil
		}
	}
	return 0, false
}

// readScript counts replies of script A: each is an array of three integers, the
// first of them 1 for a hold. want is how many make a whole answer.
func readScript(b []byte, want int) (a answer, ok bool) {
	replies, line := 0, 0
	for len(b) > 0 {
		end := bytes.IndexByte(b, '\n')
		if end < 0 {
			return a, false
		}
		if b[0] == '-' {
			return answer{status: 500, body: b}, true
		}
		if line == 1 && string(b[:end]) == ":1\r" {
			a.good++
		}
		b = b[end+1:]
		if line++; line == 4 {
			replies, line = replies+1, 0
		}
	}
	a.status = 200
	return a, replies == want && line == 0
}
