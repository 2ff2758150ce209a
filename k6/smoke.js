// Does the whole way work: reserve, pay, poll, read, give back, repeat? A few
// buyers walk it, each once, and every answer is looked at. This is a check, not
// a measurement: VUs wait for their answers (a closed loop), so its latencies
// say nothing about a crowd.

import { check } from 'k6';
import exec from 'k6/execution';
import { declinedMethod, paymentMethod, quantity, secureMethod, skus, whole } from './lib/config.js';
import { Buyer, readSale } from './lib/flows.js';
import * as m from './lib/metrics.js';
import { begin, limits, options as all } from './lib/shape.js';
import { summary } from './lib/summary.js';
import { named } from './lib/visit.js';

const iterations = whole('ITERATIONS', 50);
const vus = Math.min(whole('VUS', 5), iterations);

export const options = all(
  { smoke: { executor: 'shared-iterations', vus, iterations, maxDuration: '5m' } },
  limits({ actions: ['count>0'], dropped_iterations: null, time_to_no: null }),
);

export function setup() {
  return begin();
}

// One iteration is one buyer's visit: look at the sale, then ask. Of ten, one changes their mind, one's
// card is declined at first, one clicks twice, one's bank wants a word, and six just buy.
export default function (data) {
  const n = exec.scenario.iterationInTest;
  const buyer = new Buyer(named(data));
  const lines = [{ sku: skus[n % skus.length], quantity }];
  check(readSale(), { 'the sale names what is sold': (page) => page !== null && page.items.some((item) => item.sku === lines[0].sku) });
  const began = Date.now();
  const hold = n % 10 === 2 ? buyer.clickTwice(lines) : buyer.reserve(lines);
  if (!hold) return;
  if (n % 10 === 0) {
    check(null, {
      'a hold can be given back': () => buyer.release(hold),
      'giving back twice is giving back once': () => buyer.release(hold),
    });
    return;
  }
  if (n % 10 === 1) {
    check(buyer.checkout(hold, declinedMethod), { 'a declined card makes no order': (order) => order === null });
  }
  const order = buyer.checkout(hold, n % 10 === 3 ? secureMethod : paymentMethod);
  m.conversion.add(order !== null);
  if (order) m.journey.add(Date.now() - began);
}

export function handleSummary(data) {
  return summary(`smoke: ${iterations} buyers, ${vus} at a time`, data);
}
