package devstack

import (
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
)

// Ports are taken from below the range the kernel hands to outgoing connections:
// while a killed server is down, no client socket can slip onto its port.
const firstPort, lastPort = 20000, 32000

// handed are the ports that this process has given out. Whoever listened there may
// be down, and be started again at the same place: nobody else is given it.
var handed = struct {
	sync.Mutex
	ports map[int]bool
}{ports: map[int]bool{}}

// hand says whether a port is the caller's from now on.
func hand(port int) bool {
	handed.Lock()
	defer handed.Unlock()
	if handed.ports[port] {
		return false
	}
	if len(handed.ports) > (lastPort-firstPort)/2 { // the first of them are long forgotten
		clear(handed.ports)
	}
	handed.ports[port] = true
	return true
}

// freePorts finds n ports nobody listens on right now. Somebody may be faster
// than the child; the caller tries again then.
func freePorts(n int) ([]int, error) {
	var ports []int
	for try := 0; len(ports) < n; try++ {
		port := firstPort + rand.IntN(lastPort-firstPort) //nolint:gosec // no secret: spreads parallel test processes
		l, err := net.Listen("tcp", loopback(port))
		if err != nil {
			if try > 100 {
				return nil, fmt.Errorf("no free port between %d and %d: %w", firstPort, lastPort, err)
			}
			continue
		}
		_ = l.Close()
		if hand(port) {
			ports = append(ports, port)
		}
	}
	return ports, nil
}

func loopback(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }
