// A stand-in for the server: same addresses and shapes, invented data. `node mock/server.mjs [port] [--empty]`
import { createServer } from 'node:http';
import { existsSync, readFileSync } from 'node:fs';
import { dirname, extname, join, normalize } from 'node:path';
import { fileURLToPath } from 'node:url';
import { encodeColumns } from './columns.mjs';
import { commandsMs, history, machines, ruleList, steerable, submit } from './steer.mjs';
import { advance, blobs, build, series, world } from './runs.mjs';

const PORT = Number(process.argv[2] ?? 3280);
const WEB = join(dirname(fileURLToPath(import.meta.url)), '../../src/farwatch/server/web');
const CSP = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data: blob:; font-src 'self'; manifest-src 'self'; worker-src 'self'; base-uri 'self'";
if (!process.argv.includes('--empty')) build();

const num = (value) => (value === undefined || value === null ? null : Number.isFinite(value) ? value : Number.isNaN(value) ? 'NaN' : value > 0 ? 'Infinity' : '-Infinity');
const round = (value) => (typeof value === 'number' && Number.isFinite(value) ? Number(value.toPrecision(5)) : num(value));
const names = (run) => [...new Set([...run.series.values()].map((line) => line.name))].sort();
const points = (run) => [...run.series.values()].reduce((sum, line) => sum + line.values.length, 0);

function stats(run, name) {
  const { values, steps } = series(run, name);
  let min = Infinity; let max = -Infinity; let sum = 0; let count = 0; let minStep = null; let maxStep = null;
  values.forEach((value, k) => {
    if (!Number.isFinite(value)) return;
    sum += value; count += 1;
    if (value < min) [min, minStep] = [value, steps[k]];
    if (value > max) [max, maxStep] = [value, steps[k]];
  });
  return { name, kind: 'scalar', count: values.length, nonfinite: values.length - count, last: num(values.at(-1)), last_step: num(steps.at(-1)), min: count ? min : null, min_step: num(minStep), max: count ? max : null, max_step: num(maxStep), mean: count ? sum / count : null, ranks: [0], attempts: [1], x: null, summary: null, goal: /acc/.test(name) ? 'max' : null, unit: /bytes$/.test(name) ? 'B' : null };
}

function row(run) {
  const final = ['finished', 'failed', 'stopped'].includes(run.state);
  return {
    id: run.id, short: run.short, number: run.number, name: run.name, project: run.project, state: run.state, reason: run.reason, created_ms: run.created, modified_ms: run.contact, started_ms: run.created,
    ended_ms: final ? run.contact : null, duration_ms: (final ? run.contact : Date.now()) - run.created, contact_ms: run.contact, owner: run.owner, host: run.host, attempt: run.earlier ? 2 : 1, group: run.group ?? null, job_type: null, parent: null,
    tags: run.tags, notes: run.notes ?? null, archived: false, deleted_ms: null, step: run.step, total_steps: run.total, progress: null, points: points(run), bytes: points(run) * 9, world_size: 1, alerts: 0, commands_ms: commandsMs(run),
    main_metric: run.series.size ? 'val/loss' : null, main_last: num(series(run, 'val/loss').values.at(-1)),
  };
}

function cell(run, column) {
  if (column.startsWith('config.')) {
    const value = column.slice(7).split('/').reduce((at, key) => at?.[key], run.config);
    return value === undefined ? null : typeof value === 'object' ? JSON.stringify(value) : value;
  }
  const [, name, , rule] = /^summary\.(.+?)(\.(min|max|mean|last))?$/.exec(column) ?? [];
  if (!name || !run.series.has(`${name}\n0`)) return null;
  return round(stats(run, name)[rule ?? 'last']);
}

const leaves = (tree, prefix = '') => Object.entries(tree).flatMap(([key, value]) => (value && typeof value === 'object' && !Array.isArray(value) ? leaves(value, `${prefix}${key}/`) : [prefix + key]));

