//go:build unix

package api

import (
	"net"
	"syscall"
)

// direct writes to a connection without waiting: what is answered for many
// connections in a row must not wait for the slowest reader.
type direct struct {
	conn  syscall.RawConn // nil: not a socket
	out   []byte
	wrote int
	write func(fd uintptr) bool
}

func (d *direct) open(c net.Conn) {
	s, ok := c.(syscall.Conn)
	if !ok {
		return
	}
	if d.conn, _ = s.SyscallConn(); d.conn != nil {
		d.write = d.once
	}
}

// try writes what the kernel takes at once, and says how much that was. An error
// writes nothing: whoever writes the rest meets it again.
func (d *direct) try(b []byte) int {
	if d.conn == nil {
		return 0
	}
	d.out, d.wrote = b, 0
	_ = d.conn.Write(d.write)
	d.out = nil
	return d.wrote
}

func (d *direct) once(fd uintptr) bool {
	d.wrote = max(0, writeNow(fd, d.out))
	return true
}
