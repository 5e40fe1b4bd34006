import { ApiError, getJson, getRuns, patchJson } from '../api/client';
import type { LiveEvent } from '../api/live';
import type { Json, ListedRun, Num, RunList } from '../api/types';
import { assignColours, colourIndex } from '../model/colour';
import { varying } from '../model/grouping';
import { isCondition } from '../model/route';
import type { Change } from '../model/tags';
import type { ShownRun } from './charts.svelte';
import type { Group } from '../model/groups';
import { diverged } from './diverged.svelte';
import { live } from './live.svelte';
import { RunMetrics } from './metrics.svelte';
import { prefs } from './prefs.svelte';
import { router } from './router.svelte';
import { toast } from './toast.svelte';

const PAGE = 100;
const AUTO = 5; // runs shown before anybody chooses: as many as can have both training and validation lines
const MOST = 60;
const LOSSES = ['val/loss', 'eval_loss', 'val_loss', 'eval/loss', 'train/loss', 'train_loss', 'loss'];

export interface ColumnNames {
  config: string[];
  summary: string[];
}

/** The runs of a project: found, sorted, chosen for the charts. */
export class ProjectPage {
  readonly project: string;
  runs = $state.raw<ListedRun[]>([]);
  columns = $state.raw<string[]>([]);
  total = $state(0);
  next = $state<string | null>(null);
  available = $state.raw<ColumnNames>({ config: [], summary: [] });
  error = $state.raw<ApiError | null>(null);
  loaded = $state(false);
  text = $state(router.query.get('q') ?? '');
  sort = $state(router.query.get('sort') ?? '-created');
  /** Whether the archive is shown in place of the runs. */
  archive = $state(router.query.get('archived') === '1');
  /** How many runs are in the archive. */
  archived = $state(0);
  /** Chosen short ids; null while nobody has chosen, then the newest are shown. */
  chosen = $state.raw<string[] | null>(router.query.has('runs') ? (router.query.get('runs') ?? '').split(',').filter(Boolean) : null);
  names = $state.raw<string[]>([]);
  closed = $state.raw<Group[]>([]);
  units = $state.raw<ReadonlyMap<string, string>>(new Map());
  axes = $state.raw<ReadonlySet<string>>(new Set());
  /** The metric of each run that has become no number: its main metric, else a loss. */
  nan = $state.raw<Record<string, string>>({});
  beats = $state<Record<string, number>>({});
  readonly selected = $derived(this.#selected());
  readonly shown: ShownRun[] = $derived.by(() => {
    const colours = assignColours(this.selected);
    return this.selected.map((run) => ({ id: run.id, name: run.name, short: run.short, colour: colours.get(run.id)!, startedMs: run.started_ms ?? run.created_ms, processes: run.world_size, group: run.group }));
  });
  readonly main = $derived(this.runs.find((run) => run.main_metric)?.main_metric ?? null);
  #known = new Map<string, RunMetrics>();
  #stop: () => void;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #sequence = 0;
  #sought = '';
  #beaten = new Map<string, number>();
  #seen = new Set<string>();

  constructor(project: string) {
    this.project = project;
    this.#stop = live.listen((event) => this.#hear(event));
    live.want('project', { project, runs: [], series: [], console: [] });
    void this.load();
  }

  close(): void {
    this.#stop();
    clearTimeout(this.#timer);
    live.want('project', null);
  }

  isShown(id: string): boolean {
    return this.selected.some((run) => run.id === id);
  }

  colour(run: ListedRun): number {
    return this.shown.find((shown) => shown.id === run.id)?.colour ?? colourIndex(run.number);
  }

  choose(runs: string[] | null): void {
    this.chosen = runs;
    router.set({ runs: runs === null ? null : runs.length ? runs.join(',') : ',' });
  }

  chooseAll(): void {
    this.choose(this.runs.slice(0, MOST).map((run) => run.short));
  }

  toggle(run: ListedRun): void {
    const now = this.selected.map((selected) => selected.short);
    this.choose(now.includes(run.short) ? now.filter((short) => short !== run.short) : [...now, run.short].slice(-MOST));
  }

  find(text: string): void {
    this.text = text;
    router.set({ q: text || null });
    this.#later(200);
  }

  showArchive(shown: boolean): void {
    this.archive = shown;
    this.runs = [];
    this.loaded = false;
    router.set({ archived: shown ? '1' : null });
    this.choose(null);
    void this.load();
  }

  /** Change runs and say so, with the way back. Returns whether all of it was done. */
  async change(changes: readonly Change[], said: string): Promise<boolean> {
    const send = async (part: 'patch' | 'back'): Promise<void> => {
      // one after the other: a server of one writing thread gains nothing by many at once
      try {
        for (const change of changes) await patchJson('runs/{ref}', { ref: change.run }, change[part]);
      } finally {
        await Promise.all([this.load(), this.#countArchived()]);
      }
    };
    if (!(await toast.attempt(() => send('patch')))) return false;
    toast.say(said, () => send('back'));
    return true;
  }

  sortBy(key: string): void {
    const falling = `-${key}`;
    const first = key === 'name' || key === 'state' || key.startsWith('config.') ? key : falling;
    const second = first === key ? falling : key;
    this.sort = this.sort === first ? second : this.sort === second ? '-created' : first;
    router.set({ sort: this.sort === '-created' ? null : this.sort });
    void this.load();
  }

  setColumns(columns: string[]): void {
    prefs.columns = { ...prefs.columns, [this.project]: columns };
    prefs.save();
    void this.load();
  }

  async load(): Promise<void> {
    const sequence = ++this.#sequence;
    try {
      if (!this.loaded) await this.#loadColumns();
      const columns = prefs.columns[this.project] ?? this.#guess();
      const list = await this.#page([...new Set([...columns, ...this.#watched])], null, Math.max(PAGE, Math.min(500, this.runs.length)));
      if (sequence !== this.#sequence) return;
      this.#mark(list);
      const own = list.columns.filter((column) => !this.#watched.includes(column) || columns.includes(column));
      this.columns = prefs.columns[this.project] ? own : this.#worth({ ...list, columns: own });
      const places = this.columns.map((column) => list.columns.indexOf(column));
      this.runs = list.runs.map((run) => ({ ...run, cells: places.map((place) => run.cells[place] ?? null) }));
      this.total = list.total;
      this.next = list.next;
      this.error = null;
      void this.#loadNames();
      if (!this.loaded) void this.#countArchived();
    } catch (error) {
      if (sequence !== this.#sequence) return;
      this.error = error instanceof ApiError ? error : new ApiError(0, 'unknown', String(error));
      if (this.error.status === 0) this.#later(2000);
    }
    this.loaded = true;
  }

  async #countArchived(): Promise<void> {
    const list = await getJson('runs', { project: this.project, where: 'archived', archived: true, limit: 1 }).catch(() => null);
    if (list) this.archived = list.total;
  }

  async more(): Promise<void> {
    if (!this.next) return;
    const list = await this.#page([...new Set([...this.columns, ...this.#watched])], this.next, PAGE);
    this.#mark(list);
    const places = this.columns.map((column) => list.columns.indexOf(column));
    const known = new Set(this.runs.map((run) => run.id));
    this.runs = [...this.runs, ...list.runs.filter((run) => !known.has(run.id)).map((run) => ({ ...run, cells: places.map((place) => run.cells[place] ?? null) }))];
    this.next = list.next;
  }

  /** Summaries that tell whether a run has diverged, asked for beside what the table shows. */
  get #watched(): string[] {
    return LOSSES.map((name) => `summary.${name}`).filter((name) => this.available.summary.includes(name)).slice(0, 3).map((name) => `${name}.last`);
  }

  #mark(list: RunList): void {
    const nan = { ...this.nan };
    for (const run of list.runs) {
      const lost = list.columns.findIndex((column, k) => this.#watched.includes(column) && run.cells[k] === 'NaN');
      const name = run.main_last === 'NaN' ? run.main_metric : lost < 0 ? null : list.columns[lost]!.replace(/^summary\./, '').replace(/\.last$/, '');
      if (name) nan[run.id] = name;
      else delete nan[run.id];
      if (name) diverged.want(run.id, name);
    }
    this.nan = nan;
  }

  #selected(): ListedRun[] {
    const chosen = this.chosen;
    if (chosen === null) return this.runs.filter((run) => run.points > 0).slice(0, AUTO);
    return this.runs.filter((run) => chosen.includes(run.short) || chosen.includes(run.id));
  }

  #page(columns: string[], cursor: string | null, limit: number): Promise<RunList> {
    const text = this.text.trim();
    const found = text.replace(/^where:\s*/, '');
    const condition = isCondition(text);
    const wanted = this.archive ? { archived: true, where: condition ? `(${found}) and archived` : 'archived', ...(condition ? {} : { q: found }) } : condition ? { where: found } : { q: found };
    return getRuns({ project: this.project, ...wanted, sort: this.sort, columns: columns.join(','), limit, cursor });
  }

  async #loadColumns(): Promise<void> {
    const { config, summary } = await getJson('columns', { project: this.project });
    this.available = { config: config.map((column) => `config.${column.name}`), summary: summary.map((name) => `summary.${name}`) };
  }

  /** Columns to ask for when nobody has chosen: what people compare by, and the config that may differ. */
  #guess(): string[] {
    const { config, summary } = this.available;
    const first = LOSSES.map((name) => `summary.${name}`).find((name) => summary.includes(name));
    return [...config.slice(0, 24), ...(first ? [`${first}.min`] : [])];
  }

  /** Of those, what fits beside the charts: the main summary and the first config that differs. */
  #worth(list: RunList): string[] {
    const different = new Set(varying(list.columns, list.runs.map((run) => run.cells)).filter((column) => column.startsWith('config.')));
    const config = list.columns.filter((column) => different.has(column)).slice(0, 1);
    return [...list.columns.filter((column) => column.startsWith('summary.')).slice(0, 1), ...config];
  }

