import { ApiError, getJson } from '../api/client';
import type { LiveEvent } from '../api/live';
import type { MetricInfo, RunDetail } from '../api/types';
import type { Tab } from '../model/route';
import { toNumber } from '../model/numbers';
import { stateLook } from '../model/states';
import { systemUnit } from '../model/units';
import { clock } from './clock.svelte';
import { live } from './live.svelte';
import { RunMetrics } from './metrics.svelte';
import { Steering, alertsOf } from './steering.svelte';

const RATE_MS = 15_000;
const COST_MS = 3000; // how often the numbers are asked for that a changed row does not bring
const YOUNG_MS = 60_000; // a run that began lately still declares what can be asked of it
const WHOLE_MS = 15_000; // how often a run that changes is asked for what its row does not bring
const BUILT_IN = new Set(['step', 'time', 'relative']);

/** A number for the head of a run page. */
export interface Headline {
  name: string;
  last: number;
  best: number | null;
  bestStep: number | null;
  goal: 'min' | 'max';
}

/** One run: what it is, what it has logged, and which tabs hold something. */
export class RunPage {
  detail = $state.raw<RunDetail | null>(null);
  known = $state.raw<RunMetrics | null>(null);
  error = $state.raw<ApiError | null>(null);
  loaded = $state(false);
  beat = $state(0);
  stepsPerS = $state<number | null>(null);
  hasMedia = $state(false);
  hasFiles = $state(false);
  hasConsole = $state(false);
  steering = $state.raw<Steering | null>(null);
  readonly metrics = $derived(this.known?.list ?? []);
  readonly names = $derived(this.metrics.map((metric) => metric.name));
  readonly system = $derived(this.names.filter((name) => name.startsWith('system/')));
  readonly logged = $derived([...new Set([...this.names, ...(this.known?.found ?? [])])].filter((name) => !name.startsWith('system/')));
  readonly closed = $derived((this.known?.closed ?? []).filter((group) => group.prefix !== 'system'));
  readonly units = $derived(new Map(this.metrics.flatMap((metric) => {
    const unit = metric.unit ?? (metric.name.startsWith('system/') ? systemUnit(metric.name) : null);
    return unit ? [[metric.name, unit] as const] : [];
  })));
  readonly axes = $derived(new Set(this.metrics.flatMap((metric) => (metric.x && !BUILT_IN.has(metric.x) ? [metric.x] : []))));
  readonly main = $derived(this.detail?.main_metric ?? null);
  readonly headlines = $derived(headlinesOf(this.metrics, this.main));
  readonly tabs = $derived.by(() => this.#tabs());
  #ref: string;
  #samples: [number, number][] = [];
  #stop: () => void;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #want = '';
  #beaten = 0;
  #sought = '';
  #heard = 0; // answers, so that a load can tell whether one came in between
  #asking: ReturnType<typeof setTimeout> | undefined;
  #askedMs = 0;
  #wholeMs = 0;
  #whole: ReturnType<typeof setTimeout> | undefined;

  constructor(ref: string) {
    this.#ref = ref;
    this.#stop = live.listen((event) => this.#hear(event));
    void this.load();
  }

  close(): void {
    this.#stop();
    clearTimeout(this.#timer);
    clearTimeout(this.#asking);
    clearTimeout(this.#whole);
    live.want('run', null);
  }

  async load(): Promise<void> {
    const heard = this.#heard;
    try {
      // alerts come with the run: a line of the head that came later would push the charts down
      const [detail, alerts] = await Promise.all([getJson('runs/{ref}', { ref: this.#ref, brief: true }), alertsOf(this.#ref)]);
      this.detail = detail;
      this.error = null;
      this.#wholeMs = Date.now();
      this.steering ??= new Steering(detail.id, alerts);
      this.steering.take(detail);
      this.steering.takeAlerts(alerts ?? []);
      if (!this.#want && this.#heard !== heard) this.#later(() => void this.load(), 100); // it was asked without this run
      this.#listen();
      await Promise.all([this.#loadMetrics(), this.#probe(detail.id)]);
      this.#listen();
    } catch (error) {
      this.error = error instanceof ApiError ? error : new ApiError(0, 'unknown', String(error));
      // away, or not here yet: the start of a training prints its address a moment before the server has heard of it
      if (this.error.status === 0 || this.error.status === 404) this.#later(() => void this.load(), 2000);
    }
    this.loaded = true;
  }

  /** Look for names that are not here, now and in what is loaded later. */
  async search(text: string): Promise<void> {
    this.#sought = text;
    await this.known?.search(text);
  }

  /** Take over what a change of the run was answered with. */
  merge(row: Partial<RunDetail>): void {
    if (this.detail) this.detail = { ...this.detail, ...row };
  }

  async #loadMetrics(): Promise<void> {
    if (!this.detail) return;
    const known = this.known ?? new RunMetrics(this.detail.id);
    await known.load();
    this.known = known;
    await known.search(this.#sought);
  }

  /** Which of the heavier tabs have anything to show. */
  async #probe(id: string): Promise<void> {
    const none = <T>(fallback: T) => (): T => fallback; // a tab that cannot be asked for is not shown; the charts still are
    const [media, files, console] = await Promise.all([
      getJson('runs/{ref}/media', { ref: id, limit: 1 }).catch(none({ names: [], items: [] })),
      getJson('runs/{ref}/files', { ref: id }).catch(none({ files: [] })),
      getJson('runs/{ref}/console', { ref: id, limit: 1, tail: true }).catch(none({ total: 0 })),
    ]);
    this.hasMedia = media.names.length > 0;
    this.hasFiles = files.files.length > 0;
    this.hasConsole = console.total > 0;
  }

  #listen(): void {
    if (!this.detail) return;
    const series = this.headlines.map(({ name }) => ({ run: this.detail!.id, name }));
    const interest = { project: null, runs: [this.detail.id], series, console: this.hasConsole ? [] : [this.detail.id] };
    if (JSON.stringify(interest) === this.#want) return;
    this.#want = JSON.stringify(interest);
    live.want('run', interest);
  }

  #hear({ answer, missed }: LiveEvent): void {
    this.#heard += 1;
    const id = this.detail?.id;
    if (!id) return;
    if (answer.reset || missed) {
      this.#later(() => void this.load(), 100);
      return;
    }
    const row = answer.runs.find((run) => run.id === id);
    if (row) {
      const was = this.detail!;
      this.detail = { ...was, ...row };
      this.#rate(row.step);
      this.#costs(id);
      this.#refresh(id, this.steering?.take(row) ? 0 : Date.now() - row.started_ms < YOUNG_MS ? COST_MS : WHOLE_MS);
      // attempts, gaps and the traceback come only with the whole
      if (was.state !== row.state || was.attempt !== row.attempt) this.#later(() => void this.load(), 200);
    }
    this.steering?.takeAlerts(answer.alerts);
    if (answer.alerts.some((alert) => alert.run === id)) this.#refresh(id, 0); // with the advice
    const mine = answer.points.filter((points) => points.run === id && points.rank === 0);
    if ((mine.length || row) && Date.now() - this.#beaten > 900) {
      this.#beaten = Date.now();
      this.beat += 1;
    }
    if (mine.length && this.known) this.known.list = this.known.list.map((metric) => mine.filter((points) => points.name === metric.name).reduce((at, points) => advance(at, points.steps.map(toNumber), points.values.map(toNumber)), metric));
    if (answer.new_metrics[id]) this.#later(() => void this.#loadMetrics().then(() => this.#listen()), 150);
    if (answer.media[id]) this.hasMedia = true;
    if (answer.console.some((part) => part.run === id)) {
      this.hasConsole = true;
      this.#listen();
    }
  }

  /** Knobs with their values, what the program declared and what is advised: as old as `ms` at most, while the run changes. */
  #refresh(id: string, ms: number): void {
    const due = Math.max(0, this.#wholeMs + ms - Date.now());
    if (ms === 0) {
      clearTimeout(this.#whole);
      this.#whole = undefined;
    }
    this.#whole ??= setTimeout(() => {
      this.#wholeMs = Date.now();
      this.#whole = undefined;
      getJson('runs/{ref}', { ref: id, brief: true }).then((detail) => this.merge(detail), () => {});
    }, due);
  }

  /** What is on its way and what logging costs: asked for when the run has changed, and not faster than somebody reads. */
  #costs(id: string): void {
    this.#asking ??= setTimeout(() => {
      this.#askedMs = Date.now();
      this.#asking = undefined;
      getJson('runs/{ref}/costs', { ref: id }).then((costs) => this.merge(costs), () => {}); // asked again with the next change
    }, Math.max(0, this.#askedMs + COST_MS - Date.now()));
  }

  #rate(step: number | null): void {
    if (step === null) return;
    const now = clock.exact();
    this.#samples = [...this.#samples.filter(([at]) => now - at < RATE_MS), [now, step]];
    const [first, firstStep] = this.#samples[0]!;
    if (now - first > 2000 && step > firstStep) this.stepsPerS = ((step - firstStep) / (now - first)) * 1000;
  }

  #later(work: () => void, ms: number): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(work, ms);
  }

  #tabs(): Tab[] {
    const detail = this.detail;
    if (!detail) return ['charts'];
    const told = (this.steering?.total ?? 0) > 0 || (this.steering?.alerts.length ?? 0) > 0 || detail.attempts.length > 1 || detail.gaps.length > 0 || detail.traceback !== null || detail.ranks.length > 1 || (detail.meter?.calls ?? 0) > 0;
    const known = Object.keys(detail.config).length > 0 || Boolean(detail.argv?.length) || detail.capture !== null;
    return [
      'charts',
      ...(this.hasMedia ? (['samples'] as const) : []),
      ...(this.hasConsole ? (['console'] as const) : []),
      ...(this.system.length ? (['system'] as const) : []),
      ...(known ? (['config'] as const) : []),
      ...(this.hasFiles ? (['files'] as const) : []),
      ...(told ? (['history'] as const) : []),
    ];
  }

  /** Steps per second: as seen live, else over the whole run. */
  get rate(): number | null {
    const detail = this.detail;
    if (!detail) return null;
    if (this.stepsPerS !== null && stateLook(detail.state).open) return this.stepsPerS;
    return detail.step !== null && detail.duration_ms ? (detail.step / detail.duration_ms) * 1000 : null;
  }
}

function advance(metric: MetricInfo, steps: number[], values: number[]): MetricInfo {
  const next = { ...metric };
  values.forEach((value, k) => {
    next.last = value;
    next.last_step = steps[k]!;
    if (!Number.isFinite(value)) return;
    // a metric that was never finite has NaN there, and no value is less than that
    if (!(value >= toNumber(next.min))) [next.min, next.min_step] = [value, steps[k]!];
    if (!(value <= toNumber(next.max))) [next.max, next.max_step] = [value, steps[k]!];
  });
  return next;
}

/** Whether more is better, where the run does not say: words that everybody uses one way. */
export function goalOf(name: string, goal: 'min' | 'max' | null): 'min' | 'max' {
  return goal ?? (/acc|f1|auc|bleu|rouge|reward|return|score|precision|recall|iou|map\b|psnr|ssim/i.test(name) ? 'max' : 'min');
}

function headlinesOf(metrics: readonly MetricInfo[], main: string | null): Headline[] {
  const weight = (metric: MetricInfo): number => {
    if (metric.name === main) return 0;
    if (metric.goal) return metric.name.startsWith('train') ? 3 : 1;
    const plain = metric.name.replace(/^(train|val|valid|eval|test)[/_]/, '');
    if (/^(acc|accuracy|loss|reward|f1|perplexity|ppl)$/i.test(plain)) return plain === metric.name || !metric.name.startsWith('train') ? 2 : 3;
    return 9;
  };
  return metrics
    .filter((metric) => !metric.name.startsWith('system/') && weight(metric) < 9)
    .sort((a, b) => weight(a) - weight(b))
    .slice(0, 4)
    .map((metric) => {
      const goal = goalOf(metric.name, metric.goal);
      const best = toNumber(goal === 'max' ? metric.max : metric.min);
      const step = toNumber(goal === 'max' ? metric.max_step : metric.min_step);
      const known = !Number.isNaN(best);
      return { name: metric.name, last: toNumber(metric.last), best: known ? best : null, bestStep: known ? step : null, goal };
    });
}
