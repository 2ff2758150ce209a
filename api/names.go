package api

import (
	"maps"
	"sync"
	"sync/atomic"
)

// names keeps the ids of sales that were sold from, so that a crowd's every
// request does not make a string of the same few bytes.
type names struct {
	mu   sync.Mutex
	have atomic.Pointer[map[string]string]
}

const mostNames = 1024

// of gives b as a string.
func (n *names) of(b []byte) string {
	if have := n.have.Load(); have != nil {
		if name, ok := (*have)[string(b)]; ok {
			return name
		}
	}
	return string(b)
}

// keep remembers a name.
func (n *names) keep(name string) {
	have := n.have.Load()
	if have != nil {
		if _, ok := (*have)[name]; ok || len(*have) >= mostNames {
			return
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	next := map[string]string{}
	if have = n.have.Load(); have != nil {
		next = maps.Clone(*have)
	}
	next[name] = name
	n.have.Store(&next)
}
