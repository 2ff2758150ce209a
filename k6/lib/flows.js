// A buyer's steps: reserve, checkout, action, poll, release, read the order.

import { check, sleep } from 'k6';
import { sale, wait } from './config.js';
import { atBank, body, code, here, insist, maxRetries, retryAfter, send, sendAtOnce, settle, transient } from './http.js';
import { token } from './token.js';
import * as m from './metrics.js';

const pollFor = 30; // seconds
const reservations = [`/v1/sales/${sale}/reservations`, 'POST /v1/sales/{sale}/reservations'];

let serial = 0;

// newKey gives an Idempotency-Key: one per act, kept in every retry of it.
export function newKey(buyer, act) {
  serial += 1;
  return `k6-${buyer}-${act}-${serial}`;
}

// readSale gives the sale's public page, or null. It needs no buyer. A script's
// setup reads it as step `setup`, so that an engine's first answer is not
// counted among those that buyers get.
export function readSale(step = 'sale') {
  const r = insist(step, 'GET', `/v1/sales/${sale}`, 'GET /v1/sales/{sale}', null, {});
  settle(step, r, r.status === 200);
  return r.status === 200 ? body(r) : null;
}

// Buyer is one person with one token, and with an admission once they have one.
export class Buyer {
  constructor(id) {
    this.id = id;
    this.token = token(id);
    this.admission = null;
  }

  ask(lines, key) {
    return { key, body: { lines }, headers: this.admission ? { 'Admission-Token': this.admission } : {} };
  }

  // reserve gives the reservation, or null if the answer was a no. The key is
  // given only to repeat an earlier request.
  reserve(lines, key) {
    const began = Date.now();
    const r = insist('reserve', 'POST', ...reservations, this.token, this.ask(lines, key || newKey(this.id, 'reserve')));
    const b = body(r);
    if (r.status === 201 || r.status === 200) {
      settle('reserve', r, b.state === 'held');
      check(b, {
        'a hold is the buyer\'s own': (x) => x.buyer === this.id && x.sale === sale,
        'a hold has the lines asked for': (x) => sameLines(x.lines, lines),
        'a hold has a deadline ahead': (x) => Date.parse(x.expires_at) > began, // of the request: a slow answer is another matter
      });
      if (!key) m.holds.add(1);
      return b;
    }
    const no = r.status === 409 && (b.code === 'sold_out' || b.code === 'buyer_limit');
    settle('reserve', r, no);
    if (no) {
      m.timeToNo.add(Date.now() - began);
      (b.code === 'sold_out' ? m.soldOuts : m.buyerLimits).add(1);
    }
    return null;
  }

  // clickTwice sends one request twice at the same moment, and repeats it: there
  // must be one hold, whoever was first.
  clickTwice(lines) {
    const key = newKey(this.id, 'reserve');
    const pair = sendAtOnce(2, 'reserve', 'POST', ...reservations, this.token, this.ask(lines, key));
    const hold = this.reserve(lines, key);
    if (!hold) return null;
    m.holds.add(1);
    const made = pair.filter((r) => r.status === 201 || r.status === 200).map((r) => body(r).id);
    check(made, { 'two clicks make one hold': (ids) => ids.every((id) => id === hold.id) });
    return hold;
  }

