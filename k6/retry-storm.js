// Clients without manners: in the middle of an ordinary day a page comes into the world whose
// timer fires at the turn of a second, for everybody; it sends three copies of a request at
// once, and again at once, whatever it is told. The engine must shed them, those who hold stock must still be able to pay, and when
// the storm is over everything must be as before.
//
//	before │ storm │ settling │ after

import { sleep } from 'k6';
import exec from 'k6/execution';
import { number, p95, seconds, skus, think, whole } from './lib/config.js';
import { dice } from './lib/dice.js';
import { Buyer } from './lib/flows.js';
import { begin, limits, options as all, steady } from './lib/shape.js';
import { summary } from './lib/summary.js';
import { named, pay, tag, visit } from './lib/visit.js';

const rate = number('RATE', 20); // ordinary visitors per second
const length = seconds('DURATION', '60s');
const storm = number('STORM', 3); // impatient clients per ordinary visitor
const copies = whole('COPIES', 3);
const rounds = whole('ROUNDS', 30); // how often one of them tries
const settle = Math.min(5, length / 12); // seconds in which it may recover
const from = length / 4;
const until = length / 2;

// In a storm nobody but who pays is owed a quick answer: the limits of the other steps hold afterwards.
const calm = { 'answer_time{step:reserve,outcome:held}': null };
['reserve', 'action', 'poll', 'order', 'release', 'sale'].forEach((step) => {
  calm[`http_req_duration{step:${step}}`] = null;
  calm[`http_req_duration{step:${step},phase:after}`] = [`p(95)<${p95(step, 250)}`];
});

export const options = all(
  {
    visitors: steady(rate, length, { exec: 'visitor', stay: 12 + 8 * think }), // a storm makes them stay longer
    impatient: steady(rate * storm, until - from, { exec: 'impatient', startTime: `${from}s`, stay: 12 }),
  },
  limits({
    shed: ['count>0'], // an engine that never had to was not in a storm: raise STORM, or limit the engine
    turned_away: null, // in the storm some are, and are told when to come again; but:
    http_req_failed: null,
    'turned_away{phase:before}': ['rate==0'],
    'turned_away{step:checkout}': ['rate==0'], // who holds stock goes first, also then
    'turned_away{phase:after}': ['rate==0'],
    'unexpected{phase:after}': ['rate==0'],
    'http_req_failed{phase:after}': ['rate<0.01'],
    ...calm,
    'http_req_duration{step:reserve,phase:before}': [`p(95)<${p95('reserve', 250)}`],
    'http_req_duration{step:checkout,phase:storm}': [`p(95)<${p95('checkout', 1500)}`],
    'http_req_duration{step:checkout,phase:after}': [`p(95)<${p95('checkout', 1500)}`],
    'holds{phase:after}': ['count>0'],
    'confirmed{phase:after}': ['count>0'],
  }),
);

export function setup() {
  return begin();
}

// A visit belongs to the phase in which it began.
export function visitor(data) {
  const at = (Date.now() - exec.scenario.startTime) / 1000;
  tag('phase', at < from ? 'before' : at < until ? 'storm' : at < until + settle ? 'settling' : 'after');
  visit(data);
}

export function impatient(data) {
  tag('phase', 'storm');
  const began = Date.now();
  const roll = dice(exec.scenario.iterationInTest);
  const buyer = new Buyer(named(data));
  sleep(1 - (Date.now() % 1000) / 1000);
  const hold = buyer.storm([{ sku: skus[Math.floor(roll() * skus.length)], quantity: 1 }], copies, rounds);
  if (hold) pay(buyer, hold, roll, began);
}

export function handleSummary(data) {
  const p = (phase) => data.metrics[`http_req_duration{step:reserve,phase:${phase}}`].values['p(95)'].toFixed(1);
  const note = `p95 of reserve: ${p('before')} ms before the storm, ${p('after')} ms after it; ${data.metrics.shed ? data.metrics.shed.values.count : 0} answers were "not now"`;
  return summary(`retry-storm: ${rate} visitors per second for ${length} s, and ${rate * storm} impatient clients per second in its second quarter`, data, [note]);
}
