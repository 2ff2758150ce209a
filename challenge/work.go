package challenge

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"strconv"
	"strings"
	"time"
)

// The proof of work. A challenge is
//
//	w1.<bits>.<expires>.<mac>
//
// expires in Unix seconds, mac 16 bytes of an HMAC over all of that, the sale and the
// buyer, in base64url. A solution is the challenge, a dot and a number in decimal, such that
// the SHA-256 of the solution's text begins with so many zero bits.
//
// Nothing is stored: whoever knows the secret checks a solution with two hashes. It is
// good for one buyer in one sale until it expires, so to use it again, or to give it away,
// is of no use: what that buyer may have is limited elsewhere.

const workPrefix = "w1."

// Work bounds.
const (
	minBits = 1
	maxBits = 30 // minutes of a computer
	macSize = 16
)

func (c *Challenges) workFor(sale, buyer string, n int, now time.Time) (text string, expires time.Time) {
	expires = now.Add(c.o.TTL).Truncate(time.Second)
	head := workPrefix + strconv.Itoa(n) + "." + strconv.FormatInt(expires.Unix(), 10)
	return head + "." + c.mac(head, sale, buyer), expires
}

func (c *Challenges) mac(head, sale, buyer string) string {
	m := hmac.New(sha256.New, c.o.Secret)
	for _, part := range []string{head, sale, buyer} {
		var n [8]byte
		binary.BigEndian.PutUint64(n[:], uint64(len(part)))
		m.Write(n[:])
		m.Write([]byte(part))
	}
	return base64.RawURLEncoding.EncodeToString(m.Sum(nil)[:macSize])
}

// checkWork says what is wrong with a solution, or nothing.
func (c *Challenges) checkWork(sale, buyer, solution string, now time.Time) (why string) {
	const most = 128 // bytes of a solution
	parts := strings.Split(solution, ".")
	if len(solution) > most || len(parts) != 5 || parts[0]+"." != workPrefix {
		return "the solution is not a challenge of this engine with a dot and a number behind it"
	}
	head := solution[:len(parts[0])+1+len(parts[1])+1+len(parts[2])]
	n, err1 := strconv.Atoi(parts[1])
	expires, err2 := strconv.ParseInt(parts[2], 10, 64)
	_, err3 := strconv.ParseUint(parts[4], 10, 64)
	switch {
	case err1 != nil || err2 != nil || err3 != nil:
		return "the solution is not a challenge of this engine with a dot and a number behind it"
	case !hmac.Equal([]byte(parts[3]), []byte(c.mac(head, sale, buyer))):
		return "the challenge that was solved was not given to this buyer for this sale"
	case now.Unix() >= expires:
		return "the challenge that was solved has expired"
	case zeros(sha256.Sum256([]byte(solution))) < n:
		return fmt.Sprintf("the solution's SHA-256 does not begin with %d zero bits", n)
	}
	return ""
}

func zeros(sum [sha256.Size]byte) int {
	for i := 0; i < len(sum); i += 8 {
		if word := binary.BigEndian.Uint64(sum[i:]); word != 0 {
			return 8*i + bits.LeadingZeros64(word)
		}
	}
	return 8 * len(sum)
}

// Solve does the work of a challenge and gives the solution. It takes 2^bits hashes on average.
func Solve(ctx context.Context, challenge string) (string, error) {
	parts := strings.Split(challenge, ".")
	if len(parts) != 4 || parts[0]+"." != workPrefix {
		return "", errors.New("this is no challenge of the form w1.<bits>.<expires>.<mac>")
	}
	n, err := strconv.Atoi(parts[1])
	if err != nil || n < minBits || n > maxBits {
		return "", fmt.Errorf("a challenge of %s bits is not between %d and %d", parts[1], minBits, maxBits)
	}
	text := append([]byte(challenge), '.')
	head := len(text)
	for i := uint64(0); ; i++ {
		if text = strconv.AppendUint(text[:head], i, 10); zeros(sha256.Sum256(text)) >= n {
			return string(text), nil
		}
		if i%4096 == 0 && ctx.Err() != nil {
			return "", context.Cause(ctx)
		}
	}
}
