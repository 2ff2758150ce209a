// Looking for an order: by its own id, its reservation's or payment's, or its buyer.
// What is shown is what `flashsale order trace` and `flashsale trace buyer` show.

import { $, el, stamp } from './dom.js'
import { ask } from './stream.js'

export function make(at) {
  $('find').addEventListener('submit', async (e) => {
    e.preventDefault()
    const text = $('query').value.trim()
    if (text) await find(text, at().sale?.sale)
  })
}

async function find(text, sale) {
  const body = el('div', { 'aria-live': 'polite' }, el('p', { class: 'quiet' }, 'looking …'))
  const close = el('button', { type: 'button', 'data-testid': 'close-search' }, 'Close')
  const box = el('dialog', { id: 'dialog-order', class: 'way', 'data-testid': 'dialog-order', 'aria-labelledby': 'order-title' },
    el('h2', { id: 'order-title' }, text), body, el('div', { class: 'buttons' }, close))
  close.addEventListener('click', () => box.close())
  box.addEventListener('close', () => { box.remove(); $('query').select() }) // for the next one
  $('dialogs').append(box)
  box.showModal()
  await show(body, text, sale)
}

async function show(body, text, sale) {
  try {
    if (/^(ord|rsv)_/.test(text)) body.replaceChildren(...(await order(text)))
    else if (/^pay_/.test(text)) body.replaceChildren(...(await order((await ask('GET', '/admin/v1/payments/' + encodeURIComponent(text))).payment.order)))
    else body.replaceChildren(...(await buyer(text, sale, body)))
  } catch (err) {
    body.replaceChildren(el('p', { class: 'problem', role: 'alert', 'data-testid': 'problem' }, err.message))
  }
}

const table = (head, rows, name) => el('table', { 'data-testid': name }, el('thead', {}, el('tr', {}, ...head.map((h) => el('th', { scope: 'col' }, h)))), el('tbody', {}, ...rows.map((r) => el('tr', {}, ...r.map((c) => el('td', {}, c))))))

// order tells the way of one order, the oldest first.
async function order(id) {
  const line = await ask('GET', `/admin/v1/orders/${encodeURIComponent(id)}/events`)
  const parts = []
  try {
    const o = await ask('GET', '/admin/v1/orders/' + encodeURIComponent(id))
    parts.push(el('p', {}, el('b', {}, o.state), ` · ${o.lines.map((l) => `${l.quantity} × ${l.sku}`).join(', ')} · ${(o.total.amount / 100).toFixed(2)} ${o.total.currency} · payment ${o.payment.state} · buyer ${o.buyer} · sale ${o.sale}`))
  } catch (err) {
    if (err.status !== 404) throw err
    parts.push(el('p', { class: 'quiet' }, 'No order of it is on record.'))
  }
  const first = line.events.length ? Date.parse(line.events[0].at) : 0
  parts.push(table(['At (UTC)', 'After', 'Who says so', 'What', 'Id'], line.events.map((e) => [stamp(e.at), `${((Date.parse(e.at) - first) / 1000).toFixed(3)} s`, e.from, e.what, e.id]), 'timeline'))
  if (line.traces?.length) parts.push(el('p', { class: 'quiet' }, 'Traces: ' + line.traces.join(', ')))
  return parts.concat(line.unknown.map((u) => el('p', { class: 'quiet' }, u)))
}

// buyer tells what became of a buyer in the sale that is looked at.
async function buyer(name, sale, body) {
  const s = await ask('GET', `/admin/v1/buyers/${encodeURIComponent(name)}/decisions?sale=${encodeURIComponent(sale || '')}`)
  const link = (id) => (/^(ord|rsv|pay)_/.test(id) ? el('button', { type: 'button', onclick: () => show(body, id, sale) }, id) : id)
  const rows = s.events.map((e) => [Date.parse(e.at), [stamp(e.at), e.from, e.what, link(e.id)]])
    .concat(s.decisions.map((d) => [Date.parse(d.at), [stamp(d.at), 'node ' + s.node.slice(0, 8), `${d.op} ${d.sku || ''}: ${d.status} ${d.code || 'granted'}, decided by ${d.source}`, d.request_id]]))
    .sort((a, b) => b[0] - a[0]).slice(0, 200).map((r) => r[1])
  if (!rows.length) return [el('p', {}, `Nobody knows anything of buyer ${name}${sale ? ` in sale ${sale}` : ''}. Answers are remembered by the node that gave them.`)]
  return [table(['At (UTC)', 'Who says so', 'What', 'Id'], rows, 'buyer'), ...s.unknown.map((u) => el('p', { class: 'quiet' }, u))]
}
