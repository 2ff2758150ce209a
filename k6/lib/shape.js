// The shape of a crowd, and what is demanded of a run: visitors arrive when they
// arrive, whether or not the engine keeps up (an open loop).

import exec from 'k6/execution';
import { sleep } from 'k6';
import { p95, think, whole } from './config.js';
import { readSale } from './flows.js';
import { trendStats } from './summary.js';

const perMinute = 60; // rates of less than one a second are whole numbers of these

// stages turns points [seconds, per second] into k6's: straight lines between them,
// and a jump where two are at the same time.
function stages(points) {
  return points.slice(1).map(([at, rate], i) => ({ duration: `${Math.round((at - points[i][0]) * 1000)}ms`, target: Math.round(rate * perMinute) }));
}

// arrivals gives a scenario. stay is how many seconds a visitor is there at most,
// by and large: so many VUs are made beforehand, because one that is made when it is
// needed comes late. MAX_VUS says otherwise; whoever finds none is dropped, and fails the run.
export function arrivals(points, more = {}) {
  const { stay = 4 + 8 * think, ...rest } = more;
  const peak = Math.max(...points.map(([, rate]) => rate));
  const vus = whole('MAX_VUS', Math.ceil(peak * stay) + 10);
  return {
    executor: 'ramping-arrival-rate',
    startRate: Math.round(points[0][1] * perMinute),
    timeUnit: `${perMinute}s`,
    stages: stages(points),
    preAllocatedVUs: vus,
    maxVUs: vus,
    gracefulStop: '60s',
    ...rest,
  };
}

// steady gives a scenario of so many visitors per second for so many seconds.
export function steady(rate, length, more = {}) {
  return arrivals([[0, rate], [length, rate]], more);
}

// Limits of the 95th percentile in ms, by step, where P95_… says nothing else.
const usual = { reserve: 250, checkout: 1500, action: 250, poll: 250, order: 250, release: 250, sale: 250 };

// limits gives thresholds: those that hold for every crowd, those of the steps, and
// more, which may replace or (with null) drop one of them.
export function limits(more = {}) {
  const out = {
    dropped_iterations: ['count==0'], // the load was what was asked for
    checks: ['rate==1'],
    unexpected: ['rate==0'],
    turned_away: ['rate==0'],
    http_req_failed: ['rate<0.05'], // answers that a retry resolved are here; the two above have the last word
    holds: ['count>0'], // a sale that was sold out before proves nothing
    confirmed: ['count>0'],
    conversion: ['rate>0.5'],
    time_to_no: [`p(95)<${p95('no', 250)}`],
  };
  Object.keys(usual).forEach((step) => {
    out[`http_req_duration{step:${step}}`] = [`p(95)<${p95(step, usual[step])}`];
  });
  [['reserve', 'held'], ['checkout', 'confirmed'], ['checkout', 'payment_declined'], ['checkout', 'next_action']].forEach(([step, outcome]) => {
    out[`answer_time{step:${step},outcome:${outcome}}`] = [`p(95)<${p95(step, usual[step])}`];
  });
  out['answer_time{step:reserve,outcome:sold_out}'] = [`p(95)<${p95('no', 250)}`];
  Object.assign(out, more);
  Object.keys(out).forEach((name) => out[name] === null && delete out[name]);
  return out;
}

export function options(scenarios, thresholds) {
  return { scenarios, thresholds, summaryTrendStats: trendStats, discardResponseBodies: false };
}

// begin is a script's setup. It names the run, so that its buyers are nobody's before
// (RUN does, if several instances share a test), looks if there is a sale to speak of,
// and, if that opens by the clock, waits until so many seconds before it.
export function begin(before = 0) {
  const page = readSale('setup');
  if (!page) exec.test.abort('the sale cannot be read: is API right, and is the engine up?');
  if (page.state !== 'open') {
    const left = (Date.parse(page.opens_at) - Date.now()) / 1000;
    if (page.state !== 'armed' || !(left < 3600)) exec.test.abort(`the sale is ${page.state}, and does not open within the hour`);
    if (before === 0) exec.test.abort('the sale is not open yet; this scenario needs one that is');
    sleep(Math.max(left - before, 0));
  }
  return { run: __ENV.RUN || Math.floor(Math.random() * 0xffffffff).toString(36), opensAt: page.opens_at || null };
}
