// The same load for a long time: what leaks, fills up or slows down shows as drift. Beside
// the crowd one probe asks at fixed times, each answer counted from when it was due, and
// in the end compares the last fifth with the first: `drift` is the ratio of their p95.

import exec from 'k6/execution';
import { sleep } from 'k6';
import { Gauge } from 'k6/metrics';
import { number, p95, quantity, seconds, skus } from './lib/config.js';
import { Buyer } from './lib/flows.js';
import { begin, limits, options as all, steady } from './lib/shape.js';
import { summary } from './lib/summary.js';
import { named, tag, visit } from './lib/visit.js';

const rate = number('RATE', 20);
const length = seconds('DURATION', '30m');
const most = number('DRIFT', 1.5); // the last p95 may be so many times the first
const every = number('PROBE', 0.5); // seconds between two probes
const part = 0.2 * length;
const floor = 10; // ms: below it, a ratio says more about the machine's scheduler

const drift = new Gauge('drift');
const first = new Gauge('probe_p95_first', true);
const last = new Gauge('probe_p95_last', true);

export const options = all(
  {
    crowd: steady(rate, length, { exec: 'crowd' }),
    probe: { executor: 'per-vu-iterations', vus: 1, iterations: 1, maxDuration: `${length + 60}s`, exec: 'probe' },
  },
  limits({
    drift: [`value<${most}`],
    'http_req_duration{step:reserve,part:first}': [`p(95)<${p95('reserve', 250)}`],
    'http_req_duration{step:reserve,part:last}': [`p(95)<${p95('reserve', 250)}`],
    'http_req_duration{step:checkout,part:first}': [`p(95)<${p95('checkout', 1500)}`],
    'http_req_duration{step:checkout,part:last}': [`p(95)<${p95('checkout', 1500)}`],
  }),
);

export function setup() {
  return begin();
}

export function crowd(data) {
  const at = (Date.now() - exec.scenario.startTime) / 1000;
  tag('part', at < part ? 'first' : at < length - part ? 'middle' : 'last');
  visit(data);
}

// probe takes a unit and gives it back, again and again.
export function probe(data) {
  tag('part', 'probe');
  const start = Date.now();
  const seen = { first: [], last: [] };
  for (let due = 0; due < length; due += every) {
    sleep(Math.max(due - (Date.now() - start) / 1000, 0));
    const buyer = new Buyer(`${named(data)}-${Math.round(due / every)}`);
    const hold = buyer.reserve([{ sku: skus[0], quantity }]);
    const took = Date.now() - start - due * 1000;
    if (hold) buyer.release(hold);
    if (due < part) seen.first.push(took);
    if (due >= length - part) seen.last.push(took);
  }
  const [before, after] = [percentile(seen.first), percentile(seen.last)];
  first.add(before);
  last.add(after);
  drift.add(Math.max(after, floor) / Math.max(before, floor));
}

function percentile(times) {
  return Math.round(times.sort((a, b) => a - b)[Math.ceil(times.length * 0.95) - 1]);
}

export function handleSummary(data) {
  const value = (name) => (data.metrics[name] ? data.metrics[name].values.value : NaN);
  const note = `drift ${value('drift').toFixed(2)}: the probe's p95 was ${value('probe_p95_first')} ms in the first fifth and ${value('probe_p95_last')} ms in the last`;
  return summary(`soak: ${rate} visitors per second for ${length} s`, data, [note]);
}
