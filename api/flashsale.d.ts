// Types of /flashsale.js. docs/storefront.md of the engine says how it is used.

/** Money in minor units of its currency. */
export interface Money { amount: number; currency: string }

export interface Item { sku: string; title: string; unit_price: number; availability: "high" | "low" | "none" }

export interface Sale {
  id: string;
  name: string;
  state: "draft" | "armed" | "open" | "paused" | "draining" | "closed";
  currency: string;
  /** An armed sale opens at this time by itself; absent: when its operator opens it. */
  opens_at?: string;
  closes_at?: string;
  per_buyer_limit: number;
  hold_ttl: string;
  items: Item[];
  now: string;
}

export interface CartLine { sku: string; quantity: number }
export interface PricedLine extends CartLine { unit_price: number }

/** What the buyer has to do at the payment provider first: send them to `url`. */
export interface NextAction { type: string; url: string }

export interface Reservation {
  id: string;
  sale: string;
  buyer: string;
  state: "held" | "paying" | "accepted" | "confirmed" | "released" | "expired" | "refused";
  lines: PricedLine[];
  total: Money;
  /** Until when it is the buyer's; null once nothing can expire. */
  expires_at: string | null;
  seq: number;
  order?: string;
  reason?: string;
  next_action?: NextAction;
}

export interface ActionNeeded { state: "action_required"; next_action: NextAction; expires_at: string; reservation: Reservation }

export interface Order {
  id: string;
  reservation: string;
  sale: string;
  buyer: string;
  state: "confirmed" | "refused";
  lines: PricedLine[];
  total: Money;
  payment: { provider: string; state: string };
  placed_at: string;
  reason?: string;
}

export interface Ticket {
  sale: string;
  ticket: number;
  /** From the opening on. */
  place?: number;
  state: "waiting" | "reached" | "admitted" | "passed" | "unreachable" | "closed";
  /** Places before it. */
  position?: number;
  wait_seconds?: number;
  token?: string;
  expires_at?: string;
  /** Stock will hardly reach this place; it moves up if units come back. */
  waitlist?: boolean;
}

export interface Address { name: string; line1: string; line2?: string; city: string; region?: string; postal_code?: string; country: string }

export interface Payment {
  /** The payment provider's token, never a card number. */
  payment_method: string;
  contact?: { email?: string; address?: Address };
}

/** Why something takes longer; without `code`, it goes on. */
export interface Notice {
  doing: "watch" | "enter" | "leave" | "reserve" | "refresh" | "release" | "checkout" | "order";
  /** The refusal's code; `no_answer`: nobody knows; `pending`: the payment has no end yet; `challenge_required`: it is being solved. */
  code?: string;
  message?: string;
  /** In so many seconds it is tried again. */
  retryAfter?: number;
}

export interface Options {
  sale: string;
  /** Gives a buyer token that the storefront's back end has signed. Asked again when one has expired. */
  token: () => string | Promise<string>;
  /** The engine's address; where this script came from, unless given. */
  base?: string;
  notice?: (n: Notice) => void;
  /** Shows a Turnstile widget and gives its token. */
  turnstile?: (siteKey: string) => Promise<string>;
  /** Where keys are kept; localStorage, unless given. */
  store?: Pick<Storage, "getItem" | "setItem">;
}

export interface Memory {
  cart?: { key: string; lines: CartLine[]; admission?: string } | null;
  reservation?: Reservation | null;
  pay?: { key: string; body: Payment } | null;
  admission?: string | null;
  order?: string | null;
}

/** `signal` ends the waiting, not what was asked for: see resume and release. */
export interface Patience { signal?: AbortSignal }

export interface Shop {
  /** The server's time in milliseconds, once `watch` has read it. */
  now(): number;
  /** Milliseconds until a time of the server's; 0 once it has come. */
  left(time: string): number;
  memory(): Memory;
  watch(show: (sale: Sale) => void): () => void;
  enter(show?: (ticket: Ticket) => void, how?: Patience): Promise<Ticket>;
  leave(): Promise<{ sale: string; state: "left" | "admitted" | "passed" }>;
  reserve(lines: CartLine[], how?: Patience): Promise<Reservation>;
  refresh(how?: Patience): Promise<Reservation | null>;
  release(how?: Patience): Promise<Reservation | null>;
  checkout(payment: Payment, how?: Patience): Promise<Order | ActionNeeded>;
  resume(how?: Patience): Promise<Order | ActionNeeded | Reservation | null>;
}

/** A refusal: final, unlike an answer that did not come. It has the members of the problem document. */
export class Refusal extends Error {
  code: string;
  status?: number;
  detail?: string;
  what_to_do?: string;
  request_id?: string;
  decline_code?: string;
  opens_at?: string;
  field?: string;
  reason?: string;
  retryAfter?: number;
}

export function flashsale(options: Options): Shop;
