// The desk: who is signed in, which sale is looked at, how old the figures are.

import { $, el, put, mark, seconds, since } from './dom.js'
import { ask, watch, token, keepToken, dropToken } from './stream.js'
import * as panels from './panels.js'
import * as hands from './hands.js'
import * as orders from './orders.js'

const staleAfter = 2000 // ms
const keepPoints = 300

const now = { live: null, points: [], sale: '', me: null, arrived: 0, offset: null, stop: null }

const at = () => ({ live: now.live, sale: chosen(), me: now.me })
const chosen = () => now.live?.sales.find((s) => s.sale === now.sale)

// The server's clock as this machine would read it. Clocks that differ by less than a
// second are taken for the same, so that an age is a real one.
const serverNow = () => Date.now() + (Math.abs(now.offset ?? 0) < 1000 ? 0 : now.offset)

function draw() {
  const live = now.live
  if (!live) return
  choose(live)
  const sale = chosen()
  put($('state'), sale?.state || '–')
  mark($('state'), 'is', sale?.state || '')
  panels.verdict(live, serverNow())
  panels.conservation(sale)
  panels.funnel(live, now.points)
  panels.control(live, sale, now.points)
  panels.latency(live, now.points)
  panels.needs(live)
  panels.hot(live, sale)
  panels.events(live)
  hands.refresh(at)
}

// choose keeps the list of sales, and looks at the one that matters most at first.
function choose(live) {
  const list = $('sale')
  const ids = live.sales.map((s) => s.sale)
  if (list.dataset.ids !== ids.join(' ')) {
    list.dataset.ids = ids.join(' ')
    list.replaceChildren(...live.sales.map((s) => el('option', { value: s.sale }, `${s.name} (${s.sale})`)))
  }
  if (!ids.includes(now.sale)) {
    const rank = { open: 0, paused: 1, draining: 2, armed: 3, draft: 4, closed: 5 }
    now.sale = [...live.sales].sort((a, b) => rank[a.state] - rank[b.state] || (b.units?.stock ?? 0) - (a.units?.stock ?? 0))[0]?.sale || ''
  }
  if (list.value !== now.sale) list.value = now.sale
}

// tick goes on when nothing arrives: that is when it matters.
function tick() {
  if (!now.live) return
  const age = Math.max(0, serverNow() - Date.parse(now.live.at))
  document.body.dataset.age = String(Math.round(age))
  const stale = age > staleAfter
  put($('age'), stale ? `${since(age / 1000)} old` : `${(age / 1000).toFixed(1)} s old`)
  mark($('age'), 'stale', stale ? 'yes' : 'no')
  $('figures').classList.toggle('stale', stale)
  const lost = $('lost')
  lost.hidden = !stale
  if (stale) put(lost, `Connection lost${now.why ? ': ' + now.why : ''}. These figures are ${since(age / 1000)} old; trying again.`)
  const silent = now.live.silent
  if (!stale && silent.length) {
    lost.hidden = false
    put(lost, 'No answer from ' + silent.map((s) => `${s.who}: ${s.error.replaceAll('_', ' ')}, ${s.since ? 'last ' + since(Math.max(0, (serverNow() - Date.parse(s.since)) / 1000)) + ' ago' : 'never yet'}`).join('; '))
  }
  const sale = chosen()
  const t = serverNow()
  const until = (at, word) => (at && Date.parse(at) > t ? `${word} in ${seconds((Date.parse(at) - t) / 1000)}` : '')
  put($('countdown'), (sale && (['draft', 'armed'].includes(sale.state) ? until(sale.opens_at, 'opens') : until(sale.closes_at, 'ends'))) || '')
}

function took(live) {
  now.arrived = Date.now()
  const ahead = Date.parse(live.at) - now.arrived
  now.offset = now.offset === null ? ahead : Math.max(now.offset, ahead)
  now.live = live
  now.points.push(live.point)
  if (now.points.length > keepPoints) now.points.shift()
  requestAnimationFrame(() => { draw(); tick() })
}

async function open() {
  try {
    now.me = await ask('GET', '/admin/v1/me')
  } catch (p) {
    shut(p.status === 401 ? 'This token is not known.' : p.message)
    return
  }
  put($('who'), `${now.me.name} · ${now.me.role}`)
  document.body.dataset.signed = 'yes'
  $('door').hidden = true
  $('desk').hidden = false
  now.stop = new AbortController()
  watch({
    past: (points) => { now.points = points },
    live: took,
    lost: (why) => { now.why = why },
    refused: () => shut('This token is not accepted any more.'),
  }, now.stop.signal)
}

function shut(why = '') {
  now.stop?.abort()
  dropToken()
  Object.assign(now, { live: null, points: [], me: null })
  document.body.dataset.signed = 'no'
  $('desk').hidden = true
  $('door').hidden = false
  put($('signin-error'), why)
  $('token').value = ''
  $('token').focus()
}

// theme is the system's, until somebody chooses in this tab.
const themeAt = 'flashsale-theme'
const dark = matchMedia('(prefers-color-scheme: dark)')
const theme = () => { document.documentElement.dataset.theme = sessionStorage.getItem(themeAt) || (dark.matches ? 'dark' : 'light') }

theme()
dark.addEventListener('change', theme)
$('theme').addEventListener('click', () => {
  sessionStorage.setItem(themeAt, document.documentElement.dataset.theme === 'dark' ? 'light' : 'dark')
  theme()
})
$('leave').addEventListener('click', () => shut())
$('sale').addEventListener('change', (e) => { now.sale = e.target.value; draw() })
$('signin').addEventListener('submit', (e) => {
  e.preventDefault()
  put($('signin-error'), '')
  keepToken($('token').value.trim())
  open()
})
document.addEventListener('keydown', (e) => {
  if (e.ctrlKey || e.metaKey || e.altKey || e.target.closest('input, textarea, select, dialog')) return
  if (e.key === '/') { e.preventDefault(); $('query').select() }
  if (e.key === 't') $('theme').click()
})
hands.make(at)
orders.make(at)
setInterval(tick, 200)
if (token()) open()
else $('token').focus()
