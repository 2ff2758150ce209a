package e2e

import (
	"strings"
	"testing"
	"time"
)

func TestFromCountdownToAConfirmedOrder(t *testing.T) {
	for _, s := range []screen{desktop, phone} {
		t.Run(s.name, func(t *testing.T) {
			// The buyer's clock is an hour fast, which must not matter.
			opens := time.Now().Add(8 * time.Second).Truncate(time.Second)
			sale := newSale(t, terms{Stock: 5, OpensAt: opens})
			p := visit(t, s, sale, `const real = Date.now.bind(Date); Date.now = () => real() + 3600000;`)
			p.see("shop")
			left := p.text("#when")
			if len(left) != 5 || left > "00:09" || left < "00:01" {
				t.Errorf("the countdown shows %q", left)
			}
			p.check("countdown")
			p.until(`!document.getElementById("reserve").disabled`)
			if early := time.Until(opens); early > 300*time.Millisecond {
				t.Errorf("it could be clicked %s too early", early)
			}
			p.check("open")
			p.click("#reserve")
			p.see("held")
			if text := p.text("#text"); !strings.HasPrefix(text, "Yours until ") {
				t.Errorf("%q", text)
			}
			p.check("held")
			p.pay("pm_card_visa")
			p.see("order")
			p.check("order")
			if sold := units(t, sale).Sold; sold != 1 {
				t.Errorf("%d sold", sold)
			}
		})
	}
}

func TestADeclinedCardThenAnother(t *testing.T) {
	sale := newSale(t, terms{Stock: 5})
	p := visit(t, phone, sale)
	p.reserve()
	p.pay("pm_card_chargeDeclined")
	p.says("#note", "You were not charged. It is still yours until")
	p.see("held")
	p.check("declined")
	p.pay("pm_card_visa")
	p.see("order")
}

func TestThreeDSecure(t *testing.T) {
	sale := newSale(t, terms{Stock: 5})
	p := visit(t, desktop, sale)
	p.reserve()
	p.pay("pm_card_authenticationRequired")
	p.bank("fail")
	p.says("#note", "Your bank could not confirm that it is you. You were not charged")
	p.check("3ds-refused")
	p.pay("pm_card_authenticationRequired")
	p.bank("complete")
	p.see("order")
	if n := units(t, sale); n.Sold != 1 || n.Available != 4 {
		t.Errorf("%+v", n)
	}
}

func TestALostConnectionAndAReloadInTheMiddleOfAPayment(t *testing.T) {
	sale := newSale(t, terms{Stock: 5})
	p := visit(t, phone, sale)
	p.reserve()
	p.offline(true)
	p.pay("pm_sandbox_processing")
	p.says("#note", "We don't know yet whether your payment went through. Don't pay again")
	p.check("unknown")
	p.offline(false)
	for units(t, sale).Paying == 0 { // five seconds long
	}
	p.reload()
	p.see("order") // which nobody has clicked for
	if n := units(t, sale); n.Sold != 1 || n.Available != 4 {
		t.Errorf("%+v", n)
	}
	p.reload()
	p.see("order")
}

func TestAnAnswerThatIsLostIsNotAFailure(t *testing.T) {
	sale := newSale(t, terms{Stock: 5})
	p := visit(t, desktop, sale)
	p.reserve()
	p.pay("pm_sandbox_timeoutAfterCharge")
	p.says("#note", "Don't pay again")
	p.see("order")
	if n := units(t, sale); n.Sold != 1 {
		t.Errorf("%+v", n)
	}
}

func TestAReloadKeepsWhatIsHeldAndItCanBeGivenBack(t *testing.T) {
	sale := newSale(t, terms{Stock: 5})
	p := visit(t, phone, sale)
	p.reserve()
	p.reload()
	p.see("held")
	p.click("#release")
	p.see("shop")
	if n := units(t, sale); n.Available != 5 {
		t.Errorf("%+v", n)
	}
}

func TestTwoTabsHoldOneReservation(t *testing.T) {
	sale := newSale(t, terms{Stock: 5})
	one := visit(t, desktop, sale)
	two := one.tab()
	two.see("shop")
	one.reserve()
	two.see("held")
	two.pay("pm_card_visa")
	two.see("order")
	one.see("order")
	if n := units(t, sale); n.Sold != 1 || n.Available != 4 {
		t.Errorf("%+v", n)
	}
}

func TestAHoldRunsOut(t *testing.T) {
	sale := newSale(t, terms{Stock: 5, HoldTTL: "5s"})
	p := visit(t, phone, sale)
	p.reserve()
	p.see("shop")
	p.says("#text", "Your time ran out, and it went back to the others. You were not charged.")
	p.check("ran-out")
}

func TestSoldOutAndBack(t *testing.T) {
	sale := newSale(t, terms{Stock: 1})
	ann, bob := visit(t, desktop, sale), visit(t, phone, sale)
	ann.reserve()
	bob.see("soldout")
	bob.check("sold-out")
	ann.click("#release")
	ann.see("shop")
	bob.see("shop") // by itself
	bob.says("#text", "Some came back")
	bob.reserve()
	bob.pay("pm_card_visa")
	bob.see("order")
}

func TestTheWaitingRoomAndItsWaitlist(t *testing.T) {
	sale := newSale(t, terms{Stock: 1, OpensAt: time.Now().Add(8 * time.Second), Queue: true})
	buyers := []*page{visit(t, desktop, sale), visit(t, phone, sale)}
	for _, p := range buyers {
		p.see("shop")
		p.click("#join")
		p.see("queue")
	}
	buyers[0].check("queue")
	buyers[1].reload() // keeps the ticket
	buyers[1].see("queue")
	first, second := buyers[0], buyers[1]
	for first.state() != "shop" { // whose turn it is, the shuffle says
		first, second = second, first
	}
	first.says("#text", "It is your turn")
	first.check("turn")
	first.reserve()
	first.pay("pm_card_visa")
	first.see("order")
	if second.state() == "shop" { // it was called as well, too late
		return
	}
	second.until(`document.getElementById("panel").dataset.ticket == "waitlist"`)
	second.check("waitlist")
	third := visit(t, desktop, sale)
	third.see("soldout")
	third.until(`document.getElementById("join").textContent == "Join the waitlist"`)
	third.click("#join")
	third.until(`document.getElementById("panel").dataset.ticket == "waitlist"`)
}

func TestAChallengeIsSolvedBesideThePage(t *testing.T) {
	sale := newSale(t, terms{Stock: 5})
	p := visit(t, phone, sale, `
		const real = window.fetch.bind(window);
		window.fetch = async (url, how) => {
			if (how?.method != "POST" || !String(url).endsWith("/reservations")) return real(url, how);
			window.solution = how.headers["Challenge-Solution"];
			if (window.solution) return real(url, how);
			return new Response(JSON.stringify({ code: "challenge_required", status: 403, title: "x", detail: "solve it", challenge:
				{ kind: "work", challenge: "w1.12.1795770120.6fIaYKkq0s2l5A0m9wq8Zg", bits: 12, header: "Challenge-Solution" } }), { status: 403 });
		};`)
	p.reserve()
	solution := ask[string](p, `window.solution`)
	if text, ok := strings.CutPrefix(solution, "work "); !ok || zeroBits(text) < 12 {
		t.Errorf("%q is no solution", solution)
	}
	if n := units(t, sale); n.Available != 4 {
		t.Errorf("%+v", n)
	}
}
