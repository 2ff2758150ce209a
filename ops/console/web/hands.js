// Hands: what an operator can do. Each is a row of the table below; one dialog serves
// all. Nothing is sent before the sale's name is typed, and the same dialog sends the
// same Idempotency-Key however often it is pressed.

import { $, el, put, count } from './dom.js'
import { ask } from './stream.js'

const ranks = { viewer: 1, operator: 2, owner: 3 }
const sale = (s, rest = '') => `/admin/v1/sales/${encodeURIComponent(s.sale)}${rest}`

// move is one of the states' own moves.
const move = (id, key, label, to, grave) => ({
  id, key, label, role: 'operator', grave,
  words: (s) => `The sale is ${s.state}. It becomes ${to}.`,
  can: (s) => (s.allowed_states.includes(to) ? '' : `a sale that is ${s.state} cannot become ${to}`),
  send: (s, v, k) => ask('POST', sale(s, '/' + id), undefined, k),
  done: (s) => `${s.sale} is ${to}`,
})

const reason = { name: 'reason', label: 'Reason, for the audit log', required: true }
const live = (s) => (s.epoch > 0 && s.state !== 'closed' ? '' : `a sale that is ${s.state} has no gate`)

const terms = [
  { name: 'id', label: 'Sale (its id: lower-case letters, digits, hyphens)', required: true },
  { name: 'name', label: 'Name', required: true },
  { name: 'currency', label: 'Currency', value: 'USD', pair: true },
  { name: 'per_buyer_limit', label: 'Units per buyer', type: 'number', value: '2', pair: true },
  { name: 'hold_ttl', label: 'A hold lasts', value: '2m', pair: true },
  { name: 'opens_at', label: 'Opens at (UTC, RFC 3339; empty: by hand)', pair: true, placeholder: '2026-11-27T09:00:00Z' },
]

const termsOf = (v) => ({ name: v.name, currency: v.currency, per_buyer_limit: Number(v.per_buyer_limit), hold_ttl: v.hold_ttl, ...(v.opens_at ? { opens_at: v.opens_at } : {}) })

