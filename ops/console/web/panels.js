// One function per panel: each takes the newest snapshot and brings its part of the
// screen up to it. Elements are made once and changed after.

import { $, el, put, mark, count, short, rate, seconds, since, percent, clock, none } from './dom.js'
import { stack, share, lines, spread, scaleWords } from './plot.js'

const span = 120

// rows keeps as many children as there are items, each made once by make and filled by fill.
function rows(place, items, make, fill) {
  while (place.childNodes.length > items.length) place.lastChild.remove()
  items.forEach((item, i) => {
    let row = place.childNodes[i]
    if (!row) place.append(row = make())
    fill(row, item)
  })
}

// Old proofs say less than new ones.
const fastOld = 5
const fullOld = 90

export function verdict(live, now) {
  const p = live.proof
  const age = (t) => (t ? Math.max(0, (now - Date.parse(t)) / 1000) : null)
  const fast = age(p.fast_at)
  const full = age(p.full_at)
  for (const [name, by] of [['oversold', fast], ['lost', full], ['drift', fast], ['unpaid', full]]) {
    const tile = document.querySelector(`#zeros [data-testid="${name}"]`)
    put(tile.firstChild, by === null ? none : count(p[name]))
    const old = by === null || by > (by === fast ? fastOld : Math.max(fullOld, (p.full_took_ms || 0) * 0.025))
    mark(tile, 'is', p[name] > 0 ? 'bad' : old ? 'old' : 'good')
  }
  put($('proof-fast'), fast === null ? 'not yet' : ago(fast))
  $('proof-fast').classList.toggle('old', fast === null || fast > fastOld)
  put($('proof-full'), full === null ? 'not yet' : `${ago(full)}, took ${seconds((p.full_took_ms || 0) / 1000)}`)
  const list = p.findings.map((f) => `${f.kind} ${f.count} ${f.sale || ''} ${f.sku || f.order || ''}: ${f.detail}`).join('\n')
  if ($('zeros').title !== list) $('zeros').title = list
}

const ago = (s) => (s < 1.5 ? 'now' : since(s) + ' ago')

const words = { available: 'available', held: 'held', paying: 'paying', sold: 'sold', in_flight: 'between shards' }

export function conservation(sale) {
  const u = sale?.units
  put($('epoch'), sale ? String(sale.epoch) : none)
  put($('gate'), sale ? sale.gate : none)
  $('gate').title = sale?.gate_why || ''
  if (!u) {
    $('sum').replaceChildren(el('i', {}, sale ? (sale.gate === 'absent' ? 'no units at the gate before it is armed' : 'the gate has not been read') : 'no sale'))
    $('units').replaceChildren()
    return
  }
  const names = Object.keys(words).filter((n) => n !== 'in_flight' || u.in_flight)
  const sum = [el('b', {}, count(u.stock)), el('i', {}, ' stock ' + (u.conserved ? '= ' : '≠ '))]
  names.forEach((n, i) => sum.push(i ? ' + ' : '', el('span', { class: 'dot ' + n }), el('b', {}, count(u[n])), el('i', {}, ' ' + words[n])))
  $('sum').replaceChildren(...sum)
  stack($('units'), names.map((n) => ({ name: n, value: u[n] })), u.stock, 26, names.map((n) => `${words[n]} ${u[n]}`).join(', ') + ` of ${u.stock}`)
}

const stageWords = { asked: 'asked', held: 'held', checkout: 'checkout', accepted: 'accepted', confirmed: 'confirmed' }

