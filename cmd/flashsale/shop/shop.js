// The demo's shop: what a storefront would build on /flashsale.js. See docs/storefront.md.
import { flashsale, Refusal } from "/flashsale.js";
import { delays, refusals } from "./words.js";

const $ = (id) => document.getElementById(id);
const sale = new URLSearchParams(location.search).get("sale") || sessionStorage.getItem("shop.sale") || "demo";
sessionStorage.setItem("shop.sale", sale); // the bank sends buyers back without it

const shop = flashsale({
  sale,
  // A storefront's back end signs this for whoever is logged in. Here anybody is a visitor.
  token: async () => (await (await fetch("session", { method: "POST" })).json()).token,
  notice: (n) => note(n.code ? delays(n) : ""),
});

let doc; // the sale, as last heard of
let room = false; // it has a waiting room
let view = "wait", detail; // what the panel shows
let busy = false;
let queueing; // ends the wait in the queue

const money = (amount, currency) => new Intl.NumberFormat("en", { style: "currency", currency }).format(amount / 100);
const clock = (ms) => {
  const s = Math.ceil(ms / 1000), two = (n) => String(n).padStart(2, "0");
  return (s >= 3600 ? Math.floor(s / 3600) + ":" : "") + two(Math.floor((s % 3600) / 60)) + ":" + two(s % 60);
};
const at = (time) => new Date(time).toLocaleTimeString("en", { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false });
const titleOf = (sku) => doc?.items.find((i) => i.sku == sku)?.title || sku;
const opened = () => doc?.state == "open" || (doc?.state == "armed" && doc.opens_at && shop.left(doc.opens_at) == 0);
const note = (text) => ($("note").textContent = text);
const chosen = () => document.querySelector("input[name=sku]:checked")?.value;
const itemOf = (sku) => doc?.items.find((i) => i.sku == sku);

// show changes what the panel is about.
function show(next, about, text) {
  const moved = view != next;
  view = next;
  detail = about;
  draw();
  if (text !== undefined) $("text").textContent = text;
  if (moved && document.activeElement != document.body) $("panel").focus({ preventScroll: innerWidth > 900 });
}

const titles = {
  wait: "One moment", asking: "Asking…", queue: "You are in the queue", held: "It is yours", paying: "Paying…", bank: "Your bank has a question", order: "Thank you",
};

function draw() {
  $("panel").dataset.state = view;
  for (const el of document.querySelectorAll("[data-view]")) el.hidden = !el.dataset.view.split(" ").includes(view);
  $("title").textContent = titles[view] || headline();
  const held = view == "held" || view == "bank";
  $("clock").hidden = !held;
  if (view == "shop" || view == "soldout") drawOffer();
  if (detail?.lines) $("lines").replaceChildren(...detail.lines.map(line), total(detail));
  for (const b of document.querySelectorAll(".panel button")) b.disabled = busy || (b.id == "reserve" && !mayReserve());
  tick();
}

function headline() {
  if (!doc) return "One moment";
  if (doc.state == "paused") return "Paused";
  if (doc.state == "draining" || doc.state == "closed") return "This drop is over";
  if (!opened()) return room ? "The waiting room is open" : "Not yet";
  return view == "soldout" ? "Sold out" : "Reserve yours";
}

const mayReserve = () => opened() && itemOf(chosen())?.availability != "none";

function drawOffer() {
  if (!doc) return;
  const left = doc.items.some((i) => i.availability != "none");
  const over = ["draining", "closed"].includes(doc.state);
  const admitted = !!shop.memory().admission;
  const queue = room && !admitted && !over;
  $("join").hidden = !queue;
  $("join").textContent = opened() && !left ? "Join the waitlist" : "Join the waiting room";
  $("reserve").hidden = queue || over;
  $("reserve").textContent = opened() && itemOf(chosen())?.availability == "none" ? "Sold out for now" : "Reserve";
  $("quantity").closest("p").hidden = queue || over || doc.per_buyer_limit < 2;
  if (opened() && !left && view == "shop") return show("soldout", null, "");
  if (left && view == "soldout") return show("shop", null, "Some came back. Be quick, or don't: they may come back again.");
  if (view == "soldout") {
    $("text").textContent = room
      ? "Units come back when holds are not paid for. The waitlist keeps your place, and calls you in turn."
      : "Units come back when holds are not paid for. Keep this page open: it lights up when one does.";
  } else if (queue && !opened()) $("text").textContent = "Whoever has joined when the drop opens is shuffled: being early is no advantage, being there is.";
  else if (!opened() && doc.opens_at) $("text").textContent = `Opens at ${at(doc.opens_at)}. The countdown goes by the shop's clock, not by yours.`;
  else if (doc.state == "paused") $("text").textContent = "The shop has paused this drop. What you hold stays yours.";
  document.title = `${headline()} · ${doc.name}`;
}

