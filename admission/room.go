package admission

import (
	"errors"
	"fmt"
	"time"
)

// Room names one waiting room: a sale's, in one generation. The epoch rises when
// the room had to be made anew, and whatever is of another one is refused.
type Room struct {
	Sale  uint32 // the sale's number
	ID    string // the sale's public id, which the commitment names
	Epoch int64  // from 1 to the most that 32 bits hold
}

// Terms are what is fixed when a room is armed.
type Terms struct {
	Seed Seed
	// OpensAt is T0, by Redis' clock: the first call at or after it fixes N, whoever
	// makes it. Zero: Start does.
	OpensAt time.Time
	// Lease is how long a place that was reached may be claimed.
	Lease time.Duration
	// Use is how long an admission may be used once it was claimed.
	Use time.Duration
}

func (r Room) validate() error {
	switch {
	case r.ID == "":
		return errors.New("admission: a room needs the sale's id")
	case r.Epoch < 1 || r.Epoch >= 1<<32:
		return fmt.Errorf("admission: epoch %d is not between 1 and %d", r.Epoch, int64(1<<32-1))
	}
	return nil
}

func (t Terms) validate() error {
	switch {
	case t.Seed == Seed{}:
		return errors.New("admission: the seed is all zeros, so nobody drew it")
	case t.Lease < time.Millisecond || t.Use < time.Millisecond:
		return fmt.Errorf("admission: lease %s and use %s must be a millisecond or more", t.Lease, t.Use)
	}
	return nil
}