export function funnel(live, points) {
  put($('funnel-of'), `node ${live.node.slice(0, 18)}, all sales`)
  // A hundred thousand are refused where ten buy: so bars grow with the logarithm.
  const size = (v) => Math.log10(1 + Math.max(0, v || 0))
  const widest = Math.max(1, ...live.funnel.map((s) => size(s.rate)))
  rows($('funnel'), live.funnel, () => el('div', { class: 'stage' },
    el('span', { class: 'name' }), el('span', { class: 'rate' }), el('div'), el('span', { class: 'total' }), el('span', { class: 'out' })),
  (row, s) => {
    const [name, r, bar, total, out] = row.childNodes
    put(name, stageWords[s.name] || s.name)
    put(r, rate(s.rate))
    put(total, short(s.total))
    const lost = s.out.reduce((n, o) => n + (o.rate || 0), 0)
    const part = s.rate > 0 ? Math.min(1, lost / s.rate) : 0
    stack(bar, [{ name: 'sold', value: size(s.rate) * (1 - part) }, { name: 'held', value: size(s.rate) * part }], widest, 14, `${s.name} ${rate(s.rate)}`)
    const why = s.out.filter((o) => o.rate > 0 || o.total > 0).slice(0, 3)
    const text = why.flatMap((o, i) => [i ? ' · ' : '', o.why.replaceAll('_', ' '), ' ', el('b', {}, o.rate > 0 ? rate(o.rate) : short(o.total))])
    out.replaceChildren(...(text.length ? text : ['']))
    out.title = s.out.map((o) => `${o.why} ${rate(o.rate)}, ${count(o.total)} in all`).join('\n')
  })
  lines($('plot-flow'), points, [
    { name: 'asked', kind: 'a', of: (p) => p.asked }, { name: 'held', kind: 'b', of: (p) => p.held }, { name: 'sold', kind: 'c', of: (p) => p.sold },
  ], 84, span, 'asked, held and sold per second', rate)
}

export function control(live, sale, points) {
  const facts = [
    ['sold out in', sale?.sold_out_in ? seconds(sale.sold_out_in) : sale?.units?.available === 0 ? 'sold out' : none, ''],
    ['sold', rate(sale?.sell_rate), ''],
    ['leaving stock', rate(sale?.take_rate), ''],
  ]
  const r = sale?.room
  if (r) {
    facts.push(['admitted' + (r.rate_cap ? `, cap ${short(r.rate_cap)}/s` : ''), r.paused ? 'stopped' : rate(r.rate), r.paused ? 'warn' : ''],
      ['in line', count(r.waiting), ''],
      ['wait p50 · p95', r.wait_p50 === null ? none : `${brief(r.wait_p50)} · ${brief(r.wait_p95)}`, ''])
  } else {
    const p = live.pressure
    facts.push(['asking, of ' + short(p.asking_limit), short(p.asking), p.asking >= p.asking_limit * 0.9 ? 'warn' : ''],
      ['told overloaded', rate(p.overloaded), p.overloaded > 0 ? 'warn' : ''],
      ['told too often', rate(p.rate_limited), p.rate_limited > 0 ? 'warn' : ''])
  }
  const place = $('control')
  if (!place.firstChild) place.append(el('p', { class: 'binds', 'data-testid': 'binds' }, el('span', { class: 'key' }, 'what binds: '), el('b', { class: 'pill' }), el('span', { class: 'quiet' })), el('div', { class: 'big' }))
  const [line, big] = place.childNodes
  put(line.childNodes[1], sale?.binds || none)
  mark(line.childNodes[1], 'is', ['gate', 'payment'].includes(sale?.binds) ? 'bad' : sale?.binds === 'demand' ? 'open' : 'paused')
  put(line.childNodes[2], ' ' + (sale?.because || ''))
  rows(big, facts, () => el('div', { class: 'fact' }, el('b'), el('span')), (row, [name, value, is]) => {
    put(row.firstChild, value)
    put(row.lastChild, name)
    mark(row, 'is', is)
  })
  const id = sale?.sale
  lines($('plot-left'), points, [{ name: 'available', kind: 'a', of: (p) => p.left?.[id] }].concat(r ? [{ name: 'in line', kind: 'b', of: (p) => p.waiting?.[id] }] : []),
    120, span, 'available units' + (r ? ' and buyers in line' : ''), short)
}

const brief = (v) => seconds(v).replace(/ min.*/, ' min')

const slow = { reserve: [0.1, 1], batch: [0.5, 2], 'gate call': [0.05, 0.5], checkout: [2, 5], authorise: [2, 5], commit: [0.5, 2], capture: [2, 5] }

