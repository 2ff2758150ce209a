// The waiting room as a waiter and as a doubter: join, poll as told, claim; and compute
// from what is public what a place must be. docs/waiting-room.md has the protocol; this
// shares no code with the engine.

import crypto from 'k6/crypto';
import { sale } from './config.js';
import { body, insist, send, settle } from './http.js';

const room = `/v1/sales/${sale}/queue`;

// readRoom gives the public document, or null.
export function readRoom() {
  const r = insist('room', 'GET', room, 'GET /v1/sales/{sale}/queue', null, {});
  settle('room', r, r.status === 200);
  return r.status === 200 ? body(r) : null;
}

// join gives the buyer's ticket, with a token if they are admitted; null if the room is closed.
export function join(buyer) {
  const r = insist('join', 'POST', room, 'POST /v1/sales/{sale}/queue', buyer.token, {});
  const b = body(r);
  settle('join', r, ((r.status === 200 || r.status === 201) && Number.isInteger(b.ticket)) || b.code === 'sale_not_open');
  return Number.isInteger(b.ticket) ? b : null;
}

// look says where a ticket stands; null: ask again. A node that has not heard of it yet
// may say 404 for the quarter second that its document is old.
export function look(ticket) {
  const r = insist('ticket', 'GET', `${room}/${ticket}`, 'GET /v1/sales/{sale}/queue/{ticket}', null, {});
  settle('ticket', r, r.status === 200 || r.status === 404);
  return r.status === 200 ? body(r) : null;
}

// pushIn tries to reserve without an admission, and gives the refusal's code.
export function pushIn(buyer, lines, key) {
  const r = send('push', 'POST', `/v1/sales/${sale}/reservations`, 'POST /v1/sales/{sale}/reservations', buyer.token, { key, body: { lines } });
  const b = body(r);
  settle('push', r, b.code === 'admission_required' || b.code === 'sold_out' || b.code === 'sale_not_open');
  return b.code || b.state;
}

const bytes = (hex) => new Uint8Array(hex.match(/../g).map((h) => parseInt(h, 16)));
const text = (s) => new Uint8Array(Array.from(s, (c) => c.charCodeAt(0)));

// commitment is what must have been public before the opening.
export function commitment(seed) {
  const h = crypto.createHash('sha256');
  h.update(text('flashsale/shuffle/v1').buffer);
  h.update(text(sale).buffer);
  h.update(bytes(seed).buffer);
  return h.digest('hex');
}

// place of a ticket among the n that were shuffled: a Feistel network of ten rounds,
// walked until it is below n. Who joined later stands at their ticket's number.
export function place(seed, n, ticket) {
  if (ticket >= n) return ticket;
  const secret = bytes(seed).buffer;
  let bits = 2;
  while (2 ** bits < n) bits += 2;
  const half = 2 ** (bits / 2);
  const f = (round, right) => {
    const input = new DataView(new ArrayBuffer(13));
    input.setUint8(0, round);
    input.setUint32(1, Math.floor(n / 2 ** 32));
    input.setUint32(5, n % 2 ** 32);
    input.setUint32(9, right);
    const mac = crypto.createHMAC('sha256', secret);
    mac.update(input.buffer);
    return parseInt(mac.digest('hex').slice(0, 8), 16) % half;
  };
  let x = ticket;
  do {
    let left = Math.floor(x / half);
    let right = x % half;
    for (let round = 0; round < 10; round += 1) [left, right] = [right, (left ^ f(round, right)) >>> 0];
    x = left * half + right;
  } while (x >= n);
  return x;
}