function list(query) {
  let runs = world.runs.filter((run) => !query.get('project') || run.project === query.get('project'));
  const q = query.get('q')?.toLowerCase();
  if (q) runs = runs.filter((run) => [run.name, run.state, run.id, ...run.tags].some((text) => text.toLowerCase().includes(q)));
  const where = query.get('where');
  if (where) {
    const match = /config\[?"?\.?([\w/]+)"?\]?\s*([<>=]+)\s*([\d.e-]+)/.exec(where);
    if (!match) throw [400, 'bad-query', `expected a condition at position 0: \`${where}\``, 'try config["lr"] < 1e-3'];
    runs = runs.filter((run) => { const value = cell(run, `config.${match[1]}`); return match[2].includes('<') ? value < Number(match[3]) : match[2].includes('>') ? value > Number(match[3]) : value == Number(match[3]); });
  }
  const columns = (query.get('columns') ?? '').split(',').filter(Boolean);
  runs = [...runs].sort((a, b) => b.created - a.created);
  const sort = query.get('sort');
  if (sort && sort !== '-created') {
    const key = sort.replace(/^-/, '');
    const value = (run) => (/^(config|summary)\./.test(key) ? cell(run, key) : { name: run.name, state: run.state, duration: row(run).duration_ms, created: run.created }[key]);
    runs.sort((a, b) => (value(a) > value(b) ? 1 : -1) * (sort.startsWith('-') ? -1 : 1));
  }
  const from = Number(query.get('cursor') ?? 0);
  const limit = Number(query.get('limit') ?? 100);
  return { runs: runs.slice(from, from + limit).map((run) => ({ ...row(run), cells: columns.map((column) => cell(run, column)) })), columns, total: runs.length, next: from + limit < runs.length ? String(from + limit) : null, seq: world.seq, epoch: world.epoch };
}

const find = (ref) => {
  const run = world.runs.find((candidate) => candidate.id === ref || candidate.short === ref || `${candidate.project}#${candidate.number}` === ref);
  if (!run) throw [404, 'not-found', `no run with id: ${ref}`, null];
  return run;
};

function detail(run) {
  const attempts = run.earlier ? [{ attempt: 1, started_ms: run.created, ended_ms: run.created + 200_000, state: 'preempted', reason: 'SIGTERM from Slurm', first_step: 0, host: 'box-1' }, { attempt: 2, started_ms: run.created + 230_000, ended_ms: null, state: run.state, reason: run.reason, first_step: run.earlier.from, host: run.host }]
    : [{ attempt: 1, started_ms: run.created, ended_ms: row(run).ended_ms, state: run.state, reason: run.reason, first_step: 0, host: run.host }];
  return { ...row(run), config: run.config, attempts, ranks: [{ rank: 0, host: run.host, writers: ['a'.repeat(32)] }], definitions: [], capture: { git: { commit: 'a1b2c3d4e5f6', branch: 'main', dirty: true, message: 'try a wider layer', remote: 'https://example.org/ann/digits.git' }, packages: { numpy: '2.3.4', torch: '2.13.0', farwatch: '0.1.0', pillow: '12.0.0' } }, meter: { calls: 18312, total_ns: 41_200_000, worst_ns: 310_000, dropped: 0, wall_ns: 420e9 }, gaps: run.gaps, lag: { records: 0, bytes: 0 }, steer: steerable(run), advice: { say: null, why: '' }, traceback: run.traceback ?? null, argv: ['python', 'train.py', '--lr', String(run.shape.lr), '--token', '•••'], python: '3.11.7', url: null };
}

function thin(x, y, lo, hi, buckets) {
  let from = 0; let to = x.length;
  if (lo !== null) { from = x.findIndex((place) => place >= lo); if (from < 0) from = x.length; }
  if (hi !== null) { to = x.findIndex((place) => place > hi); if (to < 0) to = x.length; }
  if (to - from <= buckets) return { exact: true, px: x.slice(from, to), pv: y.slice(from, to) };
  const out = { exact: false, x: [], min: [], max: [], mean: [], count: [], nonfinite: [] };
  const size = (to - from) / buckets;
  for (let b = 0; b < buckets; b++) {
    const start = Math.floor(from + b * size); const end = Math.floor(from + (b + 1) * size);
    let min = Infinity; let max = -Infinity; let sum = 0; let count = 0;
    for (let k = start; k < end; k++) if (Number.isFinite(y[k])) { min = Math.min(min, y[k]); max = Math.max(max, y[k]); sum += y[k]; count += 1; }
    out.x.push((x[start] + x[end - 1]) / 2); out.min.push(count ? min : NaN); out.max.push(count ? max : NaN); out.mean.push(count ? sum / count : NaN); out.count.push(count); out.nonfinite.push(end - start - count);
  }
  return out;
}

