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
)

//go:embed lua/*.lua
var luaFiles embed.FS

// The gate's script, part by part; the control scripts are a file each. What the
// crowd does not need is a function of its own: the many small ones in it find
// what they share with it in one place, which halves what it costs to set up.
var (
	gateScript = newScript(constants(parts("bytes", "terms", "reads", "fresh") + "return (function()\n" +
		parts("stock", "record", "settle", "logs", "hold", "moves", "run", "write") + "end)()\n"))
	createScript  = assemble("create")
	installScript = assemble("install")
	restockScript = assemble("restock")
)

func assemble(names ...string) *script { return newScript(parts(names...)) }

func parts(names ...string) string {
	var b strings.Builder
	for _, name := range names {
		text, err := luaFiles.ReadFile("lua/" + name + ".lua")
		if err != nil {
			panic(err) // embedded: cannot be missing
		}
		b.Write(text)
		b.WriteByte('\n')
	}
	return b.String()
}

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
	} else if !crowd || someTwice(ops) {
		most = -most
	}
	text := make([]byte, 0, 2*len(named)+8*len(ops)+size)
	for _, l := range named {
		text = append(text, byte(l.Quantity>>8), byte(l.Quantity))
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

// someTwice reports whether a buyer has several of the operations.
func someTwice(ops []*op) bool {
	var seen [4 * maxBatch]uint16 // by the key's first bytes, which are as good as random
	for i, o := range ops {
		at := binary.BigEndian.Uint16(o.buyer[:])
		for ; ; at++ {
			place := &seen[at%uint16(len(seen))]
			if *place == 0 {
				*place = uint16(i + 1)
				break
			}
			if ops[*place-1].buyer == o.buyer {
				return true
			}
		}
	}
	return false
}

// read takes the script's reply apart.
func read(v any, saleNo uint32, ops []*op) (d decided, err error) {
	all, ok := v.([]any)
	allMade := len(all) == replyHead // every one a hold, in order
	if !ok || !allMade && len(all) < replyHead+len(ops) {
		return d, fmt.Errorf("reservation: a reply of %d parts to %d operations", len(all), len(ops))
	}
	var head [replyHead]int64
	for i := range head {
		if head[i], ok = all[i].(int64); !ok {
			return d, fmt.Errorf("reservation: the reply's part %d is a %T", i, all[i])
		}
	}
	now, seqBefore, deadline, capMS := head[0], head[1], head[2], head[3]
	d.seqBefore, d.expired, d.more = uint64(seqBefore), int(head[4]), head[5] != 0
	made := func(o *op, k int64) {
		h := hold{nonce: o.nonce, state: stateHeld, lines: o.lines, created: now, deadline: deadline, seq: uint64(seqBefore + k)}
		o.answer.hold = h.view(saleNo, o.buyer, capMS)
	}
	for i, o := range ops {
		if allMade {
			made(o, int64(i)+1)
			continue
		}
		switch a := all[replyHead+i].(type) {
		case int64:
			if a <= 0 {
				o.answer.refusal, o.answer.hold.Seq = -(-a % 16), uint64(seqBefore+-a/16)
				continue
			}
			made(o, a)
		case string:
			if len(a) == 0 {
				return d, errRecord
			}
			h, rest, err := decodeHold([]byte(a[1:]))
			if err != nil {
				return d, err
			}
			o.answer.hold = h.view(saleNo, o.buyer, capMS)
			o.answer.hold.Replayed = a[0] == '1'
			o.answer.entryID = string(rest)
		default:
			return d, fmt.Errorf("reservation: answer %d is a %T", i, a)
		}
	}
	if allMade {
		return d, nil
	}
	for _, v := range all[replyHead+len(ops):] {
		a, _ := v.(string)
		if len(a) < 8 {
			return d, errRecord
		}
		h, _, err := decodeHold([]byte(a[8:]))
		if err != nil {
			return d, err
		}
		d.overdue = append(d.overdue, h.view(saleNo, engine.BuyerKey([]byte(a[:8])), capMS))
	}
	return d, nil
}
