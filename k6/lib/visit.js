// A visitor as they come: they look, hesitate, ask, click twice, refresh a page that
// says "sold out", walk away from what they hold, have a card declined, are asked by
// their bank, and pay. What each one does is drawn from the seed and their number.

import { sleep } from 'k6';
import exec from 'k6/execution';
import { declinedMethod, paymentMethod, quantity, secureMethod, skus, think } from './config.js';
import { dice, exponential } from './dice.js';
import { Buyer, readSale } from './flows.js';
import * as m from './metrics.js';

// Shares of the visitors who come to that point.
export const habits = {
  clicksTwice: 0.05,
  secondItem: 0.1, // a cart of two, where more than one thing is sold
  refreshes: 0.5, // of those who were told "sold out", up to three times
  abandons: 0.1, // leave a hold without a word
  changesMind: 0.05, // give it back
  declined: 0.1, // have their first card declined; most of them have another one
  secondCard: 0.8,
  secure: 0.15, // are asked by their bank
  failsAtBank: 0.1, // of those
};

// named gives this iteration's visitor: nobody else's, of all instances of a test.
export function named(data) {
  return `k6-${data.run}-${exec.scenario.name}-${exec.scenario.iterationInTest}`;
}

// tag sets a tag of everything that this VU counts from now on, until it is set again.
export function tag(name, value) {
  exec.vu.metrics.tags[name] = value;
}

export function hesitate(roll) {
  sleep(exponential(roll, think));
}

// visit goes the whole way. choose(roll, again) names the SKU that the visitor wants,
// and again the one that they take instead when it is sold out, or null.
export function visit(data, choose = anything, { carts = true } = {}) {
  const began = Date.now();
  const roll = dice(exec.scenario.iterationInTest);
  const buyer = new Buyer(named(data));
  const lines = [{ sku: choose(roll, false), quantity }];
  if (carts && skus.length > 1 && roll() < habits.secondItem) {
    lines.push({ sku: skus.find((s) => s !== lines[0].sku), quantity: 1 });
  }
  waitForOpening(readSale(), roll);
  hesitate(roll);
  let hold = roll() < habits.clicksTwice ? buyer.clickTwice(lines) : buyer.reserve(lines);
  if (!hold) hold = refresh(buyer, lines, roll, choose);
  if (hold) pay(buyer, hold, roll, began);
}

function anything(roll) {
  return skus[Math.floor(roll() * skus.length)];
}

// waitForOpening is the countdown on the page.
function waitForOpening(page, roll) {
  if (!page || page.state === 'open' || !page.opens_at) return;
  sleep(Math.max((Date.parse(page.opens_at) - Date.now()) / 1000, 0) + roll() * 0.2);
}

// refresh is who was told "sold out": some look at the page again and ask if it
// shows something, the others take another thing or leave.
function refresh(buyer, lines, roll, choose) {
  if (roll() < habits.refreshes) {
    for (let i = 0; i < 3; i += 1) {
      sleep(think * (0.5 + roll()));
      const page = readSale();
      const there = page && lines.every((l) => page.items.some((item) => item.sku === l.sku && item.availability !== 'none'));
      const hold = there ? buyer.reserve(lines) : null;
      if (hold) return hold;
    }
  }
  const other = choose(roll, true);
  return other && !lines.some((l) => l.sku === other) ? buyer.reserve([{ sku: other, quantity }]) : null;
}

// pay is the way from a hold to an order, or away from it.
export function pay(buyer, hold, roll, began) {
  hesitate(roll);
  const mood = roll();
  if (mood < habits.abandons) {
    m.abandoned.add(1);
    return;
  }
  if (mood < habits.abandons + habits.changesMind) {
    buyer.release(hold);
    return;
  }
  let order = null;
  if (roll() < habits.declined) {
    buyer.checkout(hold, declinedMethod);
    if (roll() >= habits.secondCard) return;
    hesitate(roll);
  }
  if (roll() < habits.secure) {
    const fails = roll() < habits.failsAtBank;
    order = buyer.checkout(hold, secureMethod, fails ? 'fail' : 'complete');
    if (fails) return;
  } else {
    order = buyer.checkout(hold, paymentMethod);
  }
  m.conversion.add(order !== null);
  if (order) m.journey.add(Date.now() - began);
}
