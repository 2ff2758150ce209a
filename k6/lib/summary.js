// The end of a run: a table for people, and with SUMMARY=x.json the whole of it as
// JSON, beside it x.html for a browser, and x.line, one line for whoever runs several.

import { page } from './page.js';

const counters = ['holds', 'sold_outs', 'buyer_limits', 'confirmed', 'declined', 'actions', 'released', 'abandoned', 'retries', 'shed'];
const rates = ['conversion', 'checks', 'turned_away', 'unexpected'];
const columns = ['med', 'p(95)', 'p(99)', 'p(99.9)', 'max'];

// trendStats are what the table needs; options.summaryTrendStats must name them.
export const trendStats = ['avg', 'min', 'count'].concat(columns);

// summary makes handleSummary's answer. notes are lines of the scenario's own; what
// found says is kept in the JSON as `flashsale`. Its pass, if there is one, is the verdict
// of a script whose thresholds are meant to break.
export function summary(title, data, notes = [], found = {}) {
  const told = digest(title, data, notes, found.pass);
  const out = { stdout: text(told) };
  const file = __ENV.SUMMARY;
  if (file) {
    if (!file.endsWith('.json')) throw new Error(`SUMMARY must end with .json, not be ${file}`);
    out[file] = JSON.stringify(Object.assign({}, data, { flashsale: Object.assign({ title, notes }, found, { pass: told.pass }) }), null, 2);
    out[file.replace(/json$/, 'html')] = page(told);
    out[file.replace(/json$/, 'line')] = `${line(told, notes)}\n`;
  }
  return out;
}

// digest is what both the text and the page show.
function digest(title, data, notes, verdict) {
  const values = (name) => data.metrics[name] && data.metrics[name].values;
  const names = Object.keys(data.metrics).map((n) => [n.replace(/\d+/g, (d) => d.padStart(9, '0')), n]).sort().map(([, n]) => n); // 60 before 100
  const trends = [];
  names.forEach((name) => {
    const v = values(name);
    const sub = /^(?:http_req_duration|answer_time|time_to_order)\{(.*:.*)\}$/.exec(name);
    const label = sub ? sub[1].replace(/level:/, 'paying at ').replace(/\w+:/g, '').replace(/,/g, ' · ') : { time_to_no: 'time to no', journey: 'journey' }[name];
    if (label && v.count > 0 && !name.includes('expected_response')) trends.push({ label, count: v.count, cells: columns.map((c) => v[c]) });
  });
  const thresholds = [];
  names.forEach((name) => {
    const all = data.metrics[name].thresholds || {};
    Object.keys(all).forEach((limit) => thresholds.push({ ok: all[limit].ok, name, limit, was: was(values(name), limit) }));
  });
  return {
    title,
    notes,
    columns,
    trends,
    thresholds,
    pass: verdict === undefined ? thresholds.every((t) => t.ok) : verdict,
    seconds: data.state.testRunDurationMs / 1000,
    visits: (values('iterations') || { count: 0 }).count,
    dropped: (values('dropped_iterations') || { count: 0 }).count,
    requests: (values('http_reqs') || { count: 0 }).count,
    counts: counters.map((n) => [n, (values(n) || { count: 0 }).count]),
    rates: rates.filter((n) => values(n)).map((n) => [n, values(n).rate]),
    failed: checks(data.root_group).map((c) => ({ name: c.name, fails: c.fails, of: c.passes + c.fails })),
  };
}

// was is the value that a threshold such as p(95)<250 looked at.
function was(values, limit) {
  const v = values && values[limit.split(/[<>=!]/)[0].trim()];
  return v === undefined || (values.count === 0 && limit[0] === 'p') ? '' : String(Math.round(v * 1000) / 1000);
}

function text(d) {
  const percent = ([n, r]) => `${n} ${(r * 100).toFixed(2)} %`;
  const rows = [['step', 'count'].concat(columns.map((c) => `${c} ms`))];
  d.trends.forEach((t) => rows.push([t.label, String(t.count)].concat(t.cells.map((v) => v.toFixed(2)))));
  const lines = [
    `\n${d.title}`,
    `  ${d.visits} visits in ${d.seconds.toFixed(0)} s · ${d.dropped} dropped · ${d.requests} requests`,
    `  ${d.counts.map((c) => c.join(' ')).join(' · ')}`,
    `  ${d.rates.map(percent).join(' · ')}`,
    '',
    ...align(rows),
    '',
    ...d.thresholds.map((t) => `  ${t.ok ? 'ok  ' : 'FAIL'}  ${t.name}: ${t.limit}${t.ok || !t.was ? '' : `, was ${t.was}`}`),
    ...d.failed.map((c) => `  FAIL  ${c.name} (${c.fails} of ${c.of})`),
    ...d.notes.map((n) => `  ${n}`),
    `  ${d.pass ? 'PASS' : 'FAIL'}`,
    '',
  ];
  return lines.join('\n');
}

// line is the run in one line.
function line(d, notes) {
  const count = Object.fromEntries(d.counts);
  const p95 = (label) => {
    const t = d.trends.find((x) => x.label === label);
    return t ? `${t.cells[1].toFixed(0)} ms` : 'none';
  };
  return [
    d.pass ? 'PASS' : 'FAIL',
    `${d.visits} visits in ${d.seconds.toFixed(0)} s, ${d.dropped} dropped`,
    `holds ${count.holds}, sold out ${count.sold_outs}, orders ${count.confirmed}, shed ${count.shed}`,
    `p95 reserve ${p95('reserve')}, checkout ${p95('checkout')}`,
  ].concat(notes.slice(0, 1)).join(' · ');
}

// checks gives the ones that failed, of all groups.
function checks(group) {
  return group.checks.filter((c) => c.fails > 0).concat(...group.groups.map(checks));
}

function align(rows) {
  const widths = rows[0].map((_, i) => Math.max(...rows.map((r) => r[i].length)));
  return rows.map((r) => `  ${r.map((cell, i) => (i === 0 ? cell.padEnd(widths[i]) : cell.padStart(widths[i]))).join('  ')}`);
}
