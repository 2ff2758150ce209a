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
	have atomic.Pointer[map[string]*soldFrom]
}

// soldFrom is a sale that was sold from.
type soldFrom struct {
	id      string
	refused atomic.Int64 // when somebody was last told sold_out, in Unix seconds
}

const mostNames = 1024

// sale gives what is known of a sale; nil: nothing.
func (n *names) sale(id []byte) *soldFrom {
	if have := n.have.Load(); have != nil {
		return (*have)[string(id)]
	}
	return nil
}

// of gives b as a string.
func (n *names) of(b []byte) string {
	if s := n.sale(b); s != nil {
		return s.id
	}
	return string(b)
}

// keep remembers a sale; nil: there are too many.
func (n *names) keep(id string) *soldFrom {
	if s := n.sale(bytesOf(id)); s != nil {
		return s
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	next := map[string]*soldFrom{}
	if have := n.have.Load(); have != nil {
		if s := (*have)[id]; s != nil || len(*have) >= mostNames {
			return s
		}
		next = maps.Clone(*have)
	}
	s := &soldFrom{id: id}
	next[id] = s
	n.have.Store(&next)
	return s
}

// soldOutLately is how long after a sold_out the next is looked for in what this
// node knows before the gate is asked, in seconds: until then hardly any is there.
const soldOutLately = 2

// refuse notes a sold_out.
func (s *soldFrom) refuse(now int64) {
	if s != nil && s.refused.Load() != now {
		s.refused.Store(now)
	}
}

func (s *soldFrom) lately(now int64) bool { return now-s.refused.Load() <= soldOutLately }
