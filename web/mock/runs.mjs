// Ten invented runs that behave as runs do: healthy, diverging, resumed, with pictures, wide, lost, and so on.
const ALPHABET = '0123456789abcdefghjkmnpqrstvwxyz';
let seed = 7;
export const random = () => {
  seed = (seed * 1664525 + 1013904223) >>> 0;
  return seed / 2 ** 32;
};
const noise = () => random() + random() + random() - 1.5;
const id = () => Array.from({ length: 16 }, () => ALPHABET[Math.floor(random() * 32)]).join('');

const START = Date.now();
export const world = { seq: 1, epoch: 'mock0001', runs: [], events: [], waiting: new Set() };

function add(over) {
  const run = {
    id: id(), number: world.runs.filter((other) => other.project === (over.project ?? 'digits')).length + 1, name: 'calm-heron', project: 'digits', state: 'finished',
    reason: null, ageS: 3600, rate: 10, steps: 3000, total: 3000, config: {}, tags: [], series: new Map(), console: [], media: [], attempts: null, gaps: [], host: 'box-2', owner: 'ann', shape: {}, ...over,
  };
  run.short = run.id.slice(0, 7);
  run.created = START - run.ageS * 1000;
  world.runs.push(run);
  return run;
}

export function series(run, name, rank = 0) {
  const key = `${name}\n${rank}`;
  let found = run.series.get(key);
  if (!found) run.series.set(key, (found = { name, rank, attempt: 1, steps: [], times: [], values: [] }));
  return found;
}

function put(run, name, step, time, value, rank = 0) {
  const line = series(run, name, rank);
  line.steps.push(step);
  line.times.push(time);
  line.values.push(value);
}

export function logStep(run, step, time) {
  const { lr = 1e-3, floor = 0.03, diverge = Infinity, spike = -1 } = run.shape;
  let loss = floor + 2.2 * Math.exp((-step * (0.4 + 220 * lr)) / 700) + 0.25 / (1 + step / 60) + Math.abs(noise()) * (0.02 + 0.25 / (1 + step / 200));
  if (step > diverge) loss *= Math.exp((step - diverge) / 12);
  if (step > diverge + 60) loss = NaN;
  if (step === spike) loss = 4.87;
  put(run, 'train/loss', step, time, loss);
  put(run, 'train/acc', step, time, Number.isFinite(loss) ? Math.min(0.999, 1 - loss / 3 + noise() * 0.01) : 0.1);
  put(run, 'lr', step, time, step < 100 ? (lr * step) / 100 : lr * 0.5 * (1 + Math.cos((Math.PI * step) / (run.total ?? 3000))));
  put(run, 'grad/norm', step, time, 1.2 + noise() * 0.4 + 2 / (1 + step / 40));
  put(run, 'perf/samples_per_s', step, time, 6200 + noise() * 250);
  if (step % 50 === 0) {
    put(run, 'val/loss', step, time, Number.isFinite(loss) ? floor * 1.6 + 2 * Math.exp((-step * (0.4 + 220 * lr)) / 750) + 0.05 + Math.abs(noise()) * 0.02 : NaN);
    put(run, 'val/acc', step, time, Math.min(0.991, 0.985 - 0.7 * Math.exp(-step / 500) + noise() * 0.004));
    put(run, 'epoch', step, time, step / 300);
  }
  if (run.wide) for (let k = 0; k < run.wide; k++) if ((step + k) % 20 === 0) put(run, `grad/layer.${k % 48}.${['q', 'k', 'v', 'o', 'up', 'down'][k % 6]}.${Math.floor(k / 48)}`, step, time, 0.1 + 0.05 * Math.sin(step / 90 + k) + noise() * 0.01);
}

function logSystem(run, time) {
  put(run, 'system/cpu', NaN, time, 38 + noise() * 12);
  put(run, 'system/memory_bytes', NaN, time, 21e9 + noise() * 2e8);
  for (let gpu = 0; gpu < 2; gpu++) {
    put(run, `system/gpu.${gpu}.utilization`, NaN, time, Math.min(100, 91 + noise() * 6));
    put(run, `system/gpu.${gpu}.memory_bytes`, NaN, time, 31e9 + gpu * 4e9);
    put(run, `system/gpu.${gpu}.power_w`, NaN, time, 310 + noise() * 15);
  }
  put(run, 'system/disk_read_bytes_per_s', NaN, time, 2e8 + noise() * 4e7);
}