  /** Names of the metrics of the selected runs, all together; of those in `stale`, asked again. */
  async #loadNames(stale: string[] = []): Promise<void> {
    await Promise.all(
      this.selected.map(async (run) => {
        const known = this.#known.get(run.id);
        if (known && !stale.includes(run.id)) return;
        const metrics = known ?? new RunMetrics(run.id);
        await metrics.load().then(() => this.#known.set(run.id, metrics) && metrics.search(this.#sought), () => {}); // asked again with the next change
      }),
    );
    this.#gather();
  }

  /** Load a group of names of every selected run that has it. */
  async open(prefix: string): Promise<void> {
    await Promise.all(this.#mine().filter((metrics) => metrics.closed.some((group) => group.prefix === prefix)).map((metrics) => metrics.open(prefix)));
    this.#gather();
  }

  async search(text: string): Promise<void> {
    this.#sought = text;
    await Promise.all(this.#mine().map((metrics) => metrics.search(text)));
    this.#gather();
  }

  #mine(): RunMetrics[] {
    return this.selected.flatMap((run) => this.#known.get(run.id) ?? []);
  }

  #gather(): void {
    const mine = this.#mine();
    const units = new Map<string, string>();
    const axes = new Set<string>();
    const groups = new Map<string, number>();
    const names = new Set<string>();
    for (const metrics of mine) {
      for (const { name, unit, x } of metrics.list) {
        if (name.startsWith('system/')) continue;
        if (x && !['step', 'time', 'relative'].includes(x)) axes.add(x);
        names.add(name);
        if (unit) units.set(name, unit);
      }
      for (const name of metrics.found) if (!name.startsWith('system/')) names.add(name);
      for (const { prefix, count } of metrics.closed) if (prefix !== 'system') groups.set(prefix, Math.max(count, groups.get(prefix) ?? 0));
    }
    this.units = units;
    this.axes = axes;
    this.closed = [...groups].map(([prefix, count]) => ({ prefix, count }));
    if ([...names].join('\n') !== this.names.join('\n')) this.names = [...names];
  }

  refreshNames(): void {
    void this.#loadNames();
  }

  #hear({ answer, missed }: LiveEvent): void {
    if (answer.reset || missed) this.#later(100);
    if (answer.reset) return;
    const changed = new Map(answer.runs.filter((run) => run.project === this.project).map((run) => [run.id, run]));
    if (changed.size) {
      const known = new Set(this.runs.map((run) => run.id));
      const moved = this.runs.some((run) => (changed.get(run.id) ?? run).archived !== this.archive);
      this.runs = this.runs.map((run) => {
        const row = changed.get(run.id);
        if (!row) return run;
        this.#beat(run.id);
        return { ...run, ...row, cells: this.#cells(run, row.main_metric, row.main_last) };
      });
      // a run that the filter leaves out announces itself with every point; it is asked about once
      const fresh = [...changed.keys()].filter((id) => !known.has(id) && !this.#seen.has(id));
      for (const id of fresh) this.#seen.add(id);
      if (fresh.length || moved) this.#later(100);
      else if (!this.#timer) this.#later(5000); // other cells than the main metric: soon enough
    }
    if (answer.removed.some((id) => this.runs.some((run) => run.id === id))) this.#later(100);
    const renamed = Object.keys(answer.new_metrics).filter((id) => this.isShown(id));
    if (renamed.length) void this.#loadNames(renamed);
  }

  #cells(run: ListedRun, main: string | null, last: Num | null): Json[] {
    return run.cells.map((cell, k) => (main !== null && this.columns[k] === `summary.${main}` ? last : cell));
  }

  /** The dot of a run pulses when its data moves, but not faster than an eye likes. */
  #beat(id: string): void {
    const now = Date.now();
    if (now - (this.#beaten.get(id) ?? 0) < 900) return;
    this.#beaten.set(id, now);
    this.beats[id] = (this.beats[id] ?? 0) + 1;
  }

  #later(ms: number): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      void this.load();
    }, ms);
  }
}
