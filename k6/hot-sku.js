// Everybody wants the same: of all SKUs the first gets HOT of the visitors, the others
// share the rest as Zipf has it. When the hot one is gone, those who wanted another one
// must not notice, and one in five of the others takes something else.

import { number, p95, seconds, skus } from './lib/config.js';
import { zipf } from './lib/dice.js';
import { begin, limits, options as all, steady } from './lib/shape.js';
import { summary } from './lib/summary.js';
import { tag, visit } from './lib/visit.js';

const rate = number('RATE', 60);
const length = seconds('DURATION', '60s');
const hot = number('HOT', 0.9, 0.01, 0.99);
const elsewhere = 0.2;

if (skus.length < 5) throw new Error(`hot-sku needs a sale with five SKUs or more; SKUS names ${skus.length}`);
const rank = zipf(skus.length, hot);

export const options = all(
  { hot_sku: steady(rate, length) },
  limits({
    'holds{heat:hot}': ['count>0'],
    'sold_outs{heat:hot}': ['count>0'], // otherwise it was not hot
    'holds{heat:cold}': ['count>0'],
    'sold_outs{heat:cold}': ['count==0'], // the others have enough, and nobody hears otherwise
    'answer_time{step:reserve,heat:hot}': [`p(95)<${p95('reserve', 250)}`],
    'answer_time{step:reserve,heat:cold}': [`p(95)<${p95('reserve', 250)}`],
  }),
);

export function setup() {
  return begin();
}

export default function (data) {
  visit(data, (roll, again) => {
    if (again) {
      if (roll() >= elsewhere) return null;
      tag('heat', 'cold');
      return skus[1 + Math.floor(roll() * (skus.length - 1))];
    }
    const k = rank(roll);
    tag('heat', k === 0 ? 'hot' : 'cold');
    return skus[k];
  }, { carts: false }); // a cart of a hot and a cold one would be neither
}

export function handleSummary(data) {
  const count = (name) => (data.metrics[name] ? data.metrics[name].values.count : 0);
  const note = `hot: ${count('holds{heat:hot}')} holds, ${count('sold_outs{heat:hot}')} × sold out; the ${skus.length - 1} others: ${count('holds{heat:cold}')} holds, ${count('sold_outs{heat:cold}')} × sold out`;
  return summary(`hot-sku: ${rate} visitors per second for ${length} s, ${hot * 100} % for one of ${skus.length} SKUs`, data, [note]);
}
