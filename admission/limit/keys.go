package limit

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"

	"github.com/flashsale-engine/flashsale/engine"
)

// This file is the only one that spells a key.
//
//	{fsl:<letter>:<name>}  string  when the bucket is full, see lua/count.lua
//
// The name is 16 bytes of an HMAC under a secret that all nodes share, so that
// Redis holds no address, no buyer and no payment method. Each key is alone in its
// hash tag: a cluster spreads them over its slots.

const letters = "bhinmuvws" // by limit

func keyOf(secret []byte, l engine.Limit, who, where string) string {
	m := hmac.New(sha256.New, secret)
	var length [9]byte
	length[0] = letters[l]
	binary.BigEndian.PutUint64(length[1:], uint64(len(who)))
	m.Write(length[:])
	m.Write([]byte(who))
	m.Write([]byte(where))
	return "{fsl:" + letters[l:l+1] + ":" + base64.RawURLEncoding.EncodeToString(m.Sum(nil)[:16]) + "}"
}
