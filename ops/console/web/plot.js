// Plots, drawn as SVG: lines over time, stacked bars, and a scale for latencies.

import { svg, el } from './dom.js'

const W = 400

// keep gives the one svg of a place, made anew only when its size changes.
function keep(place, height, label) {
  let s = place.querySelector('svg')
  if (!s || s.dataset.h !== String(height)) {
    s = svg('svg', { viewBox: `0 0 ${W} ${height}`, preserveAspectRatio: 'none', height, role: 'img' })
    s.dataset.h = String(height)
    place.prepend(s)
  }
  s.setAttribute('aria-label', label)
  return s
}

// stack draws parts of a whole beside each other.
export function stack(place, parts, whole, height, label) {
  const s = keep(place, height, label)
  s.classList.add('bar')
  const total = Math.max(whole, parts.reduce((n, p) => n + p.value, 0), 1)
  while (s.childNodes.length > parts.length + 1) s.lastChild.remove()
  if (!s.firstChild) s.append(svg('rect', { class: 's-track', width: W, height, rx: 3 }))
  let x = 0
  parts.forEach((p, i) => {
    let r = s.childNodes[i + 1]
    if (!r) s.append(r = svg('rect', { height }))
    const w = (p.value / total) * W
    r.setAttribute('class', 's-' + p.name)
    r.setAttribute('x', x)
    r.setAttribute('width', Math.max(0, w))
    x += w
  })
}

// share draws how much of something is used.
export function share(place, used, height, kind, label) {
  stack(place, [{ name: kind, value: Math.max(0, Math.min(1, used || 0)) }], 1, height, label)
}

// lines draws series over the time that they share: [{name, of, kind}]; each has its
// own scale if scales is set, else one from zero. A point that is not known is a gap.
export function lines(place, points, series, height, span, label, format) {
  const s = keep(place, height, label)
  const now = points.length ? Date.parse(points[points.length - 1].at) : 0
  let top = 0
  for (const l of series) for (const p of points) top = Math.max(top, l.of(p) ?? 0)
  top = nice(top)
  const parts = [svg('line', { class: 'grid', x1: 0, x2: W, y1: height - 0.5, y2: height - 0.5 }), svg('line', { class: 'grid', x1: 0, x2: W, y1: 1, y2: 1 })]
  for (const l of series) {
    let d = ''
    let pen = 'M'
    for (const p of points) {
      const v = l.of(p)
      if (v === null || v === undefined) { pen = 'M'; continue }
      const x = W - ((now - Date.parse(p.at)) / 1000 / span) * W
      if (x < 0) continue
      d += `${pen}${x.toFixed(1)} ${(height - 2 - (v / top) * (height - 4)).toFixed(1)}`
      pen = 'L'
    }
    if (d) parts.push(svg('path', { class: 'l-' + l.kind, d }))
  }
  s.replaceChildren(...parts)
  let legend = place.querySelector('.legend')
  if (!legend) place.append(legend = el('div', { class: 'legend' }))
  const last = points[points.length - 1]
  const want = series.map((l) => `${l.name} ${last ? format(l.of(last)) : '–'}`).concat(`to ${format(top)}, ${span} s`)
  legend.replaceChildren(...want.map((text, i) => el('span', {}, ...(series[i] ? [el('i', { class: 'k-' + series[i].kind })] : []), text)))
}

function nice(v) {
  if (v <= 0) return 1
  const p = 10 ** Math.floor(Math.log10(v))
  for (const m of [1, 2, 5, 10]) if (v <= m * p) return m * p
  return 10 * p
}

const least = 1e-4
const most = 10
const place = (v) => (Math.log10(Math.max(least, Math.min(most, v)) / least) / Math.log10(most / least)) * W

// spread draws p50, p99 and p99.9 on one logarithmic scale from 0.1 ms to 10 s.
export function spread(at, p50, p99, p999, label) {
  const height = 18
  const s = keep(at, height, label)
  const parts = []
  for (const t of [1e-3, 1e-2, 1e-1, 1]) parts.push(svg('line', { class: 'grid', x1: place(t), x2: place(t), y1: 0, y2: height }))
  if (p50 !== null && p50 !== undefined) {
    parts.push(svg('rect', { class: 's-track', x: place(p50), width: Math.max(1, place(p999) - place(p50)), y: 7, height: 4 }))
    for (const [v, kind] of [[p50, 'c'], [p99, 'a'], [p999, 'b']]) parts.push(svg('rect', { class: 'f-' + kind, x: place(v) - 3, width: 6, y: 4, height: 10, rx: 1 }))
  }
  s.replaceChildren(...parts)
}

// What the lines of that scale stand for.
export const scaleWords = ['1 ms', '10 ms', '100 ms', '1 s']