const hands = [
  move('arm', 'a', 'Arm', 'armed'),
  move('open', 'o', 'Open', 'open'),
  move('pause', 'p', 'Pause', 'paused'),
  move('drain', 'd', 'Drain', 'draining', true),
  move('close', 'c', 'Close', 'closed', true),
  null,
  {
    id: 'stock', key: 's', label: 'Stock', role: 'operator',
    can: (s) => (s.state === 'closed' ? 'a closed sale keeps its stock' : ''),
    fields: (s) => [{ name: 'sku', label: 'SKU', required: true, value: s.skus[0]?.sku, list: s.skus.map((k) => k.sku) }, { name: 'delta', label: 'Units to add; negative takes unsold ones away', type: 'number', required: true }, reason],
    send: (s, v, k) => ask('POST', sale(s, '/stock'), { sku: v.sku, delta: Number(v.delta), reason: v.reason }, k),
    done: (s, v) => `stock of ${v.sku} changed by ${v.delta}`,
  },
  {
    id: 'rate', key: 'r', label: 'Rate', role: 'operator',
    can: (s) => (s.room ? '' : 'this sale has no waiting room'),
    words: (s) => `The front passes ${s.room.rate.toFixed(1)} places a second; the cap is ${s.room.rate_cap || 'none'}.`,
    fields: (s) => [{ name: 'rate_cap', label: 'At most so many admissions per second; 0: no cap', type: 'number', required: true, value: String(s.room.rate_cap) },
      { name: 'paused', label: 'Front', options: [['false', 'goes on'], ['true', 'stands still']], value: String(s.room.paused) }, reason],
    send: (s, v, k) => ask('POST', sale(s, '/queue'), { rate_cap: Number(v.rate_cap), paused: v.paused === 'true', reason: v.reason }, k),
    done: (s, v) => (v.paused === 'true' ? 'the front stands still' : `the rate is capped at ${v.rate_cap}`),
  },
  {
    id: 'extend', key: 'h', label: 'Extend holds', role: 'operator', can: live,
    words: () => 'Nobody’s hold ends within the next seconds. None lives beyond its cap, and none is shortened.',
    fields: () => [{ name: 'seconds', label: 'Seconds from now', type: 'number', required: true, value: '120' }, reason],
    dry: (s, v) => ask('POST', sale(s, '/holds/extend'), { seconds: Number(v.seconds), reason: v.reason || 'a look', dry_run: true }),
    told: (d) => `Holds alive: ${count(d.live)}. Would live longer: up to ${count(d.extended)}. Near their cap: ${count(d.capped)}.`,
    send: (s, v, k) => ask('POST', sale(s, '/holds/extend'), { seconds: Number(v.seconds), reason: v.reason }, k),
    done: (s, v, d) => `${count(d.extended)} holds live longer, until ${d.until.slice(11, 19)} UTC`,
  },
  null,
  {
    id: 'freeze', key: 'f', label: 'Freeze gate', role: 'operator', grave: true, can: live,
    words: () => 'Nothing is decided any more: no hold, no payment, no release. Buyers are told 503. It stays so until the gate is rebuilt by hand.',
    fields: () => [reason],
    send: (s, v, k) => ask('POST', '/admin/v1/gate/freeze', { sale: s.sale, reason: v.reason }, k),
    done: (s) => `the gate of ${s.sale} is frozen`,
  },
  {
    id: 'rebuild', key: 'g', label: 'Rebuild gate', role: 'operator', grave: true, can: live,
    words: () => 'The gate is frozen, its epoch rises, and it is written anew from the record. Mostly within a second.',
    fields: () => [reason],
    dry: (s, v) => ask('POST', '/admin/v1/gate/rebuild', { sale: s.sale, reason: v.reason || 'a look', dry_run: true }),
    told: (d) => d.plan.map((p) => `shard ${p.shard}, ${p.state}, epoch ${p.epoch}: ${p.accepted} orders, ${p.paying} payments, ${p.held < 0 ? 'what holds it remembers' : p.held + ' holds'}`).join('\n'),
    send: (s, v, k) => ask('POST', '/admin/v1/gate/rebuild', { sale: s.sale, reason: v.reason }, k),
    done: (s, v, d) => d.rebuilt.map((r) => `shard ${r.shard} is back, epoch ${r.epoch}, frozen for ${Math.round(r.frozen_ns / 1e6)} ms`).join('; '),
  },
  {
    id: 'breaker', key: 'b', label: 'Breaker', role: 'operator', grave: true,
    can: (s, at) => (at.needs.breakers.length ? '' : 'this node has no breakers'),
    words: () => 'On every node, until it is set back to auto.',
    fields: (s, at) => [{ name: 'name', label: 'Breaker', options: at.needs.breakers.map((b) => [b.name, `${b.name}: ${b.state}${b.forced ? ', forced' : ''}`]) },
      { name: 'verb', label: 'Set it', options: [['auto', 'auto: the breaker decides'], ['open', 'open: nobody is called'], ['close', 'closed: everybody is']] }, reason],
    send: (s, v, k) => ask('POST', `/admin/v1/breakers/${encodeURIComponent(v.name)}/${v.verb}`, { reason: v.reason }, k),
    done: (s, v) => `${v.name}: ${v.verb}`,
  },
  null,
  {
    id: 'create', key: 'n', label: 'New sale', role: 'owner', fresh: true, can: () => '',
    fields: () => [...terms, { name: 'items', label: 'SKUs: one a line, SKU=STOCK@PRICE[:TITLE]', area: true, required: true, placeholder: 'SHOE-42=2000@12900:Runner 42' }],
    send: (s, v, k) => ask('PUT', `/admin/v1/sales/${encodeURIComponent(v.id)}`, { ...termsOf(v), items: itemsOf(v.items) }, k),
    done: (s, v) => `${v.id} is a draft`,
  },
  {
    id: 'import', key: 'i', label: 'Import CSV', role: 'owner', fresh: true, can: () => '',
    words: () => 'Header sku,title,unit_price,stock. All of it, or nothing. Without a name, a draft that is there keeps its terms.',
    fields: () => [...terms.map((f) => (f.name === 'name' ? { ...f, required: false } : f)), { name: 'file', label: 'CSV file', type: 'file', into: 'csv' }, { name: 'csv', label: 'Catalogue', area: true, required: true }],
    dry: (s, v) => ask('POST', `/admin/v1/sales/${encodeURIComponent(v.id)}/import`, { ...termsOf(v), csv: v.csv, dry_run: true }),
    told: (d) => `${count(d.skus)} SKUs, ${count(d.units)} units`,
    send: (s, v, k) => ask('POST', `/admin/v1/sales/${encodeURIComponent(v.id)}/import`, { ...termsOf(v), csv: v.csv }, k),
    done: (s, v) => `${v.id} is a draft`,
  },
]

function itemsOf(text) {
  return text.split('\n').map((l) => l.trim()).filter(Boolean).map((line) => {
    const m = /^([^=\s]+)=(-?\d+)@(-?\d+)(?::(.*))?$/.exec(line)
    if (!m) throw new Error(`"${line}" is not SKU=STOCK@PRICE[:TITLE]`)
    return { sku: m[1], stock: Number(m[2]), unit_price: Number(m[3]), title: m[4] || '' }
  })
}

// make puts the buttons there. at() gives { live, sale, me }.
export function make(at) {
  const place = $('hands')
  for (const h of hands) {
    if (!h) { place.append(el('span', { class: 'gap' })); continue }
    place.append(el('button', { id: 'hand-' + h.id, 'data-testid': 'hand-' + h.id, type: 'button', 'aria-keyshortcuts': h.key, 'aria-haspopup': 'dialog', onclick: () => press(h, at) }, h.label, el('kbd', { 'aria-hidden': 'true' }, h.key)))
  }
  document.addEventListener('keydown', (e) => {
    if (e.ctrlKey || e.metaKey || e.altKey || e.target.closest('input, textarea, select, dialog') || $('desk').hidden) return
    const h = hands.find((x) => x && x.key === e.key)
    if (h) { e.preventDefault(); press(h, at) }
  })
}

// whyNot says why a hand cannot be used; '': it can.
function whyNot(h, at) {
  const { live, sale, me } = at()
  if (!me || !live) return 'nothing is known yet'
  if ((ranks[me.role] || 0) < ranks[h.role]) return `this needs the role ${h.role}; ${me.name} has ${me.role}`
  if (!sale && !h.fresh) return 'there is no sale'
  return h.can(sale, live)
}

// refresh says on each button whether it can be used, and why not.
export function refresh(at) {
  for (const h of hands) {
    if (!h) continue
    const button = $('hand-' + h.id)
    const why = whyNot(h, at)
    if (button.getAttribute('aria-disabled') !== String(Boolean(why))) button.setAttribute('aria-disabled', String(Boolean(why)))
    if (button.title !== why) button.title = why
  }
}

function press(h, at) {
  const why = whyNot(h, at)
  if (why) return say(`${h.label}: ${why}`)
  const { live, sale } = at()
  dialog(h, sale, live)
}

// say tells everybody for a while what has been done, or why nothing was.
const saidFor = 8000 // ms
let unsay
export function say(text) {
  put($('said'), text)
  clearTimeout(unsay)
  unsay = setTimeout(() => put($('said'), ''), saidFor)
}

