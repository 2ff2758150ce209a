// Does the whole way work: reserve, pay, poll, read, give back, repeat? A few
// buyers walk it, each once, and every answer is looked at. This is a check, not
// a measurement: VUs wait for their answers (a closed loop), so its latencies
// say nothing about a crowd.

import { check } from 'k6';
import exec from 'k6/execution';
import { iterations, p95, paymentMethod, quantity, secureMethod, skus, vus } from './lib/config.js';
import { Buyer, newKey, readSale } from './lib/flows.js';
import * as m from './lib/metrics.js';
import { summary, trendStats } from './lib/summary.js';

const atATime = Math.min(vus, iterations);

export const options = {
  scenarios: {
    smoke: { executor: 'shared-iterations', vus: atATime, iterations, maxDuration: '5m' },
  },
  summaryTrendStats: trendStats,
  thresholds: {
    unexpected: ['rate==0'],
    checks: ['rate==1'],
    http_req_failed: ['rate<0.05'], // answers that a retry resolved are here; `unexpected` has the last word
    holds: ['count>0'], // a sale that was sold out before proves nothing
    confirmed: ['count>0'],
    actions: ['count>0'],
    'http_req_duration{step:reserve}': [`p(95)<${p95('reserve', 250)}`],
    'http_req_duration{step:checkout}': [`p(95)<${p95('checkout', 1500)}`], // waits for the commit
    'http_req_duration{step:action}': [`p(95)<${p95('action', 250)}`],
    'http_req_duration{step:poll}': [`p(95)<${p95('poll', 250)}`],
    'http_req_duration{step:order}': [`p(95)<${p95('order', 250)}`],
    'http_req_duration{step:release}': [`p(95)<${p95('release', 250)}`],
    'http_req_duration{step:sale}': [`p(95)<${p95('sale', 250)}`],
  },
};

// setup names the run, so that its buyers are nobody's before, and looks if
// there is a sale to speak of.
export function setup() {
  const page = readSale('setup');
  if (!page) exec.test.abort('the sale cannot be read: is API right, and is the engine up?');
  if (page.state !== 'open') exec.test.abort(`the sale is ${page.state}, not open`);
  return { run: Math.floor(Math.random() * 0xffffffff).toString(36) };
}

// One iteration is one buyer's visit: look at the sale, then ask. Of ten, one changes their mind, one's
// card is declined at first, one clicks twice, one's bank wants a word, and six just buy.
export default function (data) {
  const n = exec.scenario.iterationInTest;
  const buyer = new Buyer(`k6-${data.run}-${n}`);
  const lines = [{ sku: skus[n % skus.length], quantity }];
  check(readSale(), { 'the sale names what is sold': (page) => page !== null && page.items.some((item) => item.sku === lines[0].sku) });
  const began = Date.now();
  const key = newKey(buyer.id, 'reserve');

  const hold = n % 10 === 2 ? clickTwice(buyer, lines, key) : buyer.reserve(lines);
  if (!hold) return;
  if (n % 10 === 0) {
    changeOfMind(buyer, hold);
    return;
  }
  if (n % 10 === 1) {
    check(buyer.checkout(hold, 'pm_card_chargeDeclined'), { 'a declined card makes no order': (order) => order === null });
  }
  const order = buyer.checkout(hold, n % 10 === 3 ? secureMethod : paymentMethod);
  m.conversion.add(order !== null);
  if (order) m.journey.add(Date.now() - began);
}

// clickTwice repeats a request with its key, and must get the same hold.
function clickTwice(buyer, lines, key) {
  const first = buyer.reserve(lines, key);
  if (!first) return null;
  m.holds.add(1);
  const again = buyer.reserve(lines, key);
  check(again, { 'the same key gives the same hold': (r) => r !== null && r.id === first.id });
  return first;
}

function changeOfMind(buyer, hold) {
  const released = buyer.release(hold);
  check(null, {
    'a hold can be given back': () => released,
    'giving back twice is giving back once': () => buyer.release(hold),
  });
  if (released) m.released.add(1);
}

export function handleSummary(data) {
  return summary(`smoke: ${iterations} buyers, ${atATime} at a time`, data);
}