function axis(run, line, x) {
  if (x === 'time') return line.times;
  if (x === 'relative') return line.times.map((time) => (time - run.created) / 1000);
  if (x === 'step') return line.steps.map((step, k) => (Number.isNaN(step) ? k : step));
  const other = series(run, x); let k = 0;
  return line.steps.map((step) => { while (k + 1 < other.steps.length && other.steps[k + 1] <= step) k += 1; return other.values[k] ?? NaN; });
}

function charts(body) {
  const lines = []; const all = { px: [], pv: [], x: [], min: [], max: [], mean: [], count: [], nonfinite: [] };
  for (const ref of body.lines) {
    const run = world.runs.find((candidate) => candidate.id === ref.run);
    if (!run?.series.has(`${ref.name}\n${ref.rank ?? 0}`)) continue;
    const line = series(run, ref.name, ref.rank ?? 0);
    const push = (x, y, over) => {
      const cut = thin(x, y, body.lo, body.hi, body.buckets ?? 250);
      const start = cut.exact ? all.px.length : all.x.length;
      for (const [name, values] of Object.entries(cut)) if (name !== 'exact') all[name].push(...values);
      lines.push({ run: run.id, name: ref.name, rank: line.rank, attempt: 1, pale: false, exact: cut.exact, approximate: false, start, length: (cut.px ?? cut.x).length, count: y.length, nonfinite: y.filter((value) => !Number.isFinite(value)).length, last: num(y.at(-1)), last_step: num(line.steps.at(-1)), kind: 'scalar', ...over });
    };
    push(axis(run, line, body.x), line.values, { attempt: run.earlier ? 2 : 1 });
    if (run.earlier && ref.attempt === 'all' && body.x === 'step') {
      const from = line.steps.findIndex((step) => step >= run.earlier.from); const to = line.steps.findIndex((step) => step >= run.earlier.to);
      if (from >= 0 && to > from) push(line.steps.slice(from, to), line.values.slice(from, to).map((value, k) => value * (1.05 + 0.1 * Math.sin(k / 30))), { pale: true, attempt: 1 });
    }
  }
  return encodeColumns({ seq: world.seq, epoch: world.epoch, x: body.x, lines }, [['px', 'f8', all.px], ['pv', 'f8', all.pv], ['x', 'f8', all.x], ['min', 'f4', all.min], ['max', 'f4', all.max], ['mean', 'f4', all.mean], ['count', 'u4', all.count], ['nonfinite', 'u4', all.nonfinite]]);
}

function exact(body) {
  const lines = []; const steps = []; const times = []; const values = [];
  for (const ref of body.lines) {
    const run = world.runs.find((candidate) => candidate.id === ref.run);
    if (!run?.series.has(`${ref.name}\n0`)) continue;
    const line = series(run, ref.name);
    lines.push({ run: run.id, name: ref.name, rank: 0, attempt: 1, kind: 'scalar', start: steps.length, length: line.steps.length });
    steps.push(...line.steps); times.push(...line.times.map((time) => BigInt(Math.round(time * 1000)))); values.push(...line.values);
  }
  return encodeColumns({ lines }, [['steps', 'f8', steps], ['times', 'i8', times], ['values', 'f8', values]]);
}

// Live: every client remembers nothing; positions are found by sequence number.
const marks = []; // { seq, sizes: Map(run -> { series: Map, console, media }) }
function mark() {
  marks.push({ seq: world.seq, at: new Map(world.runs.map((run) => [run.id, { step: run.step, console: run.console.length, media: run.media.length, names: run.series.size, contact: run.contact }])), sizes: null });
  if (marks.length > 600) marks.shift();
}

