import { postColumns } from '../api/client';
import { backoffMs, seqOf, type LiveEvent } from '../api/live';
import type { ChartRequest, LineRef } from '../api/types';
import { common, decodeLines, lineKey, liveX, notIn, withTail, type Line, type LivePoint } from '../model/lines';
import { toNumber } from '../model/numbers';
import type { Ranks } from '../model/route';
import { live } from './live.svelte';

export interface FeedView {
  x: string;
  zoom: readonly [number, number] | null;
  /** Which processes: rank 0, each, their mean, or the one that is behind. */
  ranks: Ranks;
}

interface Slot {
  ref: LineRef;
  users: Set<() => void>;
  buckets: number;
  lines: Line[];
  tail: LivePoint[];
  seq: number;
  /** What the lines were asked with; other than now means that they are from before. */
  asked: string;
  pending: string;
  /** Commit number since which live points have been heard without a break; null before the first question that named it. */
  since: number | null;
  error: string | null;
  failures: number;
  /** Not before this is a failed slot asked for again. */
  retryMs: number;
}

const PER_REQUEST = 20; // above, means come with 8 bits
const FOLD = 500; // live points kept beside a line before the server is asked for the whole again
const MEAN_MS = 10_000; // a rank that logs no more would hold back the live mean of the others for so long
const KEPT = 400; // slots without a chart that stay for scrolling back

/**
 * Lines for charts: fetched together, kept while their chart is on screen, moved by live points. One per page.
 * A line is subscribed before it is fetched, and an answer says what it was asked with, so nothing falls in between.
 */
export class Feed {
  #slots = new Map<string, Slot>();
  #view: FeedView = { x: 'step', zoom: null, ranks: '0' };
  #scheduled = false;
  #refetch = new Map<string, number>();
  #owner: string;
  #stop: () => void;
  #abort = new AbortController();
  #started: (run: string) => number | null;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(owner: string, started: (run: string) => number | null) {
    this.#owner = owner;
    this.#started = started;
    this.#stop = live.listen((event) => this.#hear(event));
    document.addEventListener('visibilitychange', this.#visible);
  }

