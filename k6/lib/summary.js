// The end of a run: a table for people, and the whole of it as JSON for machines.

const steps = ['reserve', 'checkout', 'action', 'poll', 'order', 'release', 'sale'];
const counters = ['holds', 'sold_outs', 'buyer_limits', 'confirmed', 'declined', 'actions', 'released', 'retries'];
const columns = ['med', 'p(95)', 'p(99)', 'p(99.9)', 'max'];

// trendStats are what the table needs; options.summaryTrendStats must name them.
export const trendStats = ['avg', 'min', 'count'].concat(columns);

// summary makes handleSummary's answer. JSON goes to the file that SUMMARY
// names; its folder must exist.
export function summary(title, data) {
  const out = { stdout: table(title, data) };
  if (__ENV.SUMMARY) out[__ENV.SUMMARY] = JSON.stringify(data, null, 2);
  return out;
}

function table(title, data) {
  const metric = (name) => data.metrics[name] && data.metrics[name].values;
  const rows = [['step', 'count'].concat(columns.map((c) => `${c} ms`))];
  const trend = (label, v) => v && v.count > 0 && rows.push([label, String(v.count)].concat(columns.map((c) => v[c].toFixed(2))));
  steps.forEach((s) => trend(s, metric(`http_req_duration{step:${s}}`)));
  trend('time to no', metric('time_to_no'));
  trend('journey', metric('journey'));

  const counts = counters.map((n) => `${n} ${(metric(n) || { count: 0 }).count}`).join(' · ');
  const rate = (n) => (metric(n) ? `${(metric(n).rate * 100).toFixed(2)} %` : 'none');
  const lines = [`\n${title}`, `  ${counts}`, `  conversion ${rate('conversion')} · checks ${rate('checks')} · unexpected ${rate('unexpected')}`, ''];
  lines.push(...align(rows), '');

  let pass = true;
  Object.keys(data.metrics).sort().forEach((name) => {
    const limits = data.metrics[name].thresholds || {};
    Object.keys(limits).forEach((limit) => {
      pass = pass && limits[limit].ok;
      lines.push(`  ${limits[limit].ok ? 'ok  ' : 'FAIL'}  ${name}: ${limit}`);
    });
  });
  checks(data.root_group).forEach((c) => lines.push(`  FAIL  ${c.name} (${c.fails} of ${c.passes + c.fails})`));
  lines.push(`  ${pass ? 'PASS' : 'FAIL'}`, '');
  return lines.join('\n');
}

// checks gives the ones that failed, of all groups.
function checks(group) {
  return group.checks.filter((c) => c.fails > 0).concat(...group.groups.map(checks));
}

function align(rows) {
  const widths = rows[0].map((_, i) => Math.max(...rows.map((r) => r[i].length)));
  return rows.map((r) => `  ${r.map((cell, i) => (i === 0 ? cell.padEnd(widths[i]) : cell.padStart(widths[i]))).join('  ')}`);
}
