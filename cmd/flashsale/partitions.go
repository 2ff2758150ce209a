package main

import (
	"context"
	"time"
)

// Orders are kept by month. Partitions are made well before their month begins;
// one that could not be made leaves its orders to the default partition.
const (
	partitionsAhead = 2 // months
	partitionsEvery = time.Hour
	partitionsRetry = time.Minute
)

// partitions makes the months' partitions ahead of time.
func (n *node) partitions(ctx context.Context) error {
	for {
		pause := partitionsEvery
		made, err := n.db.MakePartitions(ctx, partitionsAhead)
		switch {
		case err != nil && ctx.Err() == nil:
			pause = partitionsRetry
			n.log.Warn("partitions of orders could not be made; the default partition takes what has none", "err", err)
		case made > 0:
			n.log.Info("partitions of orders were made", "made", made)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
	}
}