function live(body) {
  const since = body.cursor ? Number(body.cursor.split(':')[1]) : world.seq;
  const reset = body.cursor !== null && (!body.cursor.startsWith(world.epoch) || !marks.some((entry) => entry.seq <= since));
  const before = marks.findLast((entry) => entry.seq <= since);
  const answer = { cursor: `${world.epoch}:${world.seq}`, reset, runs: [], removed: [], points: [], console: [], alerts: [], new_metrics: {}, media: {}, now_ms: Date.now() };
  if (!body.cursor || reset || !before) return answer;
  for (const run of world.runs) {
    const was = before.at.get(run.id);
    if (!was || was.contact === run.contact) continue;
    if (body.runs.includes(run.id) || run.project === body.project || body.project === "*") answer.runs.push(row(run));
    for (const wanted of body.series) {
      if (wanted.run !== run.id || !run.series.has(`${wanted.name}\n0`)) continue;
      const line = series(run, wanted.name);
      const from = line.times.findIndex((time, k) => k > line.times.length - 400 && time > was.contact);
      if (from < 0) continue;
      answer.points.push({ run: run.id, name: wanted.name, rank: 0, attempt: 1, steps: line.steps.slice(from).map(num), times_ms: line.times.slice(from), values: line.values.slice(from).map(num), more: false });
    }
    if (body.console.includes(run.id) && run.console.length > was.console) answer.console.push({ run: run.id, rank: 0, lines: run.console.slice(was.console) });
    if (run.media.length > was.media) answer.media[run.id] = [...new Set(run.media.slice(was.media).map((item) => item.name))];
    if (run.series.size > was.names) answer.new_metrics[run.id] = names(run).slice(-1);
  }
  return answer;
}

setInterval(() => {
  if (!advance(Date.now()).length) return;
  mark();
  for (const wake of world.waiting) wake();
}, 50);
mark();

async function api(path, query, body, method) {
  const [kind, ref, what, ...rest] = path.split('/').map(decodeURIComponent);
  if (path === 'info') return { version: '0.1.0', server_id: 'mock', epoch: world.epoch, wire: 1, url: null, disk: { free_bytes: 5e10, total_bytes: 1e12 }, readonly: false, now_ms: Date.now() };
  if (path === 'session') return { actor: { name: 'ann', scopes: ['read'] }, local: true };
  if (path === 'projects') {
    return { projects: [...new Set(world.runs.map((run) => run.project))].map((name) => { const runs = world.runs.filter((run) => run.project === name); return { name, runs: runs.length, running: runs.filter((run) => run.live).length, points: runs.reduce((sum, run) => sum + points(run), 0), bytes: 1e6, modified_ms: Math.max(...runs.map((run) => run.contact)) }; }) };
  }
  if (path === 'columns') {
    const runs = world.runs.filter((run) => run.project === query.get('project'));
    return { config: [...new Set(runs.flatMap((run) => leaves(run.config)))].map((name) => ({ name, type: 'number' })), summary: [...new Set(runs.flatMap(names))].slice(0, 300) };
  }
  if (path === 'charts') return charts(body);
  if (path === 'series') return exact(body);
  if (path === 'live') {
    const quick = !body.cursor || !body.cursor.startsWith(`${world.epoch}:`) || Number(body.cursor.split(':')[1]) < world.seq;
    if (!quick) await new Promise((resolve) => { const wake = () => { world.waiting.delete(wake); clearTimeout(timer); resolve(); }; const timer = setTimeout(wake, (body.wait_s ?? 25) * 1000); world.waiting.add(wake); });
    return live(body);
  }
  if (path === 'alerts' || what === 'alerts') return { alerts: [], firing: 0 };
  if (path === 'rules' || what === 'rules') return ruleList();
  if (path === 'launch/profiles') return machines();
  if (kind === 'commands') return world.runs.flatMap((run) => history(run).commands).find((one) => one.id === ref);
  if (kind === 'runs' && !ref) return list(query);
  if (kind === 'blobs' && blobs.has(ref)) return { svg: blobs.get(ref) };
  if (kind === 'runs') {
    const run = find(ref);
    if (!what) return detail(run);
    if (what === 'commands') return method === 'POST' ? submit(run, body) : history(run);
    if (what === 'metrics') {
      const match = query.get('match') ? new RegExp(query.get('match')) : /./;
      const found = names(run).filter((name) => match.test(name));
      const groups = new Map();
      for (const name of found) { const prefix = name.includes('/') ? name.split('/')[0] : ''; groups.set(prefix, (groups.get(prefix) ?? 0) + 1); }
      const offset = Number(query.get('offset') ?? 0);
      return { metrics: found.slice(offset, offset + Number(query.get('limit') ?? 500)).map((name) => stats(run, name)), total: found.length, groups: [...groups].map(([prefix, count]) => ({ prefix, count })) };
    }
    if (what === 'console') {
      const q = query.get('q');
      const lines = q ? run.console.filter((line) => line.text.includes(q)) : run.console;
      const limit = Number(query.get('limit') ?? 1000);
      const from = query.get('tail') ? Math.max(0, lines.length - limit) : Number(query.get('from') ?? 0);
      return { lines: lines.slice(from, from + limit), total: lines.length };
    }
    if (what === 'media') {
      const of = new Map();
      for (const item of run.media) { const at = of.get(item.name) ?? { name: item.name, type: item.type, count: 0, step_min: item.step, step_max: item.step }; at.count += 1; at.step_max = item.step; of.set(item.name, at); }
      return { names: [...of.values()], items: run.media.filter((item) => item.name === query.get('name') && item.step >= Number(query.get('step_min') ?? -Infinity) && item.step <= Number(query.get('step_max') ?? Infinity)).slice(0, Number(query.get('limit') ?? 500)) };
    }
    if (what === 'files' && !rest.length) return { files: run.pictures ? [{ path: 'out/config.yaml', size: 812, sha256: 'f'.repeat(64), mtime_ms: run.created, media_type: 'text/yaml' }, { path: 'out/step-1500.pt', size: 48_210_331, sha256: null, mtime_ms: run.contact, media_type: null }] : [] };
    if (what === 'files') return { svg: 'lr: 0.001\n' };
  }
  throw [404, 'not-found', `nothing at ${method} ${path}`, null];
}

