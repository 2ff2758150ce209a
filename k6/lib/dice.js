// What a visitor does follows from SEED and their number, not from the order in which
// things happen: the same crowd comes again, and instances that share a test draw
// different visitors.

import { seed } from './config.js';

// dice gives a stream of numbers in [0, 1): mulberry32.
export function dice(n) {
  let a = (Math.imul(seed, 0x9e3779b1) ^ Math.imul(n + 1, 0x85ebca6b)) >>> 0;
  return () => {
    a = (a + 0x6d2b79f5) >>> 0;
    let t = Math.imul(a ^ (a >>> 15), a | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

// exponential draws a time with this mean, cut off at five times it.
export function exponential(roll, mean) {
  return Math.min(-Math.log(1 - roll()), 5) * mean;
}

// zipf gives a draw of ranks 0 to n - 1, of which the first gets this share: the
// k-th gets as much as 1/k to a power that makes it so.
export function zipf(n, share) {
  const weights = (power) => Array.from({ length: n }, (_, k) => (k + 1) ** -power);
  const first = (power) => 1 / weights(power).reduce((a, b) => a + b);
  let low = 0;
  let high = 30;
  for (let i = 0; i < 60; i += 1) {
    const mid = (low + high) / 2;
    if (first(mid) < share) low = mid;
    else high = mid;
  }
  const all = weights(low);
  const sum = all.reduce((a, b) => a + b);
  return (roll) => {
    let left = roll() * sum;
    return Math.max(all.findIndex((w) => (left -= w) < 0), 0);
  };
}