function say(run, time, stream, text) {
  run.console.push({ n: run.console.length, stream, time_ms: time, text });
}

function chat(run, step, time) {
  if (step === 0) {
    say(run, time, 'stdout', '\u001b[1mdigits\u001b[0m: 1,797 images, 10 classes');
    say(run, time, 'stderr', '\u001b[33mUserWarning\u001b[0m: the default of pin_memory will change <b>soon</b>');
  }
  if (step % 20 === 0) say(run, time, 'stdout', `\u001b[2mstep\u001b[0m ${String(step).padStart(5)}  loss \u001b[36m${(series(run, 'train/loss').values.at(-1) ?? 0).toFixed(4)}\u001b[0m`);
  if (step % 300 === 0 && step) say(run, time, 'logging', `INFO checkpoint saved to out/step-${step}.pt`);
}

function picture(step, index) {
  const cells = Array.from({ length: 64 }, (_, k) => {
    const shade = Math.round(255 * Math.min(1, Math.max(0, Math.exp(-(((k % 8) - 3.5 - Math.sin(step / 200 + index)) ** 2) / 3) + noise() * (0.5 - Math.min(0.4, step / 4000)))));
    return `<rect x="${(k % 8) * 12}" y="${Math.floor(k / 8) * 12}" width="12" height="12" fill="rgb(${shade},${shade},${shade})"/>`;
  });
  return `<svg xmlns="http://www.w3.org/2000/svg" width="96" height="96">${cells.join('')}</svg>`;
}

export const blobs = new Map();
function media(run, step, time) {
  const base = { step, time_ms: time, rank: 0, attempt: 1, caption: null, media_type: null, width: null, height: null, size: null, url: null, text: null, counts: null, edges: null, columns: null, rows: null, index: null };
  for (let k = 0; k < 6; k++) {
    const svg = picture(step, k);
    const hash = `${run.short}${step}-${k}`;
    blobs.set(hash, svg);
    run.media.push({ ...base, name: 'samples/digits', type: 'image', index: k, caption: `looks like ${(step / 100 + k) % 10 | 0}`, width: 96, height: 96, media_type: 'image/svg+xml', url: `blobs/${hash}?type=image/svg%2Bxml`, size: svg.length });
  }
  const counts = Array.from({ length: 40 }, (_, k) => Math.round(900 * Math.exp(-((k - 20) ** 2) / (20 + step / 20)) + random() * 20));
  run.media.push({ ...base, name: 'weights/fc1', type: 'histogram', counts, edges: counts.map((_, k) => -1 + k / 20).concat([1]) });
  run.media.push({ ...base, name: 'samples/text', type: 'text', text: `Once upon a time there was a digit that looked like ${step % 10}, and it was ${step} steps old.\nIt dreamt of <script>alert("nothing")</script> and of sevens.` });
  run.media.push({ ...base, name: 'errors', type: 'table', columns: ['image', 'label', 'predicted', 'p'], rows: Array.from({ length: 30 }, (_, k) => [`#${k * 7 + step}`, k % 10, (k + 3) % 10, Math.round(random() * 1000) / 1000]) });
}

function history(run) {
  const dt = (run.ageS * 1000) / run.steps;
  const until = run.attempts ? run.attempts.at(-1).to : run.steps;
  for (let step = 0; step < until; step++) {
    const time = run.created + step * dt;
    logStep(run, step, time);
    chat(run, step, time);
    if (step % 20 === 0) logSystem(run, time);
    if (run.pictures && step % 250 === 0) media(run, step, time);
  }
  run.step = until - 1;
  run.contact = run.created + until * dt;
}

