// What can be asked of the mock's runs: a trainer that obeys after a moment, one alert, the rules and a profile.
const HOUR = 3_600_000;
const asked = new Map(); // run -> rows, newest first
let seq = 0;

const knobs = () => ({
  lr: { type: 'float', value: 1e-3, default: 1e-3, min: 1e-6, max: 1, choices: null, log: true },
  temperature: { type: 'float', value: 0.7, default: 0.7, min: 0, max: 1, choices: null, log: false },
});
const commands = { evaluate: { doc: 'Evaluate on n batches.', args: [{ name: 'n', type: 'int', required: false, default: 100, choices: null }] } };

export function steerable(run) {
  run.knobs ??= knobs();
  return { knobs: run.live ? run.knobs : {}, commands: run.live ? commands : {}, hooks: ['stop', 'checkpoint'], off: null, paused: run.paused ?? false };
}

export const commandsMs = (run) => asked.get(run.id)?.[0]?.accepted_ms ?? 0;

export function submit(run, body) {
  const known = asked.get(run.id)?.find((row) => row.id === body.id);
  if (known) return known;
  const old = body.op === 'set' ? run.knobs[body.args.name].value : null;
  if (old && !body.confirm && Math.abs(Math.log10(body.args.value / old)) >= 0.999) throw [409, 'needs-confirmation', `${body.args.name} ${old} → ${body.args.value} is a change by a factor of 10 or more`, null];
  const now = Date.now();
  const row = { id: body.id ?? `c${++seq}`, run: run.id, attempt: 1, seq: ++seq, op: body.op, args: body.args ?? {}, actor: 'ann', channel: body.channel ?? 'api', text: body.text ?? '', accepted_ms: now, expires_ms: now + HOUR, delivered_ms: null, started_ms: null, ended_ms: null, state: 'pending', reason: '', step: null, result: null, old: null, new: null };
  asked.set(run.id, [row, ...(asked.get(run.id) ?? [])]);
  setTimeout(() => {
    if (body.op === 'set') run.knobs[body.args.name].value = body.args.value;
    if (body.op === 'pause' || body.op === 'unpause') run.paused = body.op === 'pause';
    Object.assign(row, { state: 'applied', step: run.step, ended_ms: Date.now(), old, new: body.op === 'set' ? body.args.value : null, result: body.op === 'call' ? 'acc 0.91' : null });
  }, 900);
  return row;
}

export const history = (run) => ({ commands: asked.get(run.id) ?? [], total: asked.get(run.id)?.length ?? 0 });

const rules = [
  { name: 'nan', title: 'NaN or infinite', text: 'the main metric or a loss is no number any more; a single one that heals is silent', level: 'ring', on: true, cooldown_s: 600, metrics: [], snoozed_until_ms: null, then: null, thresholds: [{ name: 'in_a_row', value: 3, default: 3, min: 1, max: 10_000, text: 'so many values in a row that are no finite numbers' }] },
  { name: 'plateau', title: 'Plateau', text: 'the main metric has stopped getting better', level: 'hint', on: true, cooldown_s: 3600, metrics: [], snoozed_until_ms: null, then: null, thresholds: [{ name: 'after_s', value: 1800, default: 1800, min: 1, max: 1e7, text: 'flat for so many seconds' }] },
];
export const ruleList = () => ({ rules, changes: {} });

export const machines = () => ({ machines: [{ agent: 'a', host: 'box-2', user: 'ann', error: null, present: true, heard_ms: Date.now(), profiles: [{ name: 'digits', title: 'Train the digits', description: '', folder: '~/digits', command: ['python', 'train.py', '--lr={lr}'], environment: [], parameters: { lr: { type: 'float', min: 1e-6, max: 1, default: 1e-3 } }, at_once: 1 }] }] });
