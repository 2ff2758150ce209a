// The admin API, asked with the token that was typed. It lies in this tab's session
// and goes into a header only: EventSource could not send one, so events are read
// from a fetch.

const tokenAt = 'flashsale-token'
export const token = () => sessionStorage.getItem(tokenAt)
export const keepToken = (t) => sessionStorage.setItem(tokenAt, t)
export const dropToken = () => sessionStorage.removeItem(tokenAt)

const headers = (more = {}) => ({ Authorization: 'Bearer ' + token(), ...more })

// Problem is an answer that says no, in the words of RFC 9457.
export class Problem extends Error {
  constructor(status, doc) {
    super([doc.detail || doc.title || `status ${status}`, doc.what_to_do].filter(Boolean).join('\n'))
    this.status = status
    this.code = doc.code || ''
    this.doc = doc
  }
}

// ask sends one request; key makes a repeated one find what the first has done.
export async function ask(method, path, body, key) {
  const more = {}
  if (body !== undefined) more['Content-Type'] = 'application/json'
  if (key) more['Idempotency-Key'] = `"${key}"`
  let res
  try {
    res = await fetch(path, { method, headers: headers(more), body: body === undefined ? undefined : JSON.stringify(body), cache: 'no-store' })
  } catch {
    throw new Problem(0, { detail: 'No answer: the node may have done it, or not. The same again is safe.' })
  }
  const text = await res.text()
  let doc = {}
  try { doc = JSON.parse(text) } catch { doc = { detail: text.slice(0, 300) } }
  if (!res.ok) throw new Problem(res.status, doc)
  return doc
}

// Without a frame for so long, the connection is given up and made anew.
const silence = 4000

// watch reads frames until it is refused. on has past(points), live(frame), lost(why), refused().
export async function watch(on, stop) {
  let wait = 300
  while (!stop.aborted) {
    const cut = new AbortController()
    const off = () => cut.abort()
    stop.addEventListener('abort', off)
    let timer = setTimeout(off, silence)
    try {
      const res = await fetch('/admin/v1/live', { headers: headers({ Accept: 'text/event-stream' }), cache: 'no-store', signal: cut.signal })
      if (res.status === 401 || res.status === 403) return on.refused()
      if (!res.ok) throw new Error(`status ${res.status}`)
      for await (const [event, data] of events(res.body)) {
        clearTimeout(timer)
        timer = setTimeout(off, silence)
        wait = 300
        on[event]?.(JSON.parse(data))
      }
      on.lost('the node has ended the connection')
    } catch {
      if (!stop.aborted) on.lost('the node does not answer')
    } finally {
      clearTimeout(timer)
      stop.removeEventListener('abort', off)
      cut.abort()
    }
    await new Promise((done) => setTimeout(done, wait))
    wait = Math.min(3000, wait * 2)
  }
}

// events takes a stream apart into [event, data].
async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader()
  let rest = ''
  for (;;) {
    const { value, done } = await reader.read()
    if (done) return
    rest += value
    for (let end = rest.indexOf('\n\n'); end >= 0; end = rest.indexOf('\n\n')) {
      let event = 'message'
      let data = ''
      for (const line of rest.slice(0, end).split('\n')) {
        if (line.startsWith('event: ')) event = line.slice(7)
        if (line.startsWith('data: ')) data += line.slice(6)
      }
      rest = rest.slice(end + 2)
      yield [event, data]
    }
  }
}
