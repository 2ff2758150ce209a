// Where to aim, and as whom. Everything comes from the environment; what is not
// given is taken from FLASHSALE_DEMO, the line of JSON that `flashsale demo --json`
// prints when it is ready.

const demo = JSON.parse(__ENV.FLASHSALE_DEMO || '{}');

function need(name, value) {
  if (!value || value.length === 0) {
    throw new Error(`${name} is not set: give API, SALE, SKUS and BUYER_KEY, or FLASHSALE_DEMO`);
  }
  return value;
}

function whole(name, fallback) {
  const n = Number(__ENV[name] || fallback);
  if (!Number.isInteger(n) || n < 1) {
    throw new Error(`${name} must be a whole number above zero, not ${__ENV[name]}`);
  }
  return n;
}

export const api = need('API', __ENV.API || demo.api).replace(/\/+$/, '');
export const sale = need('SALE', __ENV.SALE || demo.sale);
export const skus = need('SKUS', __ENV.SKUS ? __ENV.SKUS.split(',').map((s) => s.trim()).filter(Boolean) : demo.skus);
export const buyerKey = need('BUYER_KEY', __ENV.BUYER_KEY || demo.buyer_key);

export const vus = whole('VUS', 5);
export const iterations = whole('ITERATIONS', 50);
export const quantity = whole('QUANTITY', 1);
export const paymentMethod = __ENV.PAYMENT_METHOD || 'pm_card_visa';
export const secureMethod = __ENV.SECURE_METHOD || 'pm_card_authenticationRequired'; // one that asks for 3-D Secure

// wait is how many seconds a checkout waits for the commit (Prefer: wait=N);
// empty leaves it to the engine, 0 always answers 202 and so tries polling.
export const wait = __ENV.WAIT || '';

// p95 gives the limit of a step's 95th percentile in milliseconds: P95_RESERVE and so on.
export function p95(step, fallback) {
  return whole(`P95_${step.toUpperCase()}`, fallback);
}
