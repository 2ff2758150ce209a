// Making elements, and saying numbers. Text from the server only ever becomes text.

export const $ = (id) => document.getElementById(id)

// el makes an element: attributes first, then children; null is left out.
export function el(tag, props = {}, ...children) {
  const e = document.createElement(tag)
  for (const [k, v] of Object.entries(props)) {
    if (v === null || v === undefined || v === false) continue
    if (k.startsWith('on')) e.addEventListener(k.slice(2), v)
    else e.setAttribute(k, v === true ? '' : String(v))
  }
  e.append(...children.filter((c) => c !== null && c !== undefined))
  return e
}

const svgSpace = 'http://www.w3.org/2000/svg'

export function svg(tag, props = {}, ...children) {
  const e = document.createElementNS(svgSpace, tag)
  for (const [k, v] of Object.entries(props)) e.setAttribute(k, String(v))
  e.append(...children)
  return e
}

// put changes text only if it is another: a screen reader is not told the same twice.
export function put(node, text) {
  if (node.textContent !== text) node.textContent = text
}

export function mark(node, name, value) {
  if (node.dataset[name] !== value) node.dataset[name] = value
}

const known = (v) => v !== null && v !== undefined && Number.isFinite(v)
export const none = '–'

export function count(v) {
  if (!known(v)) return none
  return Math.round(v).toLocaleString('en-US')
}

export function short(v) {
  if (!known(v)) return none
  const a = Math.abs(v)
  if (a >= 1e6) return (v / 1e6).toFixed(a >= 1e7 ? 0 : 1) + 'M'
  if (a >= 1e4) return (v / 1e3).toFixed(a >= 1e5 ? 0 : 1) + 'k'
  if (a >= 100 || v === Math.round(v)) return Math.round(v).toLocaleString('en-US')
  return v.toFixed(1)
}

export const rate = (v) => (known(v) ? short(v) + '/s' : none)

export function seconds(v) {
  if (!known(v)) return none
  if (v === 0) return '0 s'
  if (v < 0.001) return (v * 1e6).toFixed(0) + ' µs'
  if (v < 1) return (v * 1e3).toFixed(v < 0.0995 ? 1 : 0) + ' ms'
  if (v < 100) return v.toFixed(v < 10 ? 2 : 1) + ' s'
  if (v < 7200) return Math.floor(v / 60) + ' min ' + String(Math.floor(v % 60)).padStart(2, '0') + ' s'
  if (v < 172800) return (v / 3600).toFixed(1) + ' h'
  return Math.round(v / 86400) + ' days'
}

// since says an age in whole seconds.
export const since = (v) => (v < 99.5 ? Math.round(v) + ' s' : seconds(v))

export const percent = (v) => (known(v) ? (v * 100).toFixed(v < 0.1 ? 1 : 0) + '%' : none)

export const clock = (t) => new Date(t).toISOString().slice(11, 19)
export const stamp = (t) => new Date(t).toISOString().slice(0, 23).replace('T', ' ')
