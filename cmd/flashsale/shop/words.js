// What the shop says when something takes longer, and when something is refused.

// delays says why a thing is not done yet. Nothing here says "failed": nobody knows.
export function delays({ doing, code, retryAfter }) {
  const soon = retryAfter ? ` We ask again in ${Math.ceil(retryAfter)} s.` : "";
  if (code == "challenge_required") return "Your device is solving a small puzzle that keeps robots out. One moment.";
  if (doing == "checkout") {
    if (code == "payment_unavailable") return "The bank cannot be reached. Nothing has been charged, and what you hold stays yours." + soon;
    return "We don't know yet whether your payment went through. Don't pay again: we'll tell you here.";
  }
  if (doing == "watch") return "No connection: what you see may be old. We keep trying.";
  switch (code) {
    case "no_answer":
      return "No answer yet. We ask the same again, so nothing happens twice." + soon;
    case "overloaded":
    case "rate_limited":
      return "Very many are here at once." + soon;
    case "gate_frozen":
    case "unavailable":
      return "The shop is catching its breath. No order is lost." + soon;
  }
  return "This takes longer than usual." + soon;
}

const declines = {
  authentication_failed: "Your bank could not confirm that it is you.",
  insufficient_funds: "Your bank says that there is not enough on this card.",
};

// refusals says what was refused, what it means, and what can be done.
export function refusals(e, until) {
  switch (e.code) {
    case "payment_declined":
      return `${declines[e.decline_code] || "The card was declined."} You were not charged. It is still yours until ${until}: try another card.`;
    case "sold_out":
      return "Somebody else was faster: none is left right now.";
    case "buyer_limit":
      return "You have as many as one buyer may have.";
    case "sale_not_open":
      return "This drop is not open.";
    case "admission_required":
      return "It has to be your turn first: join the waiting room.";
    case "ticket_passed":
      return "Your turn came and went. You can join again, at the end.";
    case "ticket_closed":
      return "This drop is over.";
    case "attempts_exhausted":
      return "No more tries with this reservation. You were not charged.";
    case "reservation_expired":
    case "reservation_released":
    case "reservation_lost":
      return "Your time ran out before it was paid. You were not charged.";
    case "order_refused":
      return "The order could not be kept. What was taken goes back.";
    case "payment_in_progress":
      return "A payment is under way: wait for its end.";
  }
  return `${e.message}${e.what_to_do ? " " + e.what_to_do : ""}`;
}
