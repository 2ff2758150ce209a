package reservation

import (
	"context"
	"embed"
	"fmt"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/flashsale-engine/flashsale/engine"
)

//go:embed lua/*.lua
var luaFiles embed.FS

// The gate's script, part by part; the control scripts are a file each.
var (
	gateScript    = assemble("bytes", "terms", "reads", "fresh", "stock", "record", "settle", "logs", "hold", "moves", "run", "write")
	createScript  = assemble("create")
	installScript = assemble("install")
	restockScript = assemble("restock")
)

func assemble(parts ...string) *redis.Script {
	var b strings.Builder
	for _, p := range parts {
		text, err := luaFiles.ReadFile("lua/" + p + ".lua")
		if err != nil {
			panic(err) // embedded: cannot be missing
		}
		b.Write(text)
		b.WriteByte('\n')
	}
	return redis.NewScript(b.String())
}

// run calls a script by its digest, and once more with its text if Redis has
// forgotten it. It is the only way that this package writes to the gate.
func (g *Gate) run(ctx context.Context, name string, script *redis.Script, k keys, args ...any) (any, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), g.opt.CallTimeout)
	defer cancel()
	began := time.Now()
	v, err := script.Run(ctx, g.client, k.all, args...).Result()
	g.metrics.call(name, time.Since(began))
	if err != nil {
		return nil, classify(err)
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

// decide runs the gate's script over operations of one sale, shard and epoch,
// fills in their answers, and lets a reaper end at most reap holds.
func (g *Gate) decide(ctx context.Context, saleNo uint32, shard int, epoch int64, ops []*op, reap int) (decided, error) {
	name := "batch"
	if reap > 0 {
		name = "reap"
	}
	asked := g.soldOut.now()
	v, err := g.run(ctx, name, gateScript, keysOf(saleNo, shard), arguments(epoch, ops, reap)...)
	if err != nil {
		return decided{}, err
	}
	d, err := read(v, saleNo, ops)
	if err != nil {
		// It ran, and what it did is not known here.
		return d, engine.Wrap(fmt.Errorf("%w: %w", engine.ErrUnknown, err), engine.CodeInternal, "the gate's reply")
	}
	g.soldOut.heard(saleNo, shard, epoch, ops, asked, d)
	return d, nil
}

// mostNamed bounds the SKUs that a call names; the script finds the others.
const mostNamed = 256

// arguments lays out ARGV as lua/terms.lua says. The script trusts the sums.
func arguments(epoch int64, ops []*op, reap int) []any {
	var room [16]engine.Line
	named, most := room[:0], 0
	plain := len(ops) > 0
	for _, o := range ops {
		plain = plain && o.kind == opHold
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
				plain = false
				continue
			}
			named = append(named, l)
		}
		most = max(most, units)
	}
	if !plain {
		most = 0
	}
	args := make([]any, 0, 5+2*len(named)+2*len(ops))
	args = append(args, epoch, reap, len(ops), len(named), most)
	for _, l := range named {
		args = append(args, uint64(l.No))
	}
	for _, l := range named {
		args = append(args, l.Quantity)
	}
	for _, o := range ops {
		args = append(args, (*buyerArg)(o))
	}
	for i, o := range ops {
		if o.kind == opHold {
			o.body[10] = byte(i) // its place in the call
		}
		args = append(args, (*bodyArg)(o))
	}
	return args
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
