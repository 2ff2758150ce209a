// A sale with a waiting room. WAITERS join while it gathers, some come late; all poll as
// they are told, and who is called claims, hesitates, and buys. What they are told is held
// against what happens: places are those that anybody can compute from what was public,
// nobody is admitted before the front has passed their place, a position never gets worse, and
// who is told that stock cannot reach them is not called after all.

import { check, sleep } from 'k6';
import exec from 'k6/execution';
import { Counter, Rate, Trend } from 'k6/metrics';
import { number, p95, quantity, seconds, skus, whole } from './lib/config.js';
import { dice } from './lib/dice.js';
import { Buyer, newKey } from './lib/flows.js';
import { commitment, join, look, place, pushIn, readRoom } from './lib/room.js';
import { arrivals, begin, limits, options as all } from './lib/shape.js';
import { summary } from './lib/summary.js';
import { hesitate, named, pay } from './lib/visit.js';

const waiters = whole('WAITERS', 300);
const joining = seconds('JOIN', '20s'); // before the opening
const patience = seconds('DURATION', '2m'); // from the opening on; then whoever still waits leaves
const late = number('LATE', 0.05, 0, 1); // who come after the opening, as a share of the waiters
const interested = 0.85; // of those who are admitted
const pushy = 0.1; // try without an admission before it is their turn
const stubborn = 0.2; // stay although they were told that stock cannot reach them

const admitted = new Counter('admitted');
const toldOut = new Counter('told_out'); // told that stock cannot reach them
const fair = new Rate('places_as_computed');
const called = new Rate('called_after_told_out');
const waited = new Trend('waited', true); // ms, opening or joining to being called
const asTold = new Trend('waited_by_told'); // that, over the wait_seconds that were told first

export const options = all(
  {
    waiting: arrivals([[0, waiters / joining], [joining, waiters / joining]], { gracefulStop: `${joining + patience + 60}s`, env: { WHEN: 'early' }, ...crowd(waiters) }),
    latecomers: arrivals([[0, Math.max(late * waiters, 1) / 10], [10, Math.max(late * waiters, 1) / 10]], { startTime: `${joining + 4}s`, gracefulStop: `${patience + 60}s`, env: { WHEN: 'late' }, ...crowd(Math.max(late * waiters, 1)) }),
  },
  limits({
    admitted: ['count>0'],
    places_as_computed: ['rate==1'],
    called_after_told_out: ['rate<0.01'],
    waited_by_told: [`p(50)<${number('TOLD', 10)}`], // of those who were told a time, half waited no longer than so many times it
    'http_req_duration{step:join}': [`p(95)<${p95('join', 250)}`],
    'http_req_duration{step:ticket}': [`p(95)<${p95('ticket', 250)}`],
    'http_req_duration{step:room}': [`p(95)<${p95('room', 250)}`],
    'answer_time{step:push,outcome:admission_required}': [`p(95)<${p95('no', 250)}`],
  }),
);

// crowd makes a VU for everybody: they stay until the end.
function crowd(n) {
  return { preAllocatedVUs: Math.ceil(n) + 5, maxVUs: Math.ceil(n) + 5 };
}

export function setup() {
  const data = begin(joining + 2);
  if (!data.opensAt) exec.test.abort('the sale does not open by the clock: create it with --opens');
  if (Date.parse(data.opensAt) < Date.now() + joining * 1000) exec.test.abort(`the sale opens too soon: ${waiters} waiters need ${joining} s to join before it`);
  const room = readRoom();
  if (!room) exec.test.abort('the sale has no waiting room: create it with --admission');
  return Object.assign(data, { commitment: room.commitment });
}

export default function (data) {
  const began = Date.now();
  const opens = Date.parse(data.opensAt);
  const roll = dice(exec.scenario.iterationInTest + (__ENV.WHEN === 'late' ? waiters : 0));
  const buyer = new Buyer(named(data));
  const lines = [{ sku: skus[Math.floor(roll() * skus.length)], quantity }];
  const ticket = join(buyer);
  if (!ticket) return;
  if (__ENV.WHEN === 'early' && Date.now() < opens - 500) {
    check(ticket, { 'before the opening nobody has a place or a token': (t) => t.place === undefined && t.token === undefined });
  }
  if (roll() < pushy) pushIn(buyer, lines, newKey(buyer.id, 'push'));
  const got = wait(data, ticket, Math.max(opens, began), opens + patience * 1000, roll);
  if (!got) return;
  claim(buyer, got, lines, roll, began);
}

// wait polls until the ticket's place is reached, and gives what was said then; null if
// the waiter left before.
function wait(data, ticket, from, until, roll) {
  let told = null;
  let last = Infinity;
  let out = false;
  sleep(Math.max((Date.parse(data.opensAt) - Date.now()) / 1000, 0) + roll());
  judgePlace(data, ticket.ticket);
  while (Date.now() < until) {
    const t = look(ticket.ticket);
    if (t && t.position !== undefined) {
      check(t, { 'a position never gets worse': (x) => x.position <= last });
      last = t.position;
    }
    if (t && t.state === 'reached') {
      waited.add(Date.now() - from);
      called.add(out);
      if (told) asTold.add((Date.now() - told.at) / 1000 / Math.max(told.wait, 1));
      return t;
    }
    if (t && t.state === 'unreachable' && !out) {
      out = true;
      toldOut.add(1);
      if (roll() >= stubborn) break;
    }
    if (t && (t.state === 'passed' || t.state === 'closed')) {
      check(t, { 'nobody is passed by who polls': (x) => x.state === 'closed' });
      break;
    }
    if (t && !told && t.wait_seconds > 0) told = { at: Date.now(), wait: t.wait_seconds };
    sleep(t && t.wait_seconds > 10 ? Math.min(t.wait_seconds / 4, 10) : 1 + roll());
  }
  if (out) called.add(false);
  return null;
}

// judgePlace holds a ticket's place against the one that follows from what is public.
function judgePlace(data, ticket) {
  const room = readRoom();
  const t = look(ticket);
  if (!room || !t || !room.seed) return;
  const right = room.commitment === data.commitment && commitment(room.seed) === data.commitment && t.place === place(room.seed, room.n, ticket);
  if (!right) console.error(`ticket ${ticket}: place ${t.place} of ${room.n}, seed ${room.seed}, commitment ${data.commitment} and then ${room.commitment}`);
  fair.add(right);
}

// claim takes the admission, and what it is good for.
function claim(buyer, reached, lines, roll, began) {
  const a = join(buyer);
  const room = readRoom();
  if (!a || !room) return;
  const in_ = check(a, {
    'who is called is admitted': (x) => x.state === 'admitted' && /^adm_/.test(x.token || ''),
    'an admission is for the same ticket': (x) => x.ticket === reached.ticket && x.place === reached.place,
    'nobody is admitted before the front has passed them': () => room.front > reached.place,
  });
  if (!in_) return;
  admitted.add(1);
  buyer.admission = a.token;
  hesitate(roll);
  if (roll() >= interested) return;
  const hold = buyer.reserve(lines);
  if (hold) pay(buyer, hold, roll, began);
}

export function handleSummary(data) {
  const v = (name) => (data.metrics[name] ? data.metrics[name].values : {});
  const note = `${v('admitted').count} admitted, ${v('told_out').count || 0} told that stock cannot reach them; ${v('places_as_computed').passes} places computed anew, ${v('places_as_computed').fails} wrong`
    + (v('waited_by_told').count ? `; waited ${v('waited_by_told').med.toFixed(2)} times as long as told (median)` : '');
  return summary(`waiting-room: ${waiters} waiters join within ${joining} s`, data, [note]);
}