  // checkout pays, does what the bank asks for (or fails to: how is 'fail'), polls
  // if it must, and gives the order; null if there is none.
  checkout(reservation, paymentMethod, how = 'complete') {
    const headers = wait === '' ? {} : { Prefer: `wait=${wait}` };
    const pay = {
      key: newKey(this.id, 'checkout'),
      body: { payment_method: paymentMethod, contact: { email: `${this.id}@example.com` } },
      headers,
    };
    const ask = () => insist('checkout', 'POST', `/v1/reservations/${reservation.id}/checkout`, 'POST /v1/reservations/{id}/checkout', this.token, pay);
    let r = ask();
    let b = body(r);
    if (r.status === 200 && b.next_action) {
      settle('checkout', r, true);
      m.actions.add(1);
      if (!atBank(b.next_action, how)) return null;
      r = ask(); // the same request, with its key, tells what came of it
      for (let i = 0; r.status === 200 && body(r).next_action && i < maxRetries; i += 1) { // somebody else is asking just now
        sleep(0.2);
        r = ask();
      }
      b = body(r);
    }
    if (r.status === 201 || (r.status === 200 && b.state === 'confirmed')) {
      settle('checkout', r, true);
      return this.bought(b, reservation);
    }
    if (r.status === 202) {
      const at = here(r.headers.Location);
      settle('checkout', r, at !== null);
      return at === null ? null : this.poll(at, reservation, retryAfter(r));
    }
    if (r.status === 402) {
      settle('checkout', r, b.code === 'payment_declined');
      m.declined.add(1);
      return null;
    }
    settle('checkout', r, b.code === 'reservation_expired'); // the hold's time was over
    return null;
  }

  // poll asks what became of a pending checkout until there is an answer.
  poll(path, reservation, first) {
    const deadline = Date.now() + pollFor * 1000;
    for (let pause = first || 0.1; Date.now() < deadline; pause = Math.min(pause * 1.5, 1)) {
      sleep(pause);
      const r = send('poll', 'GET', path, 'GET {location}', this.token, {});
      const b = body(r);
      if (r.status === 404 || transient(r) || b.state === 'paying' || b.state === 'accepted') {
        continue; // not decided yet
      }
      settle('poll', r, r.status === 200 && ['confirmed', 'held', 'released', 'expired'].includes(b.state));
      if (b.state === 'confirmed') return this.bought(b, reservation);
      if (b.state === 'held' || b.state === 'released') m.declined.add(1);
      return null;
    }
    m.unexpected.add(true, { step: 'poll', code: 'pending' });
    return null;
  }

  // bought reads an order back: a yes that cannot be found was no yes.
  bought(told, reservation) {
    const id = told.id === reservation.id ? told.order : told.id;
    const r = insist('order', 'GET', `/v1/orders/${id}`, 'GET /v1/orders/{id}', this.token, {});
    const b = body(r);
    const found = check(b, {
      'an order reads back as confirmed': (x) => x.id === id && x.state === 'confirmed',
      'an order is of its reservation': (x) => x.reservation === reservation.id && sameLines(x.lines, reservation.lines),
      'an order costs what the hold said': (x) => !!x.total && x.total.amount === reservation.total.amount && x.total.currency === reservation.total.currency,
    });
    settle('order', r, found);
    if (!found) return null;
    m.confirmed.add(1);
    return b;
  }

  // release gives a hold back, and may be repeated.
  release(reservation) {
    const r = insist('release', 'DELETE', `/v1/reservations/${reservation.id}`, 'DELETE /v1/reservations/{id}', this.token, {});
    const ok = r.status === 200 && body(r).state === 'released';
    settle('release', r, ok);
    if (ok && !reservation.gone) m.released.add(1);
    reservation.gone = true;
    return ok;
  }

  // storm asks as a page without manners does: copies of one request at once, again
  // at once, whatever Retry-After says. It gives the hold, or null after so many rounds.
  storm(lines, copies, rounds) {
    const key = newKey(this.id, 'reserve');
    for (let i = 0; i < rounds; i += 1) {
      const answers = sendAtOnce(copies, 'reserve', 'POST', ...reservations, this.token, this.ask(lines, key));
      const last = answers.find((r) => !transient(r));
      if (!last) continue;
      settle('reserve', last, last.status === 201 || last.status === 200 || ['sold_out', 'buyer_limit'].includes(code(last)));
      const made = answers.filter((r) => r.status === 201 || r.status === 200).map((r) => body(r));
      check(made, { 'a storm of one request makes one hold': (all) => all.every((b) => b.id === all[0].id) });
      if (made.length === 0) return null;
      m.holds.add(1);
      return made[0];
    }
    return null;
  }
}

function sameLines(a, b) {
  const flat = (lines) => (lines || []).map((l) => `${l.sku}×${l.quantity}`).sort().join(' ');
  return flat(a) === flat(b);
}
