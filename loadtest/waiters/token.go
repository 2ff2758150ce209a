package waiters

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"hash"
	"sync"
	"time"

	"github.com/flashsale-engine/flashsale/api/buyertoken"
)

// minter signs buyers' tokens as they are needed: a million of them, kept, would
// take more memory than everything else here. It is buyertoken.Mint, less what that
// does anew each time.
type minter struct {
	macs  sync.Pool
	times string // iat and exp of all
}

var jwtHead = base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"HS256","typ":"JWT"}`)) + "."

func newMinter(secret string, now time.Time, life time.Duration) *minter {
	return &minter{
		macs:  sync.Pool{New: func() any { return hmac.New(sha256.New, []byte(secret)) }},
		times: fmt.Sprintf(`","aud":[%q],"iat":%d,"exp":%d}`, buyertoken.DefaultAudience, now.Unix(), now.Add(life).Unix()),
	}
}

func (m *minter) token(buyer string) string {
	b := make([]byte, 0, 256)
	b = append(b, jwtHead...)
	b = base64.RawURLEncoding.AppendEncode(b, []byte(`{"sub":"`+buyer+m.times))
	mac := m.macs.Get().(hash.Hash)
	defer m.macs.Put(mac)
	mac.Reset()
	mac.Write(b)
	sum := mac.Sum(nil)
	return string(base64.RawURLEncoding.AppendEncode(append(b, '.'), sum))
}
