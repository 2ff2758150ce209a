package devstack

import (
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
)

// Ports are taken from below the range the kernel hands to outgoing connections:
// while a killed server is down, no client socket can slip onto its port.
const firstPort, lastPort = 20000, 32000

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
		// Keep it open until all are found, or the same one could come twice.
		defer l.Close()
		ports = append(ports, port)
	}
	return ports, nil
}

func loopback(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }
