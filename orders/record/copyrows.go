package record

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"io"
	"time"

	"github.com/jackc/pgx/v5"
)

// copyIn sends n rows by binary COPY. They are encoded by hand and while the
// server works on those before: pgx' CopyFrom first asks for the columns' types
// and then looks every value's up, which takes longer than the rows do.
func copyIn(ctx context.Context, tx pgx.Tx, sql string, n int, row func(*copyRow, int) error) error {
	_, err := tx.Conn().PgConn().CopyFrom(ctx, &copyReader{n: n, row: row}, sql+" FROM STDIN (FORMAT binary)")
	return err
}

// copyHead begins a binary COPY, copyTail ends it.
const (
	copyHead = "PGCOPY\n\xff\r\n\x00\x00\x00\x00\x00\x00\x00\x00\x00"
	copyTail = "\xff\xff"
)

// copyChunk is about how much is encoded at a time.
const copyChunk = 32 << 10

type copyReader struct {
	n, at int
	row   func(*copyRow, int) error
	buf   copyRow
	left  []byte // of buf, not read yet
	began bool
	ended bool
}

func (r *copyReader) Read(p []byte) (int, error) {
	if len(r.left) == 0 {
		if err := r.fill(); err != nil {
			return 0, err
		}
	}
	n := copy(p, r.left)
	r.left = r.left[n:]
	return n, nil
}

func (r *copyReader) fill() error {
	if r.ended {
		return io.EOF
	}
	r.buf.b = r.buf.b[:0]
	if !r.began {
		r.began, r.buf.b = true, append(r.buf.b, copyHead...)
	}
	for ; r.at < r.n && len(r.buf.b) < copyChunk; r.at++ {
		if err := r.row(&r.buf, r.at); err != nil {
			return err
		}
	}
	if r.at == r.n {
		r.ended, r.buf.b = true, append(r.buf.b, copyTail...)
	}
	r.left = r.buf.b
	return nil
}

// copyRow writes the fields of a row, in the binary form of their types.
type copyRow struct{ b []byte }

func (r *copyRow) begin(columns int) { r.b = binary.BigEndian.AppendUint16(r.b, uint16(columns)) }

func (r *copyRow) size(n int) { r.b = binary.BigEndian.AppendUint32(r.b, uint32(n)) }

func (r *copyRow) bytes(v []byte) {
	r.size(len(v))
	r.b = append(r.b, v...)
}

func (r *copyRow) text(v string) {
	r.size(len(v))
	r.b = append(r.b, v...)
}

func (r *copyRow) int2(v uint16) {
	r.size(2)
	r.b = binary.BigEndian.AppendUint16(r.b, v)
}

func (r *copyRow) int8(v int64) {
	r.size(8)
	r.b = binary.BigEndian.AppendUint64(r.b, uint64(v)) // two's complement is the form
}

// pgEpoch is where Postgres' time begins.
var pgEpoch = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC).UnixMicro()

func (r *copyRow) time(v time.Time) { r.int8(v.UnixMicro() - pgEpoch) }

// jsonVersion is what a jsonb value begins with.
const jsonVersion = 1

func (r *copyRow) json(v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	r.size(1 + len(text))
	r.b = append(append(r.b, jsonVersion), text...)
	return nil
}