  close(): void {
    this.#stop();
    this.#abort.abort();
    clearTimeout(this.#timer);
    document.removeEventListener('visibilitychange', this.#visible);
    live.want(this.#owner, null);
  }

  setView(view: FeedView): void {
    if (signature(view, 0) === signature(this.#view, 0)) return;
    this.#view = view;
    this.#abort.abort();
    this.#abort = new AbortController();
    for (const slot of this.#slots.values()) slot.pending = '';
    this.#schedule();
  }

  /** Keep these lines up to date and call `notify` when they change; returns how to stop. */
  use(refs: readonly LineRef[], buckets: number, notify: () => void): () => void {
    const keys = refs.map((ref) => lineKey(ref.run, ref.name, ref.rank));
    refs.forEach((ref, k) => {
      const slot = this.#slots.get(keys[k]!) ?? this.#make(ref);
      this.#slots.delete(keys[k]!);
      this.#slots.set(keys[k]!, slot); // last used, last dropped
      if (slot.users.size === 0) slot.since = null;
      slot.buckets = Math.max(slot.users.size ? slot.buckets : 0, buckets);
      slot.users.add(notify);
    });
    this.#schedule();
    return () => {
      for (const key of keys) this.#slots.get(key)?.users.delete(notify);
      this.#schedule();
    };
  }

  /** Lines of one series as far as they are known: the visible history first, then pale remains. */
  lines(run: string, name: string, rank = 0): Line[] {
    const slot = this.#slots.get(lineKey(run, name, rank));
    if (!slot?.lines.length) return [];
    return slot.lines.map((line) => (line.meta.pale ? line : this.#moved(slot, line)));
  }

  /** A line with the live points that are its own behind it. */
  #moved(slot: Slot, line: Line): Line {
    const { x, zoom } = this.#view;
    const together = line.meta.ranks ?? 1;
    if (together > 1 && x !== 'step') return line; // ranks that are at one step are there at different times
    const own = together > 1 ? common(slot.tail, together) : slot.tail.filter((point) => point.rank === line.meta.rank);
    const tailX: number[] = [];
    const tailY: number[] = [];
    for (const point of own) {
      const place = liveX(x, point.step, point.timeMs, this.#started(slot.ref.run));
      if (place === null || !Number.isFinite(place) || (zoom && place > zoom[1])) continue;
      tailX.push(place);
      tailY.push(point.value);
    }
    return withTail(line, tailX, tailY);
  }

  /** Whether these series have been answered for the present view. */
  ready(run: string, name: string, rank = 0): boolean {
    const slot = this.#slots.get(lineKey(run, name, rank));
    return slot !== undefined && slot.asked === signature(this.#view, slot.buckets);
  }

  error(run: string, name: string, rank = 0): string | null {
    return this.#slots.get(lineKey(run, name, rank))?.error ?? null;
  }

  #make(ref: LineRef): Slot {
    return { ref, users: new Set(), buckets: 0, lines: [], tail: [], seq: -1, asked: '', pending: '', since: null, error: null, failures: 0, retryMs: 0 };
  }

  #visible = (): void => this.#schedule();

  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    // charts mount one by one while scrolling: one request for what one frame brought in
    setTimeout(() => {
      this.#scheduled = false;
      this.#flush();
    }, 8);
  }

  #flush(): void {
    const used = [...this.#slots.values()].filter((slot) => slot.users.size);
    const hidden = document.visibilityState === 'hidden';
    live.want(this.#owner, { project: null, runs: [], console: [], series: hidden ? [] : used.map(({ ref }) => ({ run: ref.run, name: ref.name })) });
    if (hidden) {
      for (const slot of used) slot.since = null;
      return;
    }
    const groups = new Map<string, Slot[]>();
    for (const slot of used) {
      const wanted = signature(this.#view, slot.buckets);
      if (slot.asked === wanted || slot.pending === wanted || Date.now() < slot.retryMs) continue;
      slot.pending = wanted;
      groups.set(wanted, [...(groups.get(wanted) ?? []), slot]);
    }
    for (const slots of groups.values())
      for (let k = 0; k < slots.length; k += PER_REQUEST) void this.#fetch(slots.slice(k, k + PER_REQUEST));
    this.#trim();
  }

  async #fetch(slots: Slot[]): Promise<void> {
    const { x, zoom, ranks } = this.#view;
    const wanted = slots[0]!.pending;
    const air = zoom ? (zoom[1] - zoom[0]) * 0.02 : 0; // a little more than is seen, so that lines reach the edges
    const body: ChartRequest = {
      lines: slots.map((slot) => ({ ...slot.ref, attempt: 'all' })),
      x, lo: zoom ? zoom[0] - air : null, hi: zoom ? zoom[1] + air : null, buckets: slots[0]!.buckets, ranks,
    };
    try {
      const columns = await postColumns('charts', body, this.#abort.signal);
      const lines = decodeLines(columns);
      for (const slot of slots) {
        if (slot.pending !== wanted) continue;
        const mine = lines.filter(({ meta }) => meta.run === slot.ref.run && meta.name === slot.ref.name && (ranks !== '0' || meta.rank === (slot.ref.rank ?? 0)));
        slot.lines = [...mine.filter(({ meta }) => !meta.pale), ...mine.filter(({ meta }) => meta.pale)];
        slot.seq = columns.meta.seq;
        slot.tail = slot.tail.filter((point) => point.step > cut(slot, x) || notIn([point], slot.seq, lastStep(slot, point.rank)).length);
        slot.asked = wanted;
        slot.error = null;
        slot.failures = 0;
        slot.retryMs = 0;
        slot.pending = '';
        this.#refetch.set(lineKey(slot.ref.run, slot.ref.name, slot.ref.rank), Date.now());
        if (slot.since !== null && slot.since > slot.seq) this.#again(slot, 500);
      }
    } catch (error) {
      if (wanted !== slots[0]!.pending) return;
      for (const slot of slots) {
        slot.pending = '';
        slot.error = error instanceof Error ? error.message : String(error);
        slot.retryMs = Date.now() + backoffMs(++slot.failures + 1);
      }
      this.#timer = setTimeout(() => this.#schedule(), Math.max(...slots.map((slot) => slot.retryMs)) - Date.now() + 10);
    }
    for (const notify of new Set(slots.flatMap((slot) => [...slot.users]))) notify();
  }

  #hear({ answer, since, series }: LiveEvent): void {
    const notify = new Set<() => void>();
    if (answer.reset) {
      for (const slot of this.#slots.values()) slot.asked = '';
      this.#schedule();
      return;
    }
    const from = since === null ? Infinity : seqOf(since);
    const to = seqOf(answer.cursor);
    const named = new Set(series);
    for (const slot of this.#slots.values()) {
      if (!slot.users.size || slot.since !== null || !named.has(`${slot.ref.run}\n${slot.ref.name}`)) continue;
      slot.since = from;
      if (slot.seq >= 0 && from > slot.seq) this.#again(slot, 0); // points may lie between the answer and the first live question
    }
    for (const points of answer.points) {
      const together = this.#view.ranks !== '0';
      const slot = this.#slots.get(lineKey(points.run, points.name, together ? 0 : points.rank));
      if (!slot?.users.size || to <= slot.seq) continue;
      const fresh = points.values.map((value, k): LivePoint => ({ rank: points.rank, step: toNumber(points.steps[k]), timeMs: points.times_ms[k]!, value: toNumber(value), from, to }));
      slot.tail.push(...(slot.seq < 0 ? fresh : notIn(fresh, slot.seq, lastStep(slot, points.rank))));
      if (slot.seq < 0) continue; // the first answer is on its way
      const onAxis = this.#view.x === 'step' || this.#view.x === 'time' || this.#view.x === 'relative';
      const line = lineOf(slot, points.rank);
      const { ranks } = this.#view;
      if ((!line && ranks !== 'slowest') || (line && line.meta.attempt < points.attempt)) this.#again(slot, 200);
      else if (points.more || !onAxis) this.#again(slot, 1000);
      else if (ranks === 'slowest') this.#again(slot, 3000); // only the server knows whether another is behind by now
      else if (slot.tail.length > FOLD * slot.lines.length * (line?.meta.ranks ?? 1)) this.#again(slot, 3000);
      else if (ranks === 'mean' && (line?.meta.ranks ?? 1) > 1) this.#again(slot, this.#view.x === 'step' ? MEAN_MS : 1500);
      slot.users.forEach((user) => notify.add(user));
    }
    for (const user of notify) user();
  }

  /** Ask for a slot again, not sooner than `gapMs` after the last time. */
  #again(slot: Slot, gapMs: number): void {
    const key = lineKey(slot.ref.run, slot.ref.name, slot.ref.rank);
    const due = (this.#refetch.get(key) ?? 0) + gapMs;
    const ask = (): void => {
      this.#refetch.set(key, Date.now());
      slot.asked = '';
      this.#schedule();
    };
    if (Date.now() >= due) ask();
    else if (!slot.pending) {
      slot.pending = 'later';
      setTimeout(() => {
        if (slot.pending === 'later') slot.pending = '';
        ask();
      }, due - Date.now());
    }
  }

  #trim(): void {
    for (const [key, slot] of this.#slots) {
      if (this.#slots.size <= KEPT) return;
      if (!slot.users.size) this.#slots.delete(key);
    }
  }
}

/** The line to which live points of a rank belong: its own, or the mean of all. */
function lineOf(slot: Slot, rank: number): Line | undefined {
  return slot.lines.find(({ meta }) => !meta.pale && (meta.rank === rank || (meta.ranks ?? 1) > 1));
}

/** Where a mean of ranks ends: what lies behind, the server has left for when all ranks have come to it. */
function cut(slot: Slot, axis: string): number {
  const line = slot.lines[0];
  return axis === 'step' && line && (line.meta.ranks ?? 1) > 1 ? (line.x[line.x.length - 1] ?? -Infinity) : Infinity;
}

/** The last step of a rank that the answer of the server holds; null where it does not say. */
function lastStep(slot: Slot, rank: number): number | null {
  const line = lineOf(slot, rank);
  return line && (line.meta.ranks ?? 1) === 1 ? line.meta.last_step : null;
}

function signature({ x, zoom, ranks }: FeedView, buckets: number): string {
  return `${x} ${zoom?.join() ?? ''} ${ranks} ${buckets}`;
}
