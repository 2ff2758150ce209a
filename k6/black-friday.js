// A whole day, midnight to midnight, compressed to DURATION: the curve of visitors is that
// of loadtest/curves, whose peak is RATE. The sale is open all day and has more than one
// thing to sell; stock is for the day, so that it is the load that changes and not the answers.

import { number, seconds } from './lib/config.js';
import { arrivals, begin, limits, options as all } from './lib/shape.js';
import { summary } from './lib/summary.js';
import { visit } from './lib/visit.js';

const rate = number('RATE', 60);
const length = seconds('DURATION', '10m');
const day = 86400;

const curve = open(__ENV.CURVE || '../loadtest/curves/black-friday.csv').trim().split('\n').slice(1).map((line) => {
  const [at, share] = line.split(',').map(Number);
  if (!(at >= 0 && at <= day && share >= 0)) throw new Error(`CURVE: ${line} is not seconds,rate`);
  return [(at / day) * length, share * rate];
});

export const options = all({ black_friday: arrivals(curve) }, limits());

export function setup() {
  return begin();
}

export default function (data) {
  visit(data);
}

export function handleSummary(data) {
  return summary(`black-friday: a day in ${length} s, ${rate} visitors per second at its peak`, data);
}
