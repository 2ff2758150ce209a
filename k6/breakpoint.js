// How much does it carry? Visitors come faster from level to level, until thresholds break
// so far that the run is ended. What is measured is the whole way: every visitor reserves, hesitates,
// and pays, and a level is held if all its thresholds are. The last one that was is the capacity.

import { sleep } from 'k6';
import exec from 'k6/execution';
import { Rate, Trend } from 'k6/metrics';
import { number, paymentMethod, quantity, seconds, skus, think, whole } from './lib/config.js';
import { dice, exponential } from './lib/dice.js';
import { Buyer } from './lib/flows.js';
import * as m from './lib/metrics.js';
import { arrivals, begin, options as all } from './lib/shape.js';
import { summary } from './lib/summary.js';
import { named, tag } from './lib/visit.js';

const start = number('RATE', 20); // visitors per second of the first level
const step = number('STEP', 1.1, 1.01, 10); // each level is so many times the one before
const levels = whole('LEVELS', 20);
const hold = seconds('HOLD', '10s'); // how long one lasts
const warm = seconds('WARM', '5s'); // at the first level's rate, before it; not judged
const percentile = number('PERCENTILE', 99, 50, 99.9);
const slow = whole('SLOW', 1000); // ms that this percentile of checkouts may take, repeats included
const wrong = number('ERRORS', 0.01, 0, 1); // share of visitors who may leave without the order they meant to pay

const paid = new Trend('time_to_order', true); // ms from the click to the order
const failed = new Rate('left_without');

const rates = Array.from({ length: levels }, (_, i) => Math.round(start * step ** i * 10) / 10);
const points = [[0, start]].concat(rates.flatMap((rate, i) => [[warm + i * hold, rate], [warm + (i + 1) * hold, rate]]));

// A level is judged as a whole, in the end. While it lasts a threshold sees only its
// beginning, in which one slow answer is a percentile; so what ends the run is twice that.
const thresholds = { dropped_iterations: [{ threshold: 'count==0', abortOnFail: true }], checks: ['rate==1'], unexpected: ['rate==0'] };
rates.forEach((rate) => {
  thresholds[`time_to_order{level:${rate}}`] = [`p(${percentile})<${slow}`, { threshold: `p(${percentile})<${2 * slow}`, abortOnFail: true }];
  thresholds[`left_without{level:${rate}}`] = [`rate<=${wrong}`, { threshold: `rate<=${Math.min(2 * wrong + 0.05, 1)}`, abortOnFail: true }];
});

export const options = all({ breakpoint: arrivals(points, { stay: think + 3 * (slow / 1000) }) }, thresholds);
options.summaryTrendStats = options.summaryTrendStats.concat(`p(${percentile})`);

export function setup() {
  return begin();
}

export default function (data) {
  const at = (Date.now() - exec.scenario.startTime) / 1000 - warm;
  tag('level', at < 0 ? 'warm' : String(rates[Math.min(Math.floor(at / hold), levels - 1)]));
  const roll = dice(exec.scenario.iterationInTest);
  const buyer = new Buyer(named(data));
  const held = buyer.reserve([{ sku: skus[Math.floor(roll() * skus.length)], quantity }]);
  let order = null;
  if (held) {
    sleep(exponential(roll, think));
    const clicked = Date.now();
    order = buyer.checkout(held, paymentMethod);
    if (order) paid.add(Date.now() - clicked);
  }
  m.conversion.add(order !== null);
  failed.add(order === null);
}

// capacity is the last level that was held, with all below it. One that was cut short was not.
function capacity(data) {
  const kept = (name) => !data.metrics[name] || Object.values(data.metrics[name].thresholds || {}).every((t) => t.ok);
  const out = [];
  rates.forEach((rate) => {
    const time = data.metrics[`time_to_order{level:${rate}}`];
    const left = data.metrics[`left_without{level:${rate}}`];
    const visits = left ? left.values.passes + left.values.fails : 0;
    if (visits === 0) return;
    const complete = visits >= 0.95 * rate * hold;
    out.push({
      rate, visits, slow: time ? time.values[`p(${percentile})`] : 0, failed: left.values.rate,
      held: complete && kept(`time_to_order{level:${rate}}`) && kept(`left_without{level:${rate}}`),
    });
  });
  const broken = out.findIndex((l) => !l.held);
  const last = broken < 0 ? out.length - 1 : broken - 1;
  const found = last < 0 ? null : out[last].rate;
  return { capacity: found, broke: broken >= 0, levels: out, pass: found !== null && kept('checks') && kept('unexpected') };
}

export function handleSummary(data) {
  const found = capacity(data);
  const head = found.capacity === null ? 'capacity: not even the first level was held; lower RATE'
    : `capacity: ${found.capacity} visitors per second${found.broke ? '' : ' or more: nothing broke; raise LEVELS or RATE'}`;
  const lines = found.levels.map((l) => `${l.held ? 'held  ' : 'broken'} ${l.rate} per second: p${percentile} ${l.slow.toFixed(0)} ms, ${(l.failed * 100).toFixed(2)} % without an order, ${l.visits} visits`);
  return summary(`breakpoint: ${levels} levels of ${hold} s from ${start} visitors per second, each ${step} times the one before`, data, [head, ...lines], found);
}
