package orders

import "time"

// pace finds how many events a transaction should carry. A full batch is the
// cheapest per order; but one that takes long keeps its locks and its buyers
// waiting, and one that takes longer than CommitTimeout would never end. So the
// limit halves when a batch was slow or had no answer, and doubles while full
// batches are quick. Below the limit a batch is what has come in meanwhile.
type pace struct {
	limit, most int
	slow        time.Duration
}

// leastBatch is the smallest limit: below it a slow record has other reasons.
const leastBatch = 25

func newPace(most int, timeout time.Duration) *pace {
	return &pace{limit: most, most: most, slow: timeout / 10}
}

// wrote tells of a transaction with so many events.
func (p *pace) wrote(events int, took time.Duration) {
	switch {
	case took > p.slow && events > p.limit/2:
		p.halve()
	case took < p.slow/2 && events >= p.limit:
		p.limit = min(2*p.limit, p.most)
	}
}

// unanswered tells of one that was not ended in time.
func (p *pace) unanswered() { p.halve() }

func (p *pace) halve() { p.limit = min(max(p.limit/2, leastBatch), p.most) }
