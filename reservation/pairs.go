package reservation

import "sync"

// pairKey is two shards of a sale, the source in one generation.
type pairKey struct {
	sale     uint32
	epoch    int64
	from, to int
}

// pairs remembers the number of the last transfer of each pair that this node
// has seen. It spares a call; a number that is behind is corrected by the answer.
type pairs struct {
	mu      sync.Mutex
	numbers map[pairKey]int64
}

func (p *pairs) last(k pairKey) int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.numbers[k]
}

func (p *pairs) note(k pairKey, number int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.numbers == nil {
		p.numbers = map[pairKey]int64{}
	}
	p.numbers[k] = max(p.numbers[k], number)
}
