// Buyer tokens, as the storefront's back end signs them: a JWT with HS256.

import crypto from 'k6/crypto';
import encoding from 'k6/encoding';
import { audience, buyerKey } from './config.js';

const header = part({ alg: 'HS256', typ: 'JWT' });
const lifetime = 3600; // seconds

function part(value) {
  return encoding.b64encode(JSON.stringify(value), 'rawurl');
}

// token signs for one buyer. The buyer's id is opaque to the engine.
export function token(buyer) {
  const now = Math.floor(Date.now() / 1000);
  const signed = `${header}.${part({ sub: buyer, aud: audience, iat: now, exp: now + lifetime })}`;
  return `${signed}.${crypto.hmac('sha256', buyerKey, signed, 'base64rawurl')}`;
}
