#!/usr/bin/env python3
"""Checks the places of a waiting room from what is public: docs/waiting-room.md.

    verify-places.py [FILE]        JSON from FILE or standard input:

    {"sale": "demo", "commitment": "<64 hex>", "seed": "<64 hex>", "n": 1000,
     "ticket": 7}                                   prints the ticket's place
    or  "tickets": [{"ticket": 7, "place": 123}, …] checks the claimed places

Exit status: 0 all is as claimed, 1 something is not, 2 the input makes no sense.
Needs nothing but Python 3.
"""
import hashlib
import hmac
import json
import sys

NAME = b"flashsale/shuffle/v1"
ROUNDS = 10


def commitment(sale, seed):
    return hashlib.sha256(NAME + sale.encode() + seed).hexdigest()


def place(seed, n, ticket):
    """The place of a ticket among n: a Feistel network with cycle walking."""
    if ticket >= n:
        return ticket  # joined after the opening: first come, first served
    width = max(2, (n - 1).bit_length() + 1 & ~1)
    half = width // 2
    mask = (1 << half) - 1
    while True:
        left, right = ticket >> half, ticket & mask
        for r in range(ROUNDS):
            digest = hmac.new(seed, bytes([r]) + n.to_bytes(8, "big") + right.to_bytes(4, "big"), hashlib.sha256).digest()
            left, right = right, left ^ int.from_bytes(digest[:4], "big") & mask
        ticket = left << half | right
        if ticket < n:
            return ticket


def check(doc):
    seed = bytes.fromhex(doc["seed"])
    if len(seed) != 32:
        raise ValueError("the seed has %d bytes, not 32" % len(seed))
    n = int(doc["n"])
    wrong = 0
    if not hmac.compare_digest(commitment(doc["sale"], seed), doc["commitment"].lower()):
        print("WRONG commitment: the seed is not the one that was committed to")
        wrong += 1
    if "ticket" in doc:
        print(place(seed, n, int(doc["ticket"])))
    for claim in doc.get("tickets", []):
        is_at = place(seed, n, int(claim["ticket"]))
        if is_at != int(claim["place"]):
            print("WRONG ticket %d: place %d was claimed, it is %d" % (claim["ticket"], claim["place"], is_at))
            wrong += 1
    print("%s: commitment and %d places checked, %d wrong" % ("WRONG" if wrong else "OK", len(doc.get("tickets", [])), wrong))
    return 1 if wrong else 0


def main():
    try:
        with open(sys.argv[1]) if len(sys.argv) > 1 else sys.stdin as f:
            return check(json.load(f))
    except (OSError, KeyError, TypeError, ValueError) as e:
        print("verify-places: %s" % (e,), file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
