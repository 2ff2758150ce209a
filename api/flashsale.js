// flashsale.js: what a storefront's page needs to sell from the engine. How to use it: docs/storefront.md; types: flashsale.d.ts.
//
// One rule runs through it: an answer that did not come is neither a yes nor a no. The same request is sent again under
// the same key, after a reload and from another tab too, until there is an answer. So nothing is ever done twice.

/** A refusal. It has the members of the engine's problem document, such as `code`, and `retryAfter` in seconds. */
export class Refusal extends Error {
  constructor(problem, retryAfter) {
    super(problem.detail || problem.title);
    Object.assign(this, problem, { name: "Refusal", retryAfter });
  }
}

const gone = ["expired", "released", "refused"]; // a reservation that is over, without an order
const final = (e) => e instanceof Refusal && e.status != 401; // who is not let in learns nothing of what they asked for
const over = ["reservation_expired", "reservation_released", "reservation_lost", "order_refused", "not_found"];

export function flashsale({ sale, token, base = new URL(import.meta.url).origin, notice = () => {}, turnstile, store }) {
  const saleURL = "/v1/sales/" + sale;

  // What must outlive the page: the keys of what was asked for, and what came of it.
  const slot = `flashsale:${base}:${sale}`;
  let unsaved; // where the browser keeps nothing for this page
  const memory = () => {
    try {
      return unsaved || JSON.parse((store ||= localStorage).getItem(slot)) || {};
    } catch {
      return {};
    }
  };
  const keep = (change) => {
    const all = { ...memory(), ...change };
    try {
      store.setItem(slot, JSON.stringify(all));
    } catch {
      unsaved = all;
    }
  };
  const forget = (rest) => keep({ cart: null, reservation: null, pay: null, admission: null, ...rest });

  // The server's clock: ours, corrected by the reading that was on its way for the shortest time.
  let skew = 0, doubt = Infinity, read = 0;
  const now = () => Date.now() + skew;
  async function look() {
    const sent = Date.now();
    const { doc } = await once("GET", saleURL, { open: true });
    const got = Date.now(), way = got - sent;
    if (way <= doubt || got - read > 60000) {
      skew = Date.parse(doc.now) + way / 2 - got;
      doubt = way;
      read = got;
    }
    return doc;
  }

  // once asks once. What it throws is a Refusal, or means that nobody knows.
  let bearer;
  async function once(method, path, { body, key, open, headers } = {}) {
    headers = { ...headers };
    if (!open) headers.Authorization = "Bearer " + (bearer ||= await token());
    if (key) headers["Idempotency-Key"] = `"${key}"`;
    if (body) headers["Content-Type"] = "application/json";
    const res = await fetch(base + path, { method, headers, body: body && JSON.stringify(body), cache: "no-store", signal: AbortSignal.timeout(45000) });
    const doc = await res.json(); // an answer that is cut short is none
    if (res.ok) return { status: res.status, doc };
    if (res.status == 401) bearer = null;
    throw new Refusal(doc, +res.headers.get("Retry-After"));
  }

  // ask asks until there is an answer.
  async function ask(doing, method, path, how = {}) {
    let renewed, solved = 0, tries = 0;
    for (;;) {
      let e, wait;
      try {
        const answer = await once(method, path, how);
        if (tries) notice({ doing });
        return answer;
      } catch (x) {
        e = x;
      }
      tries++;
      if (e instanceof Refusal) {
        if (e.code == "challenge_required" && solved++ < 5) {
          notice({ doing, code: e.code, message: e.message });
          how = { ...how, headers: { ...how.headers, [e.challenge.header]: await solve(e.challenge, turnstile) } };
          continue;
        }
        if (e.status == 401 && !renewed) {
          renewed = true; // the token was too old: the next one may be good
          continue;
        }
        if (e.status < 500 && e.status != 429 && e.status != 408 && e.code != "attempt_in_progress") throw e;
        wait = e.retryAfter * 1000;
      }
      wait = (wait || Math.min(250 * 2 ** tries, 15000)) * (1 + Math.random() / 2); // never earlier than told, and not all at once
      notice({ doing, code: e.code || "no_answer", message: e.message, retryAfter: wait / 1000 });
      await pause(wait, how.signal);
    }
  }

  // alone keeps two tabs from doing the same at the same time.
  const alone = (go) => (navigator.locks ? navigator.locks.request(slot, go) : go());

  async function reserve(lines, signal) {
    let { cart, reservation, admission } = memory();
    const asked = cart;
    if (!cart) keep({ cart: (cart = { key: uid(), lines, admission }), order: null });
    try {
      ({ doc: reservation } = await ask("reserve", "POST", saleURL + "/reservations", {
        body: { lines: cart.lines }, key: cart.key, signal, headers: cart.admission && { "Admission-Token": cart.admission },
      }));
    } catch (e) {
      if (final(e)) keep({ cart: null, reservation: null, admission: e.code == "admission_required" ? null : admission }); // it outlives a "sold out"
      throw e;
    }
    if (asked && gone.includes(reservation.state)) { // what an earlier visit asked for is over
      forget({ admission: null });
      return reserve(lines, signal);
    }
    keep({ reservation });
    return reservation;
  }

  async function refresh(signal) {
    const { reservation } = memory();
    if (!reservation) return null;
    try {
      const { doc } = await ask("refresh", "GET", "/v1/reservations/" + reservation.id, { signal });
      if (gone.includes(doc.state)) forget();
      else if (doc.order) forget({ order: doc.order });
      else keep({ reservation: doc });
      return doc;
    } catch (e) {
      if (over.includes(e.code)) forget();
      throw e;
    }
  }

  // settle brings the payment that was begun to its end, or to what the buyer has to do.
  async function settle(signal) {
    for (;;) {
      const { reservation, pay } = memory();
      try {
        const { status, doc } = await ask("checkout", "POST", `/v1/reservations/${reservation.id}/checkout`, {
          body: pay.body, key: pay.key, signal, headers: { Prefer: "wait=10" },
        });
        if (status == 201) {
          forget({ order: doc.id });
          return doc;
        }
        keep({ reservation: doc.reservation });
        if (doc.next_action) return doc;
        notice({ doing: "checkout", code: "pending" }); // it may have been paid: the same again, until we know
      } catch (e) {
        if (e.code == "already_paid") return paid(signal);
        if (over.includes(e.code)) forget();
        else if (final(e)) keep({ pay: null });
        throw e;
      }
      await pause(1000 + Math.random() * 2000, signal);
    }
  }

  // paid finds the order of a reservation that was paid under another key.
  async function paid(signal) {
    for (;;) {
      const { order } = await refresh(signal);
      if (order) return (await ask("order", "GET", "/v1/orders/" + order, { signal })).doc;
      await pause(2000, signal);
    }
  }

  return {
    now,
    left: (time) => Math.max(0, Date.parse(time) - now()),
    memory,

    /** Shows the sale's document whenever it says something new, until the function that it gives is called. */
    watch(show) {
      let source, timer, failed = 0, refused = 0, stopped;
      const drop = () => {
        source?.close();
        source = null;
      };
      const next = (ms) => {
        clearTimeout(timer);
        if (!stopped) timer = setTimeout(tick, ms * (0.75 + Math.random() / 2));
      };
      const tick = async () => {
        clearTimeout(timer);
        if (stopped || document.hidden) return drop();
        let state;
        try {
          const doc = await look();
          if (failed) notice({ doing: "watch" });
          failed = 0;
          state = doc.state;
          if (!stopped) show(doc);
        } catch (e) {
          failed++;
          notice({ doing: "watch", code: e.code || "no_answer", message: e.message });
        }
        if (!source && !failed && !stopped && state != "closed" && Date.now() > refused) {
          source = new EventSource(base + saleURL + "/events");
          let open;
          source.onmessage = (m) => ((open = true), show(JSON.parse(m.data)));
          source.onerror = () => {
            if (!open) refused = Date.now() + 60000; // no room for streams: poll
            drop();
            next(2000);
          };
        }
        next(source || state == "closed" ? 30000 : Math.min(2000 * 2 ** failed, 30000));
      };
      const wake = () => {
        read = 0; // a machine that slept may have another clock
        tick();
      };
      document.addEventListener("visibilitychange", wake);
      addEventListener("online", wake);
      tick();
      return () => {
        stopped = true;
        drop();
        clearTimeout(timer);
        document.removeEventListener("visibilitychange", wake);
        removeEventListener("online", wake);
      };
    },

    /** Joins the waiting room, shows the ticket as it moves on, and resolves once the buyer may reserve. */
    async enter(show = () => {}, { signal } = {}) {
      for (;;) {
        let { doc: ticket } = await ask("enter", "POST", saleURL + "/queue", { signal });
        while (show(ticket), !ticket.token && ticket.state != "reached") {
          if (ticket.state == "passed" || ticket.state == "closed") throw new Refusal({ ...ticket, code: "ticket_" + ticket.state, detail: "the turn of this ticket is over" });
          await pause(1500 + Math.random() * 1000, signal);
          ticket = (await ask("enter", "GET", `${saleURL}/queue/${ticket.ticket}`, { open: true, signal })).doc;
        }
        if (ticket.token) {
          keep({ admission: ticket.token });
          return ticket;
        }
      }
    },
    leave: async () => (await ask("leave", "DELETE", saleURL + "/queue")).doc,

    /** Reserves, or gives what was reserved before: one cart at a time. */
    reserve: (lines, { signal } = {}) => alone(() => reserve(lines, signal)),
    refresh: ({ signal } = {}) => refresh(signal),

    /** Gives the reservation back, even if its answer never came. */
    release: ({ signal } = {}) =>
      alone(async () => {
        const { cart, reservation } = memory();
        if (!cart && !reservation) return null;
        const { id } = reservation || (await reserve(cart.lines, signal));
        const { doc } = await ask("release", "DELETE", "/v1/reservations/" + id, { signal });
        forget();
        return doc;
      }),

    /** Pays. While a payment is under way it goes on with that one, whatever it is given. */
    checkout: (details, { signal } = {}) =>
      alone(() => {
        const { reservation, pay } = memory();
        if (!reservation) throw new Refusal({ code: "no_reservation", detail: "there is nothing to pay for" });
        if (!pay) keep({ pay: { key: uid(), body: details } });
        return settle(signal);
      }),

    /** Goes on after a reload, or a return from the bank: with a payment, an unanswered cart, a reservation or an order; or null. */
    resume: ({ signal } = {}) =>
      alone(async () => {
        const { cart, reservation, pay, order } = memory();
        if (pay) return settle(signal);
        if (reservation) return refresh(signal);
        if (cart) return reserve(cart.lines, signal);
        return order ? (await ask("order", "GET", "/v1/orders/" + order, { signal })).doc : null;
      }),
  };
}

