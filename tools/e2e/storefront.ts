// A storefront's page as docs/storefront.md has it: the compiler holds it against flashsale.d.ts.
import { flashsale, Refusal } from "../../api/flashsale.js";

const shop = flashsale({
  sale: "demo",
  token: async () => (await (await fetch("/shop/session", { method: "POST" })).json()).token as string,
  notice: (n) => console.log(n.doing, n.code ?? "goes on", n.retryAfter),
});

export async function buy(sku: string, card: string): Promise<string> {
  const stop = shop.watch((sale) => console.log(sale.state, sale.opens_at && shop.left(sale.opens_at), sale.items.map((i) => i.availability)));
  try {
    const again = await shop.resume();
    if (again && "placed_at" in again) return again.id;
    if (!shop.memory().reservation) await shop.reserve([{ sku, quantity: 1 }]);
    const paid = await shop.checkout({ payment_method: card, contact: { email: "ann@example.com" } });
    if (paid.state != "action_required") return paid.id;
    location.assign(paid.next_action.url);
    return "";
  } catch (e) {
    if (e instanceof Refusal && e.code == "payment_declined") return buy(sku, "pm_card_visa");
    throw e;
  } finally {
    stop();
  }
}