export function latency(live, points) {
  const place = $('latency')
  if (!place.firstChild) {
    place.append(el('div', { class: 'steps' }, el('span'), el('span', { class: 'h scale' }, ...scaleWords.map((t) => el('span', {}, t))), ...['p50', 'p99', 'p99.9'].map((t) => el('span', { class: 'h' }, t))))
  }
  const table = place.firstChild
  const items = live.steps
  const want = 5 + items.length * 5
  while (table.childNodes.length > want) table.lastChild.remove()
  items.forEach((s, i) => {
    const at = 5 + i * 5
    if (!table.childNodes[at]) table.append(el('span'), el('div'), el('span', { class: 'v' }), el('span', { class: 'v' }), el('span', { class: 'v' }))
    const [name, bar, a, b, c] = [0, 1, 2, 3, 4].map((n) => table.childNodes[at + n])
    put(name, s.name)
    spread(bar, s.p50, s.p99, s.p999, `${s.name}: p50 ${seconds(s.p50)}, p99 ${seconds(s.p99)}, p99.9 ${seconds(s.p999)}`)
    for (const [node, v] of [[a, s.p50], [b, s.p99], [c, s.p999]]) {
      put(node, seconds(v))
      node.classList.toggle('slow', v >= (slow[s.name]?.[0] ?? Infinity))
      node.classList.toggle('awful', v >= (slow[s.name]?.[1] ?? Infinity))
    }
  })
  lines($('plot-latency'), points, [
    { name: 'reserve', kind: 'a', of: (p) => p.p99?.reserve }, { name: 'gate', kind: 'c', of: (p) => p.p99?.['gate call'] }, { name: 'checkout', kind: 'b', of: (p) => p.p99?.checkout },
  ], 130, span, 'p99 over time', seconds)
}

const unit = { seconds, share: percent, count, per_second: rate }

export function needs(live) {
  const place = $('needs')
  const n = live.needs
  const groups = [['Redis', n.redis], ['Kafka', n.kafka], ['Postgres', n.postgres], ['Payment', n.payment]]
  rows(place, groups, () => el('section', {}, el('h3'), el('div'), el('div')), (box, [name, list]) => {
    put(box.childNodes[0], name)
    rows(box.childNodes[1], list, () => el('div', { class: 'need' }, el('span'), el('b'), el('div')), (row, x) => {
      put(row.childNodes[0], x.name)
      put(row.childNodes[1], (unit[x.unit] || short)(x.value))
      mark(row, 'is', x.value === null ? '' : x.bad && x.value >= x.bad ? 'bad' : x.warn && x.value >= x.warn ? 'warn' : '')
      row.title = x.value === null ? 'not known: nothing on this node measures it' : ''
      if (x.bad) share(row.childNodes[2], x.value === null ? 0 : x.value / x.bad, 7, x.value >= x.bad ? 'held' : 'sold', `${x.name}: ${(unit[x.unit] || short)(x.value)}`)
      else row.childNodes[2].replaceChildren()
    })
    if (name === 'Payment') {
      rows(box.childNodes[2], n.breakers, () => el('div', { class: 'breaker' }, el('span', { class: 'pill' }), el('span', { class: 'name' }), el('span', { class: 'quiet' })), (row, b) => {
        put(row.childNodes[0], b.state + (b.forced ? ', forced' : ''))
        mark(row.childNodes[0], 'is', b.state === 'open' ? 'bad' : b.state === 'closed' ? 'open' : 'half-open')
        put(row.childNodes[1], b.name.replace(/^payment-/, ''))
        put(row.childNodes[2], b.failing > 0 ? `fails ${rate(b.failing)}` : `${count(b.in_flight)}/${count(b.limit)}`)
        row.title = `${b.name}: ${count(b.in_flight)} calls under way, of at most ${count(b.limit)}; ${rate(b.failing)} fail`
      })
    }
  })
  const h = live.headroom
  const room = $('headroom')
  if (!room.firstChild) room.append(el('div', { class: 'row' }, el('span', { class: 'name' }, 'Headroom'), el('div'), el('b')), el('p', { class: 'quiet' }))
  const row = room.firstChild
  share(row.childNodes[1], h.used, 12, h.used > 0.85 ? 'held' : 'sold', `headroom: ${percent(h.used)} used`)
  put(row.childNodes[2], h.used === null ? none : percent(Math.max(0, 1 - h.used)) + ' left')
  put(room.children[1], h.shares.map((s) => `${s.name} ${percent(s.used)}`).join(' · '))
  knee(room, h.knee)
}