const TYPES = { '.js': 'text/javascript', '.css': 'text/css', '.svg': 'image/svg+xml', '.html': 'text/html; charset=utf-8', '.png': 'image/png', '.json': 'application/json' };
createServer(async (request, response) => {
  const url = new URL(request.url, 'http://x');
  response.setHeader('Content-Security-Policy', CSP);
  if (url.pathname.startsWith('/api/v1/')) {
    const chunks = [];
    for await (const chunk of request) chunks.push(chunk);
    try {
      const answer = await api(url.pathname.slice(8), url.searchParams, chunks.length ? JSON.parse(Buffer.concat(chunks)) : null, request.method);
      if (Buffer.isBuffer(answer)) response.setHeader('Content-Type', 'application/x-farwatch-columns').end(answer);
      else if (answer.svg) response.setHeader('Content-Type', 'image/svg+xml').end(answer.svg);
      else response.setHeader('Content-Type', 'application/json').end(JSON.stringify(answer));
    } catch (error) {
      const [status, code, message, hint] = Array.isArray(error) ? error : [500, 'internal', String(error), null];
      if (status === 500) console.error(error);
      response.writeHead(status, { 'Content-Type': 'application/json' }).end(JSON.stringify({ error: { code, message, hint, id: 'x' } }));
    }
    return;
  }
  const wanted = normalize(join(WEB, decodeURIComponent(url.pathname)));
  if (extname(wanted) && wanted.startsWith(WEB) && existsSync(wanted)) return void response.setHeader('Content-Type', TYPES[extname(wanted)] ?? 'application/octet-stream').end(readFileSync(wanted));
  const depth = url.pathname.split('/').length - 2;
  const html = readFileSync(join(WEB, 'index.html'), 'utf8').replace('<base href="./" />', `<base href="${depth ? '../'.repeat(depth) : './'}" />`);
  response.setHeader('Content-Type', TYPES['.html']).end(html);
}).listen(PORT, '127.0.0.1', () => console.log(`http://127.0.0.1:${PORT}`));