function line({ sku, quantity, unit_price }) {
  const li = document.createElement("li");
  li.append(`${quantity} × ${titleOf(sku)}`, Object.assign(document.createElement("span"), { textContent: money(quantity * unit_price, detail.total.currency) }));
  return li;
}

function total({ total }) {
  const li = document.createElement("li");
  li.append(Object.assign(document.createElement("b"), { textContent: "Total" }), Object.assign(document.createElement("b"), { textContent: money(total.amount, total.currency) }));
  return li;
}

function drawSale(now) {
  doc = now;
  $("name").textContent = doc.name;
  const had = chosen();
  if (document.querySelectorAll(".item").length != doc.items.length) {
    $("items").replaceChildren(...doc.items.map((i) => {
      const label = Object.assign(document.createElement("label"), { className: "item" });
      label.innerHTML = '<input type="radio" name="sku"><span class="art"></span><b></b><span></span><span class="stock"></span>';
      label.querySelector("input").value = i.sku;
      label.querySelector("b").textContent = i.title;
      label.querySelectorAll("span")[1].textContent = money(i.unit_price, doc.currency);
      return label;
    }));
    const most = Math.min(doc.per_buyer_limit, 9);
    $("quantity").replaceChildren(...Array.from({ length: most }, (_, n) => new Option(n + 1)));
    $("items").querySelector("input").checked = true;
  }
  doc.items.forEach((i, n) => {
    const stock = document.querySelectorAll(".stock")[n];
    stock.textContent = { high: "in stock", low: "only a few left", none: "none left right now" }[i.availability];
    stock.className = "stock " + i.availability;
  });
  if (had) document.querySelector(`input[name=sku][value="${CSS.escape(had)}"]`).checked = true;
  draw();
}

// tick counts down: by the server's clock, which the snippet keeps.
let wasOpen;
function tick() {
  if (doc) {
    const soon = doc.opens_at && !opened() && doc.state == "armed" && shop.left(doc.opens_at);
    $("when").className = "when" + (soon ? " soon" : "");
    $("when").textContent = soon ? clock(soon) : opened() ? "Open now" : doc.state == "armed" ? "Opens when the shop says so" : doc.state;
    if (opened() != wasOpen) {
      if (wasOpen === false && view == "shop") $("text").textContent = "";
      wasOpen = opened();
      draw();
    }
  }
  if ((view == "held" || view == "bank") && detail?.expires_at) {
    const left = shop.left(detail.expires_at);
    $("clock").textContent = clock(left);
    if (view == "held") $("text").textContent ||= `Yours until ${at(detail.expires_at)}.`;
    if (!left && view == "held" && !busy) run(() => shop.refresh());
  }
}
setInterval(tick, 250);

// took shows what an answer means for the buyer.
function took(got) {
  note("");
  if (!got) return show("shop", null, "");
  if (got.placed_at) {
    $("order").textContent = got.id;
    document.title = "Order confirmed";
    return show("order", got, got.state == "confirmed" ? `Confirmed at ${at(got.placed_at)}. It is paid, and it is yours.` : "This order could not be kept, and you are not charged.");
  }
  switch (got.state) {
    case "action_required":
      $("bank").href = got.next_action.url;
      show("bank", { ...got.reservation, expires_at: got.expires_at }, `Confirm there that it is you, by ${at(got.expires_at)}. Until then it stays yours.`);
      return setTimeout(() => view == "bank" && run(() => shop.resume()), 3000);
    case "held":
      return show("held", got, `Yours until ${at(got.expires_at)}.`);
    case "paying":
    case "accepted":
    case "confirmed":
      show("paying", got, "A payment for this is under way. Don't pay again: we'll tell you here how it ended.");
      return setTimeout(() => run(() => shop.resume()), 1500);
  }
  show("shop", null, got.state == "expired" ? "Your time ran out, and it went back to the others. You were not charged." : "It went back. You were not charged.");
}