// knee is what the capacity model says; nothing without one.
function knee(room, k) {
  while (room.children.length > 2 && !k) room.lastChild.remove()
  if (!k) return
  if (room.children.length === 2) room.append(el('div', { class: 'row' }, el('span', { class: 'name' }, 'To the knee'), el('div'), el('b')), el('p', { class: 'quiet' }))
  const [row, words] = [room.children[2], room.children[3]]
  const between = (i, say) => `${say(i.value)} [${say(i.low)}, ${say(i.high)}]`
  share(row.childNodes[1], k.used.value, 12, k.used.high >= 1 ? 'held' : 'sold', `${between(k.used, percent)} of what fits before the knee`)
  put(row.childNodes[2], percent(Math.max(0, 1 - k.used.value)) + ' left')
  put(words, `${between(k.used, percent)} used; ${k.binds} first` + (k.most.value ? `, at ${between(k.most, rate)}` : ''))
  row.title = words.title = `the capacity model of ${k.measured}, ${k.on}: as much of what comes to this node now as it takes to be at the knee`
}

export function hot(live, sale) {
  put($('sku-count'), sale && sale.sku_count > sale.skus.length ? `${sale.skus.length} of ${count(sale.sku_count)}` : '')
  rows($('skus'), sale?.skus || [], () => el('div', { class: 'row' }, el('span', { class: 'name' }), el('div'), el('b')), (row, k) => {
    put(row.childNodes[0], k.sku)
    row.title = `${k.title || k.sku}: ${k.available} available, ${k.held} held, ${k.paying} paying, ${k.sold} sold of ${k.stock}`
    stack(row.childNodes[1], ['sold', 'paying', 'held', 'available'].map((n) => ({ name: n, value: k[n] })), k.stock, 11, row.title)
    put(row.childNodes[2], k.available === 0 ? 'gone' : rate(k.rate))
  })
  const most = Math.max(1, ...live.buyers.map((b) => b.rate))
  const place = $('buyers')
  if (!live.buyers.length) {
    place.replaceChildren(el('p', { class: 'quiet' }, 'nobody asks a lot'))
    return
  }
  if (place.firstChild?.tagName === 'P') place.replaceChildren()
  rows(place, live.buyers, () => el('div', { class: 'row' }, el('span', { class: 'name' }), el('div'), el('b')), (row, b) => {
    put(row.childNodes[0], b.buyer)
    row.title = b.buyer
    stack(row.childNodes[1], [{ name: 'paying', value: b.rate }], most, 9, `${b.buyer}: ${rate(b.rate)}`)
    put(row.childNodes[2], rate(b.rate))
  })
}

export function events(live) {
  const list = live.events
  if (!list.length) {
    $('events').replaceChildren(el('li', {}, el('time'), el('span'), el('span', { class: 'why' }, 'nothing yet')))
    return
  }
  rows($('events'), list, () => el('li', {}, el('time'), el('span', { class: 'mark' }), el('span', {}, el('span', { class: 'what' }), el('span', { class: 'why' }))), (li, e) => {
    if (!li.querySelector('.mark')) li.replaceChildren(el('time'), el('span', { class: 'mark' }), el('span', {}, el('span', { class: 'what' }), el('span', { class: 'why' })))
    put(li.childNodes[0], clock(e.at))
    mark(li, 'kind', e.kind)
    const text = li.childNodes[2]
    put(text.firstChild, (e.kind === 'over' ? 'over: ' : '') + e.what)
    put(text.lastChild, [e.target && ' ' + e.target, e.who && e.kind !== 'fault' && ', ' + e.who, e.why && ': ' + e.why].filter(Boolean).join(''))
  })
}
