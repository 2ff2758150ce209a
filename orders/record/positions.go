package record

import (
	"context"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Positions gives where the record stands in partitions of a topic, and makes
// rows for those it has not seen. topicID is Kafka's id of the topic ("": not
// known): a topic that was deleted and made again is read from its beginning.
func (l *Ledger) Positions(ctx context.Context, topic, topicID string, partitions []int32) (map[int32]int64, error) {
	partitions = slices.Clone(partitions)
	slices.Sort(partitions)
	var out map[int32]int64
	err := l.db.tx(ctx, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `
			INSERT INTO stream_offsets AS s (topic, partition, topic_id, next_offset)
			SELECT $1, p, $2, 0 FROM unnest($3::int[]) AS p
			ON CONFLICT (topic, partition) DO UPDATE SET
				topic_id = excluded.topic_id,
				next_offset = CASE WHEN s.topic_id = '' THEN s.next_offset ELSE 0 END,
				updated_at = now()
			WHERE s.topic_id <> excluded.topic_id AND excluded.topic_id <> ''`, topic, topicID, partitions)
		if err != nil {
			return err
		}
		out, err = positions(ctx, tx, `SELECT partition, next_offset FROM stream_offsets
			WHERE topic = $1 AND partition = ANY ($2)`, topic, partitions)
		return err
	})
	return out, err
}

// Offsets gives where the record stands in every partition of a topic that it
// has ever read.
func (l *Ledger) Offsets(ctx context.Context, topic string) (out map[int32]int64, err error) {
	err = l.db.with(ctx, reading, func(c *pgxpool.Conn) error {
		out, err = positions(ctx, c, `SELECT partition, next_offset FROM stream_offsets WHERE topic = $1`, topic)
		return err
	})
	return out, err
}

// lockPositions locks the batch's partitions, in their order.
func lockPositions(ctx context.Context, tx pgx.Tx, b Batch) (map[int32]int64, error) {
	return positions(ctx, tx, lockPositionsSQL, b.Topic, b.partitions())
}

const lockPositionsSQL = `SELECT partition, next_offset FROM stream_offsets
	WHERE topic = $1 AND partition = ANY ($2) ORDER BY partition FOR UPDATE`

func (b Batch) partitions() []int32 {
	out := make([]int32, 0, len(b.From))
	for p := range b.From {
		out = append(out, p)
	}
	slices.Sort(out)
	return out
}

func positions(ctx context.Context, q querier, sql string, args ...any) (map[int32]int64, error) {
	rows, err := q.Query(ctx, sql, args...)
	if err != nil {
		return nil, err
	}
	return readPositions(rows)
}

func readPositions(rows pgx.Rows) (map[int32]int64, error) {
	out := map[int32]int64{}
	var p int32
	var next int64
	_, err := pgx.ForEachRow(rows, []any{&p, &next}, func() error { out[p] = next; return nil })
	return out, err
}
