// What a sale is about, beside k6's own http metrics. A refusal such as "sold
// out" is an answer, not a failure: only `unexpected` counts failures.

import { Counter, Rate, Trend } from 'k6/metrics';

export const holds = new Counter('holds'); // reservations made
export const soldOuts = new Counter('sold_outs'); // 409 sold_out
export const buyerLimits = new Counter('buyer_limits'); // 409 buyer_limit
export const confirmed = new Counter('confirmed'); // orders
export const declined = new Counter('declined'); // 402 payment_declined
export const actions = new Counter('actions'); // 200 next_action: the buyer's bank wanted a word
export const released = new Counter('released'); // holds given back
export const abandoned = new Counter('abandoned'); // holds that somebody walked away from
export const retries = new Counter('retries'); // requests repeated after a transient answer, same Idempotency-Key
export const shed = new Counter('shed'); // answers "not now" (429; 503 overloaded, payment_unavailable), those that a retry resolved included

export const conversion = new Rate('conversion'); // of the holds that went to pay, those that became orders
export const turnedAway = new Rate('turned_away'); // of all steps, those that were still told so when patience was over
export const unexpected = new Rate('unexpected'); // of all steps, those whose last answer the contract does not foresee

export const answerTime = new Trend('answer_time', true); // ms, of each step's last answer; tags step and outcome
export const timeToNo = new Trend('time_to_no', true); // ms, reserve to a refusal: the crowd must not wait for it
export const journey = new Trend('journey', true); // ms, reserve to confirmed
