// A drop: early birds look at a page that says "not yet", and everybody else comes in the
// moment it opens. Within seconds most of them hear "sold out"; some refresh, some leave.
//
//	visitors per second
//	RATE ┤          ▛▀▀▀▜▖
//	     │          ▌    ▝▚▖
//	     │▗▄▄▄▄▄▄▄▄▄▌      ▝▀▀▀▄▄▄▄▄
//	     └┴─────────┴────┴─────────┴ DURATION
//	      early birds opening

import { number, seconds } from './lib/config.js';
import { arrivals, begin, limits, options as all } from './lib/shape.js';
import { summary } from './lib/summary.js';
import { visit } from './lib/visit.js';

const rate = number('RATE', 100);
const length = seconds('DURATION', '60s');
const opening = 0.2 * length; // seconds from the start; for a sale that opens by the clock it is opens_at

export const options = all(
  {
    flash_sale: arrivals([
      [0, rate * 0.05], [opening, rate * 0.1],
      [opening, rate], [opening + 0.15 * length, rate],
      [opening + 0.3 * length, rate * 0.2], [length, rate * 0.05],
    ]),
  },
  limits({ sold_outs: ['count>0'] }), // a drop that does not sell out is none
);

export function setup() {
  return begin(opening);
}

export default function (data) {
  visit(data);
}

export function handleSummary(data) {
  return summary(`flash-sale: up to ${rate} visitors per second, ${length} s`, data);
}
