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

// patch replaces text that occurs once in a file of the suite's folder.
type patch struct{ file, find, put string }

// patched gives the mutant's files by name, from the module's root.
func (m mutant) patched(root, dir string) (map[string]string, error) {
	files := map[string]string{}
	for _, p := range m.patches {
		name := dir + p.file
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

// gateMutants are the seeded bugs of the gate: those that others shipped, first.
var gateMutants = []mutant{
	{"n-plus-one", "one unit more than there is can be held", []patch{
		noConservation,
		{"lua/hold.lua", "if c[AVAILABLE] < units then", "if c[AVAILABLE] < units - 1 then"},
	}},
	{"n-plus-one-crowd", "the same, where a crowd of new buyers is decided", []patch{
		{"lua/crowd.lua", "if left < units or", "if left + 1 < units or"},
	}},
	{"limit-per-cart", "a buyer's limit is checked against the cart, not against what the buyer has", []patch{
		{"lua/hold.lua", "if units + had > limit then", "if units > limit then"},
		{"lua/crowd.lua", "and units + had > limit then", "and units > limit then"},
	}},
	{"limit-before-stock", "limit and stock are checked apart: what one call has just given does not count against the limit", []patch{
		{"lua/hold.lua", "char(byte(s) + units)", "char(byte(s))"},
		{"lua/crowd.lua", "char(had + units)", "char(had)"},
	}},
	{"lines-apart", "two lines of one SKU in a cart are each checked against the whole stock", []patch{
		noConservation,
		{"ops.go", "if i > 0 && out[i-1].No == l.No {", "if false {"},
		{"lua/hold.lua", "    c[AVAILABLE], c[HELD] = c[AVAILABLE] - units, c[HELD] + units\n    touched[no] = c\n  end\n  return true",
			"  end\n  move(body, 12, #body, AVAILABLE, HELD)\n  return true"},
	}},
	{"double-release", "a hold that is released twice gives its units back twice", []patch{
		noConservation,
		{"lua/moves.lua", "      return R_PAID\n    elseif state ~= S_HELD then", "      return R_PAID\n    elseif state == S_EXPIRED then"},
	}},
	{"no-conservation", "counters that do not add up are written all the same", []patch{noConservation}},
	{"resold-while-paying", "the clock expires a hold that is being paid", []patch{
		{"lua/settle.lua", "if meta < S_PAYING * 32 and unpack5", "if meta < S_ACCEPTED * 32 and unpack5"},
		{"lua/settle.lua", "finish(buyer, s, i, S_EXPIRED, nil, HELD)", "finish(buyer, s, i, S_EXPIRED, nil, meta < S_PAYING * 32 and HELD or PAYING)"},
	}},
	{"timer-reset", "repeating the request sets the hold's timer back", []patch{
		{"lua/hold.lua", "      return '1' .. image(s, at)", "      local j = at + shape(byte(s, at + 8))\n      text[buyer] = sub(s, 1, j + 4) .. due5 .. sub(s, j + 10)\n      return '1' .. image(text[buyer], at)"},
		{"lua/crowd.lua", "      had = byte(s)\n", "      had = byte(s)\n      if at then\n        call('HSET', BUYERS, buyers[i], sub(s, 1, j + 4) .. due5 .. sub(s, j + 10))\n      end\n"},
	}},
	{"leaking-refusal", "a cart refused for its second line keeps the first one's units", []patch{
		noConservation,
		{"lua/hold.lua", "move(body, 12, j - 1, HELD, AVAILABLE)", "-- kept"},
	}},
	{"leaking-refusal-aside", "what was set aside for a hold that is refused or a repeat is kept", []patch{
		{"lua/hold.lua", "move(body, 12, #body, HELD, AVAILABLE)", "-- kept"},
		{"lua/crowd.lua", "        if units then\n", "        if false then\n"},
	}},
	{"claim-on-expired", "a hold that expired can be claimed, and its unit sold twice", []patch{
		noConservation,
		{"lua/moves.lua", "elseif state ~= S_PAYING and state ~= S_HELD then", "elseif state ~= S_PAYING and state ~= S_HELD and state ~= S_EXPIRED then"},
		{"lua/moves.lua", "elseif state == S_PAYING and same then -- CLAIM", "elseif (state == S_PAYING or state == S_EXPIRED) and same then"},
	}},
	{"claim-by-anyone", "a claim does not look at the fence", []patch{
		{"lua/moves.lua", "elseif state == S_PAYING and same then -- CLAIM", "elseif state == S_PAYING then"},
	}},
	{"second-event", "a repeated claim puts a second event into the outbox", []patch{
		{"lua/moves.lua", "  if state == S_ACCEPTED then\n    return same",
			"  if state == S_ACCEPTED then\n    if same and operation == CLAIM then\n      events[#events + 1] = { index = index, first = first + 25, id = sub(s, j, j + 4) .. buyer .. sub(s, i, i + 7), seq = seq }\n    end\n    return same"},
	}},
	{"begin-ignores-fence", "a second attempt may begin while another pays", []patch{
		{"lua/moves.lua", "return same and '1' .. image(s, i) or R_ATTEMPT", "return '1' .. image(s, i)"},
	}},
	{"attempts-unbounded", "payment attempts are not counted", []patch{
		{"lua/moves.lua", "if attempts >= max_attempts then", "if false then"},
	}},
	{"held-after-deadline", "a payment returned too late leaves a hold that is due", []patch{
		{"lua/moves.lua", "elseif unpack5(s, j + 5) <= now then", "elseif false then"},
	}},
	{"blocked-by-own-hold", "units that came back still count against their buyer", []patch{
		{"lua/settle.lua", "byte(s) - move(s, i + 10, j - 1, from, AVAILABLE)", "byte(s) - 0 * move(s, i + 10, j - 1, from, AVAILABLE)"},
	}},
	{"stock-left-expired", "expired units wait for a reaper: a hold does not take them back", []patch{
		{"lua/hold.lua", "    if not nothing_due then\n      reclaim()\n    end", "    nothing_due = true"},
	}},
	{"extended-hide-others", "who was extended for longer stands before those who are due", []patch{
		{"lua/write.lua", "scored[#scored + 1] = 0", "scored[#scored + 1] = call('ZCARD', KEYS[Q_RETURNED])"},
	}},
	{"extended-hide-new", "a rebuild lays extended holds before the new ones that it lets in", []patch{
		{"restore.go", "b.deadline > now+s.HoldTTL.Milliseconds()", "b.deadline > now+1000*s.HoldTTL.Milliseconds()"},
	}},
	{"seq-reused", "an expiry or release takes the place of the decision before it", []patch{
		{"lua/settle.lua", "seq = seq + 1", "seq = math.max(seq, 1)"},
	}},
	{"seq-of-another", "holds of one call are written with one another's place", []patch{
		{"lua/run.lua", "tail = times .. pack5(tail_base)", "tail = times .. pack5(seq)"},
	}},
	{"seq-of-another-crowd", "the same in a crowd, behind one who is refused", []patch{
		{"lua/crowd.lua", "      else\n        tail = times .. pack5(base)\n", ""},
	}},
	{"epoch-unchecked", "callers of another generation are served", []patch{
		{"lua/terms.lua", "if epoch ~= ARGV[1] then", "if not epoch then"},
	}},
	{"one-buyer-twice", "two holds of one new buyer in a call overwrite each other", []patch{
		{"script.go", "text = appendTwice(text, ops)", "_ = appendTwice"},
		{"lua/crowd.lua", ")) ~= k / 2 then", ")) < 0 then"},
	}},
	{"sold-forgotten", "accepted holds are cleared away with the tombstones", []patch{
		{"lua/run.lua", "if meta >= S_RELEASED * 32 and unpack5", "if meta >= S_ACCEPTED * 32 and unpack5"},
	}},
	{"answers-off-by-one", "the batcher gives each caller its neighbour's answer", []patch{
		{"script.go", "r.answer(o, all[i])", "r.answer(o, all[(i+1)%len(ops)])"},
		{"script.go", "named[0] == int64(i) {", "named[0] == int64((i+1)%len(ops)) {"},
	}},
	{"answer-dropped", "the batcher forgets to answer the last operation of a larger batch", []patch{
		{"lane.go", "\t\tl.gate.tellAll(batch) //", "\t\tif len(batch) > 20 {\n\t\t\tbatch = append(batch[:20:20], batch[21:]...)\n\t\t}\n\t\tl.gate.tellAll(batch) //"},
	}},
	{"abandoned-sent", "an operation whose caller was told that it did not happen is sent all the same", []patch{
		{"lane.go", "\t\tif !o.stage.CompareAndSwap(queued, sent) {\n\t\t\tcontinue\n\t\t}\n\t\tif o.until.Err() != nil {", "\t\to.stage.CompareAndSwap(queued, sent)\n\t\tif false {"},
	}},
	{"leases-mixed", "operations of two leases share a call", []patch{
		{"lane.go", " || len(batch) > 0 && o.lease != batch[0].lease {", " {"},
	}},
	{"unknown-is-no", "a call without an answer is read as one that did not happen", []patch{
		{"errors.go", "\treturn unknown(err)\n}", "\treturn unavailable(err, \"Redis does not answer\")\n}"},
	}},
}