const uid = () => crypto.getRandomValues(new Uint32Array(4)).join("-");

const worker = (source) => new Worker(URL.createObjectURL(new Blob([source])));

// pause waits, or until there is a network again. Browsers slow the timers of a tab that nobody looks at, but not a worker's.
function pause(ms, signal) {
  return new Promise((done, stop) => {
    let w;
    const end = () => {
      w?.terminate();
      clearTimeout(timer);
      removeEventListener("online", end);
      signal?.removeEventListener("abort", end);
      signal?.aborted ? stop(signal.reason) : done();
    };
    const timer = setTimeout(end, ms);
    addEventListener("online", end);
    signal?.addEventListener("abort", end);
    if (signal?.aborted) return end();
    try {
      w = worker(`setTimeout(()=>postMessage(0),${ms})`);
      w.onmessage = end;
    } catch {} // the page's own timer does it
  });
}

// solve does what a challenge asks for, beside the page if that is allowed.
async function solve({ kind, challenge, bits, site_key }, turnstile) {
  if (kind == "turnstile") return "turnstile " + (await turnstile(site_key));
  const n = await new Promise((done) => {
    const here = () => done(work(challenge, bits));
    try {
      const w = worker(`postMessage((${work})("${challenge}",${bits}))`);
      w.onmessage = (m) => (w.terminate(), done(m.data));
      w.onerror = here;
    } catch {
      here();
    }
  });
  return `work ${challenge}.${n}`;
}

