package reservation

import (
	"context"
	"embed"
	"encoding/binary"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/flashsale-engine/flashsale/engine"
	"github.com/flashsale-engine/flashsale/internal/redisdb"
)

//go:embed lua/*.lua
var luaFiles embed.FS

// The gate's script, part by part; the control scripts are a file each. What the
// crowd does not need is a function of its own: the many small ones in it find
// what they share with it in one place, which halves what it costs to set up.
var (
	gateScript = newScript(constants(parts("bytes", "terms", "reads", "crowd") + "return (function()\n" +
		parts("stock", "record", "settle", "logs", "hold", "moves", "run", "write") + "end)()\n"))
	createScript  = assemble("create")
	installScript = assemble("install")
	restockScript = assemble("restock")
)

func assemble(names ...string) *script { return newScript(parts(names...)) }

func parts(names ...string) string { return redisdb.Parts(luaFiles, names...) }

var (
	constantLine = regexp.MustCompile(`(?m)^local ([A-Z][A-Z0-9_]*(?:, [A-Z][A-Z0-9_]*)*) = (-?[0-9]+(?:, -?[0-9]+)*)(?: --.*)?$`)
	capitals     = regexp.MustCompile(`\b[A-Z][A-Z0-9_]*\b`)
)

// constants puts numbers in the place of their names. Lua 5.1 knows no constants,
// and each local that a function sees from outside costs every call something.
func constants(script string) string {
	value := map[string]string{}
	script = constantLine.ReplaceAllStringFunc(script, func(line string) string {
		m := constantLine.FindStringSubmatch(line)
		numbers := strings.Split(m[2], ", ")
		for i, name := range strings.Split(m[1], ", ") {
			value[name] = numbers[i]
		}
		return ""
	})
	return capitals.ReplaceAllStringFunc(script, func(word string) string {
		if number, ok := value[word]; ok {
			return number
		}
		return word
	})
}

// run calls a script under the lease of a shard: by the digest of that lease's
// server, and after a look at the server if it does not know the digest. It is
// the only way that this package writes to the gate.
func (g *Gate) run(ctx context.Context, name string, x *script, k keys, l engine.GateLease, args ...any) (any, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), g.opt.CallTimeout)
	defer cancel()
	began := time.Now()
	var v any
	err := errDoubted
	if g.trusts(l.Server, began) {
		v, err = g.client.EvalSha(ctx, x.digest(l.Server), k.all, args...).Result()
	}
	if err == errDoubted || redis.HasErrorPrefix(err, "NOSCRIPT") { //nolint:errorlint // it is set above
		v, err = g.introduce(ctx, x, k, l, args...)
	}
	g.metrics.call(name, time.Since(began))
	if err != nil {
		g.doubt(l.Server, err)
		return nil, g.failed(k, err)
	}
	return v, nil
}

// replyHead is how many numbers precede the answers; see lua/run.lua.
const replyHead = 6

// decided is the script's whole reply.
type decided struct {
	seqBefore uint64
	expired   int
	more      bool
	overdue   []engine.Hold
}

// decide runs the gate's script over operations of one sale, shard and lease,
// fills in their answers, and lets a reaper end at most reap holds.
func (g *Gate) decide(ctx context.Context, saleNo uint32, shard int, l engine.GateLease, ops []*op, reap int) (decided, error) {
	name := "batch"
	if reap > 0 {
		name = "reap"
	}
	asked := g.soldOut.now()
	v, err := g.run(ctx, name, gateScript, keysOf(saleNo, shard), l, arguments(l.Epoch, ops, reap)...)
	if err != nil {
		return decided{}, err
	}
	d, err := read(v, saleNo, ops)
	if err != nil {
		// It ran, and what it did is not known here.
		return d, engine.Wrap(fmt.Errorf("%w: %w", engine.ErrUnknown, err), engine.CodeInternal, "the gate's reply")
	}
	g.soldOut.heard(saleNo, shard, l, ops, asked, d)
	return d, nil
}

// mostNamed bounds the SKUs that a call names; the script finds the others.
const mostNamed = 256

// packed is an argument of a call that carries a part of every operation: to
// Redis and its Lua an argument costs more than the bytes in it. Unlike a slice,
// a pointer goes into an interface without an allocation.
type packed struct{ b []byte }

func (p *packed) MarshalBinary() ([]byte, error) { return p.b, nil }

