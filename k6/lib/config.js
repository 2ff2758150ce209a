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

// number reads a variable that must lie in a range.
export function number(name, fallback, least = Number.MIN_VALUE, most = Infinity) {
  const n = Number(__ENV[name] || fallback);
  if (!(n >= least && n <= most)) {
    throw new Error(`${name} must be a number ${least === Number.MIN_VALUE ? 'above 0' : `from ${least}`}${most < Infinity ? ` to ${most}` : ''}, not ${__ENV[name]}`);
  }
  return n;
}

export function whole(name, fallback, least = 1) {
  const n = number(name, fallback, least);
  if (!Number.isInteger(n)) throw new Error(`${name} must be a whole number, not ${__ENV[name]}`);
  return n;
}

// seconds reads a time such as 90s, 10m or 1h30m.
export function seconds(name, fallback) {
  const text = __ENV[name] || fallback;
  const parts = /^(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s)?$/.exec(text);
  const n = parts ? (Number(parts[1]) || 0) * 3600 + (Number(parts[2]) || 0) * 60 + (Number(parts[3]) || 0) : 0;
  if (!(n > 0)) throw new Error(`${name} must be a time such as 90s, 10m or 1h30m, not ${text}`);
  return n;
}

export const api = need('API', __ENV.API || demo.api).replace(/\/+$/, '');
export const sale = need('SALE', __ENV.SALE || demo.sale);
export const skus = need('SKUS', __ENV.SKUS ? __ENV.SKUS.split(',').map((s) => s.trim()).filter(Boolean) : demo.skus);
export const buyerKey = need('BUYER_KEY', __ENV.BUYER_KEY || demo.buyer_key);
export const audience = __ENV.AUDIENCE || 'flashsale';

export const quantity = whole('QUANTITY', 1);
export const paymentMethod = __ENV.PAYMENT_METHOD || 'pm_card_visa';
export const declinedMethod = __ENV.DECLINED_METHOD || 'pm_card_chargeDeclined';
export const secureMethod = __ENV.SECURE_METHOD || 'pm_card_authenticationRequired'; // one that asks for 3-D Secure

// seed of what each visitor does: the same one and the same RUN draw the same crowd.
export const seed = whole('SEED', 1, 0);

// think is the mean, in seconds, of each time that a visitor hesitates.
export const think = number('THINK', 1, 0);

// wait is how many seconds a checkout waits for the commit (Prefer: wait=N);
// empty leaves it to the engine, 0 always answers 202 and so tries polling.
export const wait = __ENV.WAIT || '';

// p95 gives the limit of a step's 95th percentile in milliseconds: P95_RESERVE and so
// on, or the usual one, which SLACK widens for a machine that everything shares.
const slack = number('SLACK', 1);

export function p95(step, usual) {
  return whole(`P95_${step.toUpperCase()}`, Math.round(usual * slack));
}