// work finds the number with which the challenge's SHA-256 begins with so many zero bits.
function work(challenge, bits) {
  const root = [], first = [];
  for (let n = 2; root.length < 64; n++) {
    let d = 2;
    while (n % d) d++;
    if (d < n) continue;
    if (first.length < 8) first.push((n ** 0.5 * 2 ** 32) | 0);
    root.push((n ** (1 / 3) * 2 ** 32) | 0);
  }
  const turn = (x, n) => (x >>> n) | (x << (32 - n));
  const w = new Int32Array(64), h = new Int32Array(8);
  for (let number = 0; ; number++) {
    const text = `${challenge}.${number}\x80`;
    const end = (text.length + 71) & ~63;
    h.set(first);
    for (let at = 0; at < end; at += 64) {
      w.fill(0);
      for (let i = 0; i < 64 && at + i < text.length; i++) w[i >> 2] |= text.charCodeAt(at + i) << (24 - 8 * (i & 3));
      if (at + 64 == end) w[15] = (text.length - 1) * 8;
      let a = h[0], b = h[1], c = h[2], d = h[3], e = h[4], f = h[5], g = h[6], k = h[7];
      for (let i = 0; i < 64; i++) {
        if (i > 15) {
          const x = w[i - 15], y = w[i - 2];
          w[i] = w[i - 16] + (turn(x, 7) ^ turn(x, 18) ^ (x >>> 3)) + w[i - 7] + (turn(y, 17) ^ turn(y, 19) ^ (y >>> 10));
        }
        const one = (k + (turn(e, 6) ^ turn(e, 11) ^ turn(e, 25)) + ((e & f) ^ (~e & g)) + root[i] + w[i]) | 0;
        const two = ((turn(a, 2) ^ turn(a, 13) ^ turn(a, 22)) + ((a & b) ^ (a & c) ^ (b & c))) | 0;
        k = g, g = f, f = e, e = (d + one) | 0, d = c, c = b, b = a, a = (one + two) | 0;
      }
      [a, b, c, d, e, f, g, k].forEach((x, i) => (h[i] += x));
    }
    if (Math.clz32(h[0]) >= bits) return number;
  }
}
