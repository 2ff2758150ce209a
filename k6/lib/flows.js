// A buyer's steps: reserve, checkout, action, poll, release, read the order. Every
// request carries the tag `step`, so that thresholds and dashboards can speak of
// reserve and checkout instead of URLs, and `code`, the outcome in the engine's words.

import http from 'k6/http';
import { check, sleep } from 'k6';
import { api, sale, wait } from './config.js';
import { token } from './token.js';
import * as m from './metrics.js';

const maxRetries = 5;
const maxRetryAfter = 10; // seconds; a longer one ends the buyer's patience
const pollFor = 30; // seconds

// Statuses that belong to a sale which goes well, by step. Which 409 it was is
// for the flows to judge, by its code.
const expected = {
  reserve: http.expectedStatuses(200, 201, 409),
  checkout: http.expectedStatuses(200, 201, 202, 402, 409),
  action: http.expectedStatuses(200),
  poll: http.expectedStatuses(200, 404),
  release: http.expectedStatuses(200),
  order: http.expectedStatuses(200),
  sale: http.expectedStatuses(200),
  setup: http.expectedStatuses(200),
};
http.setResponseCallback(http.expectedStatuses({ min: 200, max: 299 }, 402, 409));

const transientCodes = ['attempt_in_progress', 'payment_in_progress', 'sale_not_open'];

let serial = 0;

// newKey gives an Idempotency-Key: one per act, kept in every retry of it.
export function newKey(buyer, act) {
  serial += 1;
  return `k6-${buyer}-${act}-${serial}`;
}

// Buyer is one person with one token.
export class Buyer {
  constructor(id) {
    this.id = id;
    this.token = token(id);
  }

  // reserve gives the reservation, or null if the answer was a no. The key is
  // given only to repeat an earlier request.
  reserve(lines, key) {
    const began = Date.now();
    const r = insist('reserve', 'POST', `/v1/sales/${sale}/reservations`, 'POST /v1/sales/{sale}/reservations', this.token, {
      key: key || newKey(this.id, 'reserve'),
      body: { lines },
    });
    const b = body(r);
    if (r.status === 201 || r.status === 200) {
      settle('reserve', r, b.state === 'held');
      check(b, {
        'a hold is the buyer\'s own': (x) => x.buyer === this.id && x.sale === sale,
        'a hold has the lines asked for': (x) => sameLines(x.lines, lines),
        'a hold has a deadline ahead': (x) => Date.parse(x.expires_at) > Date.now(),
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

  // checkout pays, does what the bank asks for, polls if it must, and gives the
  // order; null if there is none.
  checkout(reservation, paymentMethod) {
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
      if (!act(b.next_action)) return null;
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
    return ok;
  }
}

// act does the buyer's part at the sandbox's bank page, without the buyer's token.
// Other banks are for people: then the checkout ends here, as it does for a
// buyer who walks away.
function act(next) {
  if (!/\/3ds\/[^/?#]+$/.test(next.url || '')) return false;
  const r = http.post(`${next.url}/complete`, null, {
    headers: { Accept: 'application/json' },
    redirects: 0,
    responseCallback: expected.action,
    tags: { step: 'action', name: 'POST {next_action}/complete' },
  });
  settle('action', r, r.status === 200);
  return r.status === 200;
}

// readSale gives the sale's public page, or null. It needs no buyer. A script's
// setup reads it as step `setup`, so that an engine's first answer is not
// counted among those that buyers get.
export function readSale(step = 'sale') {
  const r = send(step, 'GET', `/v1/sales/${sale}`, 'GET /v1/sales/{sale}', null, {});
  settle(step, r, r.status === 200);
  return r.status === 200 ? body(r) : null;
}

// insist repeats a request, unchanged, while its answer is transient and
// patience lasts: an answer that never came may have been a yes.
function insist(step, method, path, name, jwt, opts) {
  for (let i = 0, backoff = 0.1; ; i += 1, backoff *= 2) {
    const r = send(step, method, path, name, jwt, opts);
    if (!transient(r) || i >= maxRetries || retryAfter(r) > maxRetryAfter) return r;
    m.retries.add(1, { step, code: code(r) });
    sleep((retryAfter(r) || backoff) * (1 + Math.random() / 10));
  }
}

function send(step, method, path, name, jwt, opts) {
  const headers = Object.assign({}, opts.headers);
  if (jwt) headers.Authorization = `Bearer ${jwt}`;
  if (opts.key) headers['Idempotency-Key'] = opts.key;
  if (opts.body) headers['Content-Type'] = 'application/json';
  return http.request(method, api + path, opts.body ? JSON.stringify(opts.body) : null, {
    headers,
    redirects: 0,
    responseCallback: expected[step],
    tags: { step, name },
  });
}

function transient(r) {
  return r.status === 0 || r.status === 429 || r.status >= 500 || (r.status === 409 && transientCodes.includes(code(r)));
}

// settle notes a step's last answer.
function settle(step, r, ok) {
  m.unexpected.add(!ok, { step, code: code(r) });
  if (!ok) console.error(`${step}: status ${r.status} ${code(r)} ${r.error || ''}`);
}

function code(r) {
  const b = body(r);
  return b.code || b.state || (b.next_action ? 'next_action' : '') || r.error_code.toString();
}

function body(r) {
  try {
    return (r.body && JSON.parse(r.body)) || {};
  } catch (_) {
    return {};
  }
}

// retryAfter is in seconds; the engine never sends a date.
function retryAfter(r) {
  return Math.max(Number(r.headers['Retry-After']) || 0, 0);
}

// here gives the path of a Location at the API itself: a buyer's token goes nowhere else.
function here(location) {
  if (!location) return null;
  if (location.startsWith(`${api}/`)) return location.slice(api.length);
  return location.startsWith('/') && !location.startsWith('//') ? location : null;
}

function sameLines(a, b) {
  const flat = (lines) => (lines || []).map((l) => `${l.sku}×${l.quantity}`).sort().join(' ');
  return flat(a) === flat(b);
}
