package api

import (
	"io"
	"net"
	"sync"
	"syscall"
)

// inbound reads what a connection sends into a buffer that another connection has
// just used. A crowd has more connections than a processor's cache has room for
// their buffers: what is taken the quick way is done with when it has been looked
// at, and need not pass through memory that was last touched thousands of
// requests ago.
type inbound struct {
	conn syscall.RawConn // nil: not a socket, or not Unix
	read func(fd uintptr) bool
	most int
	into *[inboundRoom]byte // what was read, until it is given back
	n    int
}

// inboundRoom is what fasthttp's own buffer has.
const inboundRoom = 4096

var inbounds = sync.Pool{New: func() any { return new([inboundRoom]byte) }}

func (in *inbound) open(c net.Conn) {
	s, ok := c.(syscall.Conn)
	if !ok || !canReadNow {
		return
	}
	if in.conn, _ = s.SyscallConn(); in.conn != nil {
		in.read = in.once
	}
}

// take waits for something to read, at most bytes of it. Whoever gets any gives
// them back. Neither bytes nor an error: reading failed, and will again.
func (in *inbound) take(most int) ([]byte, error) {
	in.most, in.n = min(most, inboundRoom), -1
	err := in.conn.Read(in.read)
	switch {
	case err != nil:
		return nil, err
	case in.n == 0:
		return nil, io.EOF
	case in.n < 0:
		return nil, nil
	}
	return in.into[:in.n], nil
}

func (in *inbound) giveBack() {
	inbounds.Put(in.into)
	in.into = nil
}

func (in *inbound) once(fd uintptr) bool {
	b := inbounds.Get().(*[inboundRoom]byte)
	n, again := readNow(fd, b[:in.most])
	if n <= 0 {
		inbounds.Put(b)
		in.n = n
		return !again
	}
	in.into, in.n = b, n
	return true
}
