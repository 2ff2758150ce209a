// One request, or one that is repeated while its answer is transient. Every
// request carries the tag `step`, so that thresholds and dashboards can speak of
// reserve and checkout instead of URLs.

import http from 'k6/http';
import { sleep } from 'k6';
import { api } from './config.js';
import * as m from './metrics.js';

export const maxRetries = 5;
const maxRetryAfter = 10; // seconds; a longer one ends the buyer's patience

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
  join: http.expectedStatuses(200, 201),
  ticket: http.expectedStatuses(200, 404),
  room: http.expectedStatuses(200),
  push: http.expectedStatuses(403, 409), // who pushes in is refused
};
http.setResponseCallback(http.expectedStatuses({ min: 200, max: 299 }, 402, 409));

const transientCodes = ['attempt_in_progress', 'payment_in_progress', 'sale_not_open'];
const shedCodes = ['overloaded', 'rate_limited', 'payment_unavailable']; // come again when Retry-After says

// insist repeats a request, unchanged, while its answer is transient and
// patience lasts: an answer that never came may have been a yes.
export function insist(step, method, path, name, jwt, opts) {
  for (let i = 0, backoff = 0.1; ; i += 1, backoff *= 2) {
    const r = send(step, method, path, name, jwt, opts);
    if (!transient(r) || i >= maxRetries || retryAfter(r) > maxRetryAfter) return r;
    m.retries.add(1, { step, code: code(r) });
    sleep((retryAfter(r) || backoff) * (1 + Math.random() / 10));
  }
}

export function send(step, method, path, name, jwt, opts) {
  const q = request(step, method, path, name, jwt, opts);
  return seen(step, http.request(q.method, q.url, q.body, q.params));
}

// sendAtOnce sends the same request so many times at the same moment, as an
// impatient finger or a page without manners does.
export function sendAtOnce(times, step, method, path, name, jwt, opts) {
  return http.batch(Array(times).fill(request(step, method, path, name, jwt, opts))).map((r) => seen(step, r));
}

function request(step, method, path, name, jwt, opts) {
  const headers = Object.assign({}, opts.headers);
  if (jwt) headers.Authorization = `Bearer ${jwt}`;
  if (opts.key) headers['Idempotency-Key'] = opts.key;
  if (opts.body) headers['Content-Type'] = 'application/json';
  return {
    method,
    url: api + path,
    body: opts.body ? JSON.stringify(opts.body) : null,
    params: { headers, redirects: 0, responseCallback: expected[step], tags: { step, name } },
  };
}

function seen(step, r) {
  if (wasShed(r)) m.shed.add(1, { step, code: code(r) });
  return r;
}

// atBank does the buyer's part at the sandbox's bank page, or fails to, without
// the buyer's token: true if the page took it. Other banks are for people: then
// the checkout ends here, as it does for a buyer who walks away.
export function atBank(next, how) {
  if (!/\/3ds\/[^/?#]+$/.test(next.url || '')) return false;
  const ask = () => http.post(`${next.url}/${how}`, null, {
    headers: { Accept: 'application/json' },
    redirects: 0,
    responseCallback: expected.action,
    tags: { step: 'action', name: `POST {next_action}/${how}` },
  });
  let r = ask();
  let again = 0;
  for (; transient(r) && again < maxRetries; again += 1) { // the answer was lost
    sleep(0.2);
    r = ask();
  }
  // Pressed twice, the button is refused and changes nothing; the checkout tells what came of it.
  const ok = r.status === 200 || (again > 0 && !transient(r));
  settle('action', r, ok);
  return ok;
}

export function transient(r) {
  return r.status === 0 || r.status === 408 || r.status === 429 || r.status >= 500 || (r.status === 409 && transientCodes.includes(code(r)));
}

function wasShed(r) {
  return (r.status === 429 || r.status === 503) && shedCodes.includes(code(r));
}

// settle notes a step's last answer. Being turned away is foreseen, and still no
// answer that a visitor came for: it has a rate of its own.
export function settle(step, r, ok) {
  const tags = { step, code: code(r) };
  const shed = wasShed(r);
  m.answerTime.add(r.timings.duration, { step, outcome: tags.code });
  m.turnedAway.add(shed, tags);
  m.unexpected.add(!ok && !shed, tags);
  if (!ok && !shed && r.error !== 'context canceled') console.error(`${step}: status ${r.status} ${tags.code} ${r.error || ''}`); // that one is the end of the run
}

// code is an answer's outcome in the engine's words.
export function code(r) {
  const b = body(r);
  return b.code || (b.next_action ? 'next_action' : '') || b.state || r.error_code.toString();
}

export function body(r) {
  try {
    return (r.body && JSON.parse(r.body)) || {};
  } catch (_) {
    return {};
  }
}

// retryAfter is in seconds; the engine never sends a date.
export function retryAfter(r) {
  return Math.max(Number(r.headers['Retry-After']) || 0, 0);
}

// here gives the path of a Location at the API itself: a buyer's token goes nowhere else.
export function here(location) {
  if (!location) return null;
  if (location.startsWith(`${api}/`)) return location.slice(api.length);
  return location.startsWith('/') && !location.startsWith('//') ? location : null;
}