export function build() {
  const cfg = (lr, more = {}) => ({ lr, batch_size: 64, model: { name: 'mlp', hidden: [128, 64], dropout: 0.1 }, data: { path: '/data/digits', augment: true }, seed: 1, ...more });
  add({ name: 'swift-otter', ageS: 90_000, shape: { lr: 3e-4, floor: 0.09 }, config: cfg(3e-4) });
  add({ name: 'plain-newt', ageS: 80_000, shape: { lr: 1e-2, floor: 0.05, diverge: 1500 }, steps: 1600, state: 'failed', reason: 'train/loss is NaN since step 1,561: FloatingPointError', config: cfg(1e-2, { batch_size: 32 }), traceback: 'Traceback (most recent call last):\n  File "train.py", line 61, in <module>\n    loss.backward()\nFloatingPointError: loss is NaN' });
  add({ name: 'brisk-lark', ageS: 70_000, shape: { lr: 1e-3, floor: 0.04, spike: 1850 }, config: cfg(1e-3), tags: ['baseline'], notes: 'The run of the paper.' });
  add({ name: 'gentle-ibex', ageS: 30_000, shape: { lr: 2e-3, floor: 0.06 }, steps: 2100, state: 'stopped', reason: 'stopped by Ann on the web', config: cfg(2e-3) });
  add({ name: 'misty-owl', ageS: 9_000, shape: { lr: 5e-4, floor: 0.07 }, steps: 1400, state: 'lost', reason: 'nothing heard from box-5 for 4 min', config: cfg(5e-4), host: 'box-5' });
  add({ name: 'red-otter', ageS: 500, shape: { lr: 1e-2, floor: 0.05 }, steps: 1200, state: 'running', live: true, config: cfg(1e-2, { seed: 2 }) });
  const resumed = add({ name: 'tall-fox', ageS: 400, shape: { lr: 1.5e-3, floor: 0.035 }, steps: 1500, state: 'running', live: true, config: cfg(1.5e-3), tags: ['resumed'] });
  resumed.earlier = { from: 700, to: 1100 };
  resumed.gaps = [{ writer: 'a'.repeat(32), first: 9021, count: 40, reason: 'restored from a backup' }];
  add({ name: 'calm-heron', ageS: 420, shape: { lr: 1e-3, floor: 0.03 }, steps: 1830, state: 'running', live: true, pictures: true, config: cfg(1e-3, { seed: 3 }), tags: ['mnist', 'v2'] });
  add({ name: 'wide-whale', project: 'language', ageS: 600, shape: { lr: 6e-4, floor: 0.9 }, steps: 600, total: null, state: 'running', live: true, wide: 2000, rate: 2, config: cfg(6e-4, { model: { name: 'gpt', layers: 48, heads: 16 } }) });
  add({ name: 'early-crane', project: 'language', ageS: 6, shape: {}, steps: 1, total: null, state: 'queued', config: cfg(6e-4) });
  for (const run of world.runs) history(run);
  for (let k = 0; k < 14; k++) {
    const run = add({ name: ['sharp', 'mild', 'noble', 'rustic', 'sunny'][k % 5] + '-' + ['crab', 'jay', 'puma', 'tern', 'yak', 'seal'][k % 6], ageS: 200_000 + k * 3000, steps: 900, total: 900, shape: { lr: 10 ** (-2 - random() * 2), floor: 0.03 + random() * 0.2 }, config: cfg(Number((10 ** (-2 - random() * 2)).toPrecision(2)), { batch_size: [32, 64, 128][k % 3] }), project: 'sweep', group: 'lr search' });
    history(run);
  }
}

/** Runs that live log a step; answers which runs changed. */
export function advance(nowMs) {
  const changed = [];
  for (const run of world.runs) {
    if (!run.live || nowMs - run.contact < 1000 / run.rate) continue;
    run.step += 1;
    run.contact = nowMs;
    logStep(run, run.step, nowMs);
    chat(run, run.step, nowMs);
    if (run.step % 20 === 0) logSystem(run, nowMs);
    if (run.pictures && run.step % 250 === 0) media(run, run.step, nowMs);
    if (run.total && run.step > run.total - 2) run.step = run.step | 0;
    changed.push(run);
  }
  if (changed.length) world.seq += 1;
  return changed;
}
