package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// mutant is one seeded bug.
type mutant struct {
	name, breaks string
	patches      []patch
}

// patch replaces text that occurs once in a file of reservation/.
type patch struct{ file, find, put string }

// patched gives the mutant's files by name, from the module's root.
func (m mutant) patched(root string) (map[string]string, error) {
	files := map[string]string{}
	for _, p := range m.patches {
		name := "reservation/" + p.file
		text, ok := files[name]
		if !ok {
			b, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(name)))
			if err != nil {
				return nil, fmt.Errorf("mutant %s: %w", m.name, err)
			}
			text = string(b)
		}
		if n := strings.Count(text, p.find); n != 1 {
			return nil, fmt.Errorf("mutant %s: %s has its text %d times, not once; the code has moved, so must the mutant:\n%s", m.name, name, n, p.find)
		}
		files[name] = strings.Replace(text, p.find, p.put, 1)
	}
	return files, nil
}

// noConservation takes the last check away, where a bug is to be seen without it.
var noConservation = patch{"lua/write.lua", "if a + h + p + s ~= c[STOCK] or a < 0 or h < 0 or p < 0 or s < 0 then", "if false then"}

// mutants are the seeded bugs: those that others shipped, first.
var mutants = []mutant{
	{"n-plus-one", "one unit more than there is can be held", []patch{
		noConservation,
		{"lua/hold.lua", "if c[AVAILABLE] < units then", "if c[AVAILABLE] < units - 1 then"},
	}},
	{"n-plus-one-crowd", "the same, where a crowd of new buyers is decided", []patch{
		{"lua/fresh.lua", "if rest < 0 then", "if rest < -1 then"},
	}},
	{"limit-per-cart", "a buyer's limit is checked against the cart, not against what the buyer has", []patch{
		{"lua/hold.lua", "if units + (r and r.units or 0) > limit then", "if units > limit then"},
	}},
	{"limit-before-stock", "limit and stock are checked apart: what one call has just given does not count against the limit", []patch{
		{"lua/hold.lua", "    r.units = r.units + units\n", "    r.units = r.units + 0\n"},
	}},
	{"lines-apart", "two lines of one SKU in a cart are each checked against the whole stock", []patch{
		noConservation,
		{"ops.go", "if i > 0 && out[i-1].No == l.No {", "if false {"},
		{"lua/hold.lua", "    c[AVAILABLE], c[HELD] = c[AVAILABLE] - units, c[HELD] + units\n    touched[no] = c\n  end\n  return true",
			"  end\n  move(body, 12, AVAILABLE, HELD)\n  return true"},
	}},
	{"double-release", "a hold that is released twice gives its units back twice", []patch{
		noConservation,
		{"lua/moves.lua", "    return R_PAID\n  elseif h.state ~= S_HELD then", "    return R_PAID\n  elseif h.state == S_EXPIRED then"},
	}},
	{"no-conservation", "counters that do not add up are written all the same", []patch{noConservation}},
	{"resold-while-paying", "the clock expires a hold that is being paid", []patch{
		{"lua/settle.lua", "if h.state == S_HELD and h.deadline <= now then", "if (h.state == S_HELD or h.state == S_PAYING) and h.deadline <= now then"},
		{"lua/settle.lua", "finish(buyer, r, h, S_EXPIRED, h.deadline, HELD)", "finish(buyer, r, h, S_EXPIRED, h.deadline, h.state == S_PAYING and PAYING or HELD)"},
	}},
	{"timer-reset", "repeating the request sets the hold's timer back", []patch{
		{"lua/hold.lua", "        return '1' .. image(r[i])", "        r[i].deadline = deadline\n        change(buyer)\n        return '1' .. image(r[i])"},
	}},
	{"leaking-refusal", "a cart refused for its second line keeps the first one's units", []patch{
		noConservation,
		{"lua/hold.lua", "move(sub(body, 1, j - 1), 12, HELD, AVAILABLE)", "-- kept"},
	}},
	{"leaking-refusal-crowd", "the same, where a crowd of new buyers is decided", []patch{
		{"lua/fresh.lua", "left[no] = left[no] + units", "left[no] = left[no] + 0"},
	}},
	{"claim-on-expired", "a hold that expired can be claimed, and its unit sold twice", []patch{
		noConservation,
		{"lua/moves.lua", "elseif h.state == S_PAYING and h.fence == fence then", "elseif (h.state == S_PAYING or h.state == S_EXPIRED) and h.fence == fence then"},
	}},
	{"claim-by-anyone", "a claim does not look at the fence", []patch{
		{"lua/moves.lua", "elseif h.state == S_PAYING and h.fence == fence then", "elseif h.state == S_PAYING then"},
	}},
	{"second-event", "a repeated claim puts a second event into the outbox", []patch{
		{"lua/moves.lua", "local fence = fence_of(body)\n  if h.state == S_ACCEPTED then\n    return h.fence == fence and '1' .. image(h) or R_PAID\n  elseif h.state == S_PAYING and",
			"local fence = fence_of(body)\n  if h.state == S_ACCEPTED then\n    events[#events + 1] = { index = index, payload = sub(body, 23), id = h.created .. buyer .. h.nonce, seq = seq }\n    return h.fence == fence and '1' .. image(h) or R_PAID\n  elseif h.state == S_PAYING and"},
	}},
	{"begin-ignores-fence", "a second attempt may begin while another pays", []patch{
		{"lua/moves.lua", "return h.fence == fence and '1' .. image(h) or R_ATTEMPT", "return '1' .. image(h)"},
	}},
	{"attempts-unbounded", "payment attempts are not counted", []patch{
		{"lua/moves.lua", "if (h.attempts or 0) >= max_attempts then", "if false then"},
	}},
	{"held-after-deadline", "a payment returned too late leaves a hold that is due", []patch{
		{"lua/moves.lua", "if h.deadline > now then", "if true then"},
	}},
	{"blocked-by-own-hold", "units that came back still count against their buyer", []patch{
		{"lua/settle.lua", "r.units = r.units - units_of(h.lines, 1)", "r.units = r.units - 0"},
	}},
	{"stock-left-expired", "expired units wait for a reaper: a hold does not take them back", []patch{
		{"lua/hold.lua", "    if not nothing_due then\n      reclaim()\n    end", "    nothing_due = true"},
	}},
	{"seq-reused", "an expiry or release takes the place of the decision before it", []patch{
		{"lua/settle.lua", "seq = seq + 1", "seq = math.max(seq, 1)"},
	}},
	{"seq-of-another", "holds of one call are written with one another's place", []patch{
		{"lua/hold.lua", "local base = seq - index", "local base = seq"},
	}},
	{"epoch-unchecked", "callers of another generation are served", []patch{
		{"lua/terms.lua", "if epoch ~= ARGV[1] then", "if not epoch then"},
	}},
	{"one-buyer-twice", "two holds of one new buyer in a call overwrite each other", []patch{
		{"lua/fresh.lua", ")) == made then", ")) >= 0 then"},
	}},
	{"sold-forgotten", "accepted holds are cleared away with the tombstones", []patch{
		{"lua/run.lua", "if r[i].state >= S_RELEASED and r[i].deadline + keep <= now then", "if r[i].state >= S_ACCEPTED and r[i].deadline + keep <= now then"},
	}},
	{"answers-off-by-one", "the batcher gives each caller its neighbour's answer", []patch{
		{"script.go", "switch a := all[replyHead+i].(type) {", "switch a := all[replyHead+(i+1)%len(ops)].(type) {"},
	}},
	{"answer-dropped", "the batcher forgets to answer the last operation of a larger batch", []patch{
		{"lane.go", "\t\tfor _, o := range batch {\n\t\t\to.err = err\n", "\t\tfor i, o := range batch {\n\t\t\tif i == 20 {\n\t\t\t\tcontinue\n\t\t\t}\n\t\t\to.err = err\n"},
	}},
	{"abandoned-sent", "an operation whose caller was told that it did not happen is sent all the same", []patch{
		{"lane.go", "\t\tif !o.stage.CompareAndSwap(queued, sent) {\n\t\t\tcontinue\n\t\t}\n\t\tif ended := o.until.Err(); ended != nil {", "\t\to.stage.CompareAndSwap(queued, sent)\n\t\tif ended := error(nil); ended != nil {"},
	}},
	{"epochs-mixed", "operations of two epochs share a call", []patch{
		{"lane.go", " || len(batch) > 0 && o.epoch != batch[0].epoch {", " {"},
	}},
	{"unknown-is-no", "a call without an answer is read as one that did not happen", []patch{
		{"errors.go", "\treturn unknown(err)\n}", "\treturn unavailable(err, \"Redis does not answer\")\n}"},
	}},
}