// run does one thing at a time, and tells how it ended.
async function run(go) {
  if (busy) return;
  busy = true;
  draw();
  let end;
  try {
    const got = await go();
    end = () => took(got);
  } catch (e) {
    end = () => refused(e);
  }
  busy = false;
  end();
  draw();
}

function refused(e) {
  note("");
  if (!(e instanceof Refusal)) return note("Something went wrong on this page: " + e.message);
  const { reservation } = shop.memory();
  if (reservation) show("held", reservation, "");
  else show(e.code == "sold_out" ? "soldout" : "shop", null, "");
  note(refusals(e, reservation && at(reservation.expires_at)));
  $("panel").focus();
}

async function queue() {
  queueing = new AbortController();
  sessionStorage.setItem("shop.queue." + sale, "yes");
  show("queue", null, "Asking for a ticket…");
  try {
    await shop.enter(drawTicket, { signal: queueing.signal });
    show("shop", null, "It is your turn. Choose, and reserve.");
  } catch (e) {
    if (e.name == "AbortError") return;
    show("shop", null, "");
    note(refusals(e));
  } finally {
    sessionStorage.removeItem("shop.queue." + sale);
  }
}

function drawTicket(t) {
  $("ticket").textContent = t.ticket + 1;
  $("position").textContent = t.position ?? "after the shuffle";
  $("wait").textContent = t.wait_seconds === undefined ? "not known yet" : t.wait_seconds < 90 ? `${t.wait_seconds} s` : `${Math.round(t.wait_seconds / 60)} min`;
  $("panel").dataset.ticket = t.waitlist ? "waitlist" : t.state;
  $("title").textContent = t.waitlist ? "You are on the waitlist" : titles.queue;
  $("text").textContent = t.waitlist
    ? "What is left will hardly reach your place. It is kept: if enough comes back, it is your turn, here on this page."
    : "Keep this page open. When it is your turn you have a moment to reserve.";
}

$("reserve").onclick = () => {
  const lines = [{ sku: chosen(), quantity: +$("quantity").value || 1 }];
  show("asking", null, `Asking for ${titleOf(lines[0].sku)}…`);
  run(() => shop.reserve(lines));
};
$("join").onclick = queue;
$("leave").onclick = () => {
  queueing?.abort(new DOMException("left", "AbortError"));
  run(async () => void (await shop.leave()));
};
$("release").onclick = () => run(() => shop.release());
$("again").onclick = () => show("shop", null, "");
$("goods").onchange = draw;
$("payment").onsubmit = (e) => {
  e.preventDefault();
  const payment_method = document.querySelector("input[name=card]:checked").value;
  const held = detail;
  run(async () => {
    show("paying", held, "Asking the bank. This page may be reloaded: you will not pay twice.");
    const got = await shop.checkout({ payment_method, contact: { email: $("email").value } });
    if (got.next_action) location.assign(got.next_action.url);
    return got;
  });
};
// Another tab of this shop has moved on.
addEventListener("storage", (e) => e.key?.startsWith("flashsale:") && !busy && ["shop", "soldout", "held", "bank"].includes(view) && run(() => shop.resume()));

fetch("sales").then((r) => r.json()).then(({ sales }) => {
  $("sales").replaceChildren(...sales.map((id) => {
    const a = Object.assign(document.createElement("a"), { href: "?sale=" + id, textContent: id });
    if (id == sale) a.setAttribute("aria-current", "page");
    return a;
  }));
}).catch(() => {}); // the links can wait

shop.watch(drawSale);
const { pay, cart } = shop.memory();
if (pay) show("paying", null, "Looking up how your payment ended. Don't pay again.");
else if (cart) show("asking", null, "Looking up what you hold…");
fetch(`/v1/sales/${sale}/queue`).then((r) => (room = r.ok)).catch(() => {}).finally(() => {
  if (room && sessionStorage.getItem("shop.queue." + sale)) queue();
  else run(() => shop.resume());
});
