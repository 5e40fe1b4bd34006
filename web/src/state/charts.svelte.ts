import { readView, writeView, type ChartView, type Ranks } from '../model/route';
import type { Mark } from '../model/marks';
import type { ChartSpec } from '../model/grouping';
import { Feed } from './feed';
import { router } from './router.svelte';

/** A run as charts know it. */
export interface ShownRun {
  id: string;
  name: string;
  short: string;
  colour: number;
  startedMs: number | null;
  /** How many processes it has; more than one can be looked at together. */
  processes?: number;
  group?: string | null;
}

const DASHED_UP_TO = 5; // above, training and validation of every run in one chart are a thicket

/** One page of charts: its runs, how they are looked at, and the lines behind them. */
export class ChartPage {
  view = $state<ChartView>(readView(router.query));
  runs = $state.raw<ShownRun[]>([]);
  specs = $state.raw<ChartSpec[]>([]);
  units = $state.raw<ReadonlyMap<string, string>>(new Map());
  /** What happened to the runs: commands and alerts, shown on every chart. */
  marks = $state.raw<readonly Mark[]>([]);
  /** The chart that keys act on. */
  current = $state<string | null>(null);
  readonly distributed = $derived(this.runs.some((run) => (run.processes ?? 1) > 1));
  /** Whether several of the runs belong to one group, so that there is a mean to be shown. */
  readonly grouped = $derived(new Set(this.runs.flatMap((run) => run.group || [])).size < this.runs.filter((run) => run.group).length);
  readonly crowded = $derived(this.runs.length > DASHED_UP_TO);
  readonly validation = $derived(this.crowded && this.view.validation === 'both' ? 'train' : this.view.validation);
  readonly feed: Feed;
  #stack: ([number, number] | null)[] = [];
  #timer: ReturnType<typeof setTimeout> | undefined;
  #own: { x?: string; ranks?: Ranks };

  /** `own`: an x axis and a choice of processes that do not stand in the address, as for system metrics. */
  constructor(owner: string, own: { x?: string; ranks?: Ranks } = {}) {
    this.#own = own;
    if (own.x) this.view.zoom = null; // what the address says is a range of another axis
    this.feed = new Feed(owner, (id) => this.runs.find((run) => run.id === id)?.startedMs ?? null);
    this.feed.setView({ x: this.x, zoom: this.view.zoom, ranks: this.ranks });
  }

  get x(): string {
    return this.#own.x ?? this.view.x;
  }

  get ranks(): Ranks {
    return this.#own.ranks ?? this.view.ranks;
  }

  close(): void {
    this.feed.close();
    clearTimeout(this.#timer);
  }

  update(parts: Partial<ChartView>): void {
    if (parts.x !== undefined && parts.x !== this.view.x) {
      parts.zoom = null; // a range of steps says nothing about time
      this.#stack = [];
    }
    Object.assign(this.view, parts);
    this.feed.setView({ x: this.x, zoom: this.view.zoom, ranks: this.ranks });
    clearTimeout(this.#timer);
    // a drag changes the view at every frame, and browsers count how often an address is written
    this.#timer = setTimeout(() => router.set(this.#written()), 150);
  }

  #written(): Record<string, string | null> {
    const written = writeView(this.view);
    if (this.#own.x) delete written.zoom;
    return written;
  }

  /** Zoom in, remembering where from; null goes one back. */
  zoom(range: [number, number] | null): void {
    if (range) {
      this.#stack.push(this.view.zoom ? [...this.view.zoom] : null);
      this.update({ zoom: range });
    } else this.update({ zoom: this.#stack.pop() ?? null });
  }

  pan(range: [number, number]): void {
    if (!this.view.zoom) this.#stack.push(null);
    this.update({ zoom: range });
  }
}