// arguments lays out ARGV as lua/terms.lua says. The script trusts the sums.
func arguments(epoch int64, ops []*op, reap int) []any {
	var room [16]engine.Line
	named, most := room[:0], 0
	size, all, crowd := 0, true, true
	for _, o := range ops {
		size += len(o.body)
		crowd = crowd && o.kind == opHold
		units := 0
	next:
		for _, l := range o.lines {
			units += l.Quantity
			for i := range named {
				if named[i].No == l.No {
					named[i].Quantity += l.Quantity
					continue next
				}
			}
			if len(named) == mostNamed {
				all = false
				continue
			}
			named = append(named, l)
		}
		most = max(most, units)
	}
	if !all {
		most = 0
	} else if !crowd {
		most = -most
	}
	text := make([]byte, 0, 2*len(named)+8*len(ops)+size)
	for _, l := range named {
		text = append(text, byte(l.Quantity>>8), byte(l.Quantity))
	}
	if most > 0 {
		text = appendTwice(text, ops)
	}
	sums := len(text)
	for _, o := range ops {
		text = append(text, o.buyer[:]...)
	}
	buyers := len(text)
	for i, o := range ops {
		if o.kind == opHold {
			o.body[10] = byte(i) // its place in the call
		}
		text = append(text, o.body...)
	}
	parts := &[3]packed{{text[:sums]}, {text[sums:buyers]}, {text[buyers:]}}
	args := make([]any, 0, 7+len(named))
	args = append(args, epoch, reap, len(ops), most, &parts[0], &parts[1], &parts[2])
	for _, l := range named {
		args = append(args, uint64(l.No))
	}
	return args
}

// appendTwice names each operation whose buyer has one before it in the call: its
// place, and that of the buyer's first.
func appendTwice(text []byte, ops []*op) []byte {
	var seen [4 * maxBatch]uint16 // by the key's first bytes, which are as good as random
	for i, o := range ops {
		at := binary.BigEndian.Uint16(o.buyer[:])
		for ; ; at++ {
			place := &seen[at%uint16(len(seen))]
			if *place == 0 {
				*place = uint16(i + 1)
				break
			}
			if first := *place - 1; ops[first].buyer == o.buyer {
				text = append(text, byte(i), byte(first))
				break
			}
		}
	}
	return text
}

// ofCrowd stands for "more to do" in a reply that names only what is no new hold;
// see lua/crowd.lua.
const ofCrowd = -1

// read takes the script's reply apart.
func read(v any, saleNo uint32, ops []*op) (d decided, err error) {
	all, ok := v.([]any)
	if !ok || len(all) < replyHead {
		return d, fmt.Errorf("reservation: a reply of %d parts to %d operations", len(all), len(ops))
	}
	var head [replyHead]int64
	for i := range head {
		if head[i], ok = all[i].(int64); !ok {
			return d, fmt.Errorf("reservation: the reply's part %d is a %T", i, all[i])
		}
	}
	r := reading{saleNo: saleNo, now: head[0], seqBefore: head[1], deadline: head[2], capMS: head[3]}
	d.seqBefore, d.expired, d.more = uint64(head[1]), int(head[4]), head[5] > 0
	all = all[replyHead:]
	if head[5] == ofCrowd {
		return d, r.crowd(ops, all)
	}
	if len(all) < len(ops) {
		return d, fmt.Errorf("reservation: %d answers to %d operations", len(all), len(ops))
	}
	for i, o := range ops {
		if err := r.answer(o, all[i]); err != nil {
			return d, err
		}
	}
	for _, v := range all[len(ops):] {
		a, _ := v.(string)
		if len(a) < 8 {
			return d, errRecord
		}
		h, _, err := decodeHold([]byte(a[8:]))
		if err != nil {
			return d, err
		}
		d.overdue = append(d.overdue, h.view(saleNo, engine.BuyerKey([]byte(a[:8])), r.capMS))
	}
	return d, nil
}

// reading is what all answers of a reply have in common.
type reading struct {
	saleNo                          uint32
	now, seqBefore, deadline, capMS int64
}

// crowd fills in the answers of a call of holds: all are made, one seq after the
// other, but for those named, each behind its place.
func (r *reading) crowd(ops []*op, named []any) error {
	made := int64(0)
	for i, o := range ops {
		if len(named) > 1 && named[0] == int64(i) {
			if err := r.answer(o, named[1]); err != nil {
				return err
			}
			named = named[2:]
			continue
		}
		made++
		r.made(o, made)
	}
	if len(named) > 0 {
		return fmt.Errorf("reservation: %d parts of a reply belong to none of %d holds", len(named), len(ops))
	}
	return nil
}

// made is a new hold, the k-th decision of its call.
func (r *reading) made(o *op, k int64) {
	h := hold{nonce: o.nonce, state: stateHeld, lines: o.lines, created: r.now, deadline: r.deadline, seq: uint64(r.seqBefore + k)}
	o.answer.hold = h.view(r.saleNo, o.buyer, r.capMS)
}

// answer reads one answer of lua/run.lua.
func (r *reading) answer(o *op, v any) error {
	switch a := v.(type) {
	case int64:
		if a > 0 {
			r.made(o, a)
			return nil
		}
		o.answer.refusal, o.answer.hold.Seq = -(-a % 16), uint64(r.seqBefore+-a/16)
		return nil
	case string:
		if len(a) == 0 {
			return errRecord
		}
		h, rest, err := decodeHold([]byte(a[1:]))
		if err != nil {
			return err
		}
		o.answer.hold = h.view(r.saleNo, o.buyer, r.capMS)
		o.answer.hold.Replayed = a[0] == '1'
		o.answer.entryID = string(rest)
		return nil
	default:
		return fmt.Errorf("reservation: an answer is a %T", v)
	}
}