function field(f, id) {
  const props = { id, name: f.name, required: f.required, placeholder: f.placeholder, 'data-testid': 'field-' + f.name, autocomplete: 'off' }
  let input
  if (f.options) input = el('select', props, ...f.options.map(([value, text]) => el('option', { value, selected: value === f.value }, text)))
  else if (f.area) input = el('textarea', { ...props, spellcheck: 'false' })
  else input = el('input', { ...props, type: f.type || 'text', value: f.value ?? '', step: f.type === 'number' ? 'any' : null, list: f.list && id + '-list', accept: f.type === 'file' ? '.csv,text/csv' : null })
  return el('div', { class: 'field' }, el('label', { for: id }, f.label), input, f.list ? el('datalist', { id: id + '-list' }, ...f.list.map((v) => el('option', { value: v }))) : null)
}

const random = () => Array.from(crypto.getRandomValues(new Uint8Array(16)), (b) => b.toString(16).padStart(2, '0')).join('')

function dialog(h, s, live) {
  const key = random()
  const name = 'dialog-' + h.id
  const fields = h.fields ? h.fields(s, live) : []
  const inputs = []
  for (let i = 0; i < fields.length; i++) {
    const one = field(fields[i], `${name}-${fields[i].name}`)
    if (fields[i].pair && fields[i + 1]?.pair) inputs.push(el('div', { class: 'pair' }, one, field(fields[i + 1], `${name}-${fields[++i].name}`)))
    else inputs.push(one)
  }
  const problem = el('p', { class: 'problem', role: 'alert', 'data-testid': 'problem' })
  const plan = el('pre', { 'data-testid': 'plan', 'aria-live': 'polite', hidden: true })
  const go = el('button', { type: 'submit', class: h.grave ? 'grave' : 'strong', 'data-testid': 'confirm-go', disabled: true }, h.label)
  const confirm = el('input', { id: name + '-confirm', 'data-testid': 'confirm', autocomplete: 'off', spellcheck: 'false', required: true })
  const ask4 = el('label', { for: name + '-confirm' })
  const cancel = el('button', { type: 'button', 'data-testid': 'cancel' }, 'Cancel')
  const look = h.dry && el('button', { type: 'button', 'data-testid': 'dry-run' }, 'What would it do?')
  const form = el('form', {}, el('h2', { id: name + '-title' }, h.fresh ? h.label : `${h.label}: ${s.name} (${s.sale})`), h.words ? el('p', {}, h.words(s)) : null, ...inputs, plan,
    el('div', { class: 'field' }, ask4, confirm), problem, el('div', { class: 'buttons' }, look || null, cancel, go))
  const box = el('dialog', { id: name, 'data-testid': name, 'aria-labelledby': name + '-title', class: h.fresh ? 'wide' : null }, form)
  const values = () => Object.fromEntries(fields.filter((f) => f.type !== 'file').map((f) => [f.name, form.elements[f.name].value.trim()]))
  const expected = () => (h.fresh ? form.elements.id.value.trim() : s.sale)
  const check = () => {
    put(ask4, expected() ? `Type ${expected()} to confirm` : 'Type the sale’s id to confirm')
    go.disabled = !expected() || confirm.value.trim() !== expected()
  }
  const fail = (err) => { problem.textContent = err.message }
  form.addEventListener('input', check)
  for (const f of fields.filter((x) => x.into)) {
    form.elements[f.name].addEventListener('change', async (e) => { form.elements[f.into].value = (await e.target.files[0]?.text()) ?? '' })
  }
  look?.addEventListener('click', async () => {
    problem.textContent = ''
    try {
      const text = h.told(await h.dry(s, values()))
      plan.hidden = false
      plan.textContent = text
    } catch (err) { fail(err) }
  })
  cancel.addEventListener('click', () => box.close())
  box.addEventListener('close', () => { box.remove(); $('hand-' + h.id).focus() })
  form.addEventListener('submit', async (e) => {
    e.preventDefault()
    if (go.disabled) return
    problem.textContent = ''
    go.disabled = true
    try {
      const v = values()
      const said = h.done(s, v, await h.send(s, v, key))
      say(said)
      box.close()
    } catch (err) {
      fail(err)
      go.disabled = false
    }
  })
  $('dialogs').append(box)
  check()
  box.showModal()
  ;(form.querySelector('.field input, .field select, .field textarea') || confirm).focus()
}
