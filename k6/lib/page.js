// The summary as one page of HTML: no script, nothing from elsewhere, light or dark as
// the reader's machine is.

const style = `
:root { color-scheme: light dark; --line: #8884; --bar: #5b8def; --ok: #1a7f4b; --bad: #c0362c; }
@media (prefers-color-scheme: dark) { :root { --bar: #7aa5ff; --ok: #4cc38a; --bad: #ff7b72; } }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.4rem; margin: 0 0 .2rem; } h2 { font-size: 1rem; margin: 2rem 0 .5rem; }
.verdict { font-weight: 600; } .ok { color: var(--ok); } .bad { color: var(--bad); }
dl { display: grid; grid-template-columns: repeat(auto-fill, minmax(9rem, 1fr)); gap: .8rem; margin: 1.2rem 0; }
dt { opacity: .7; font-size: .85rem; } dd { margin: 0; font-size: 1.25rem; font-variant-numeric: tabular-nums; }
.wide { overflow-x: auto; } table { border-collapse: collapse; width: 100%; }
th, td { padding: .25rem .6rem; border-bottom: 1px solid var(--line); text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
th { font-weight: 500; opacity: .7; } th:first-child, td:first-child { text-align: left; }
.bar { display: block; height: .5rem; border-radius: 2px; background: var(--bar); min-width: 1px; }
td.chart { width: 22%; }`;

function safe(s) {
  return String(s).replace(/[&<>"']/g, (c) => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' })[c]);
}

function table(head, rows) {
  return `<div class="wide"><table><tr>${head.map((h) => `<th>${safe(h)}</th>`).join('')}</tr>${rows.map((r) => `<tr>${r.join('')}</tr>`).join('')}</table></div>`;
}

const cell = (s, kind = '') => `<td${kind ? ` class="${kind}"` : ''}>${safe(s)}</td>`;

// page takes what summary.js has put together.
export function page(d) {
  const mark = (ok) => (ok ? 'ok' : 'bad');
  const numbers = [['visits', d.visits], ['dropped', d.dropped], ['requests', d.requests], ['seconds', d.seconds.toFixed(0)]]
    .concat(d.counts.filter(([, n]) => n > 0))
    .concat(d.rates.map(([n, r]) => [n, `${(r * 100).toFixed(2)} %`]));
  const most = Math.max(1, ...d.trends.filter((t) => t.label !== 'journey').map((t) => t.cells[1])); // a journey has hesitations in it
  const trends = d.trends.map((t) => [cell(t.label), cell(t.count)].concat(t.cells.map((v) => cell(v.toFixed(1))))
    .concat(`<td class="chart"><span class="bar" style="width:${Math.min((t.cells[1] / most) * 100, 100).toFixed(1)}%"></span></td>`));
  const limits = d.thresholds.slice().sort((a, b) => Number(a.ok) - Number(b.ok)).map((t) => [cell(t.name), cell(t.limit), cell(t.was), cell(t.ok ? 'ok' : 'FAIL', mark(t.ok))]);
  return `<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>${safe(d.title)}</title><style>${style}
</style>
<h1>${safe(d.title)}</h1>
<p class="verdict ${mark(d.pass)}">${d.pass ? 'PASS' : 'FAIL'}${d.failed.length ? ` · ${d.failed.length} checks failed` : ''}</p>
${d.notes.map((n) => `<p>${safe(n)}</p>`).join('\n')}
<dl>${numbers.map(([n, v]) => `<div><dt>${safe(n.replace(/_/g, ' '))}</dt><dd>${safe(v)}</dd></div>`).join('')}</dl>
<h2>Milliseconds, by step and outcome; the bar is the 95th percentile</h2>
${table(['step', 'count', ...d.columns, ''], trends)}
<h2>Thresholds</h2>
${table(['metric', 'limit', 'was', ''], limits)}
${d.failed.length ? `<h2>Checks that failed</h2>${table(['check', 'failed', 'of'], d.failed.map((c) => [cell(c.name), cell(c.fails, 'bad'), cell(c.of)]))}` : ''}
</html>
`;
}
