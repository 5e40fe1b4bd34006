import type { Chart, ChartArrays, ChartLineMeta, Num } from '../api/types';
import type { Columns } from '../api/columns';
import { toNumber } from './numbers';

/** Numbers in order of x, as one line of a chart. `low` and `high` are there where a place stands for several points. */
export interface Line {
  meta: ChartLineMeta;
  x: Float64Array;
  y: Float64Array;
  low: Float64Array | null;
  high: Float64Array | null;
  /** x of what is not a finite number: drawn as marks, and the line has a gap there. */
  bad: Float64Array;
}

/** One point that came live; `from` and `to` are the commit numbers of the question and the answer that brought it. */
export interface LivePoint {
  rank: number;
  step: number;
  timeMs: number;
  value: number;
  from: number;
  to: number;
}

/** Live points that an answer made at commit number `seq` does not hold yet. */
export function notIn(tail: readonly LivePoint[], seq: number, lastStep: number | null): LivePoint[] {
  // a batch that straddles the answer is partly in it; steps tell which part
  return tail.filter(({ step, from, to }) => to > seq && (from >= seq || lastStep === null || Number.isNaN(step) || step > lastStep));
}

/** Of the live points of several ranks those at steps that all have come to: a mean over those that came first would jump. */
export function common(tail: readonly LivePoint[], ranks: number): LivePoint[] {
  const seen = new Map<number, Set<number>>();
  for (const { step, rank } of tail) seen.set(step, (seen.get(step) ?? new Set<number>()).add(rank));
  return tail.filter(({ step }) => seen.get(step)!.size >= ranks);
}

export const lineKey = (run: string, name: string, rank = 0): string => `${run}\n${name}\n${rank}`;

function part(arrays: Columns<Chart>['arrays'], name: keyof ChartArrays, meta: ChartLineMeta, base = 0): Float64Array {
  const array = arrays[name];
  if (!array) return new Float64Array(meta.length);
  const slice = array.subarray(meta.start, meta.start + meta.length);
  if (base) return Float64Array.from(slice as Float32Array, (value) => value + base);
  return slice instanceof Float64Array ? slice : Float64Array.from(slice as Float32Array);
}

/** The lines of an answer to `/charts`. */
export function decodeLines({ meta, arrays }: Columns<Chart>): Line[] {
  return meta.lines.map((line) => {
    if (line.exact) return fromPoints(line, part(arrays, 'px', line), part(arrays, 'pv', line));
    // large values with small changes come as differences to a base: 32 bits alone would make stairs of them
    const low = part(arrays, 'min', line, line.base);
    const high = part(arrays, 'max', line, line.base);
    const y = arrays.mean ? part(arrays, 'mean', line, line.base) : part(arrays, 'mean8', line).map((share, k) => low[k]! + ((high[k]! - low[k]!) * share) / 255);
    const x = part(arrays, 'x', line);
    const nonfinite = part(arrays, 'nonfinite', line);
    return { meta: line, x, y, low, high, bad: x.filter((_, k) => nonfinite[k]! > 0 || !Number.isFinite(y[k]!)) };
  });
}

/** A line of single points. Several at one x are drawn as their mean, with their smallest and largest as band. */
export function fromPoints(meta: ChartLineMeta, px: Float64Array, pv: Float64Array): Line {
  let repeats = false;
  for (let k = 1; k < px.length && !repeats; k++) repeats = px[k] === px[k - 1];
  const bad = px.filter((_, k) => !Number.isFinite(pv[k]!));
  if (!repeats) return { meta, x: px, y: pv, low: null, high: null, bad };
  const x: number[] = [];
  const y: number[] = [];
  const low: number[] = [];
  const high: number[] = [];
  for (let k = 0; k < px.length; ) {
    const place = px[k]!;
    let sum = 0;
    let count = 0;
    let least = Infinity;
    let most = -Infinity;
    for (; k < px.length && px[k] === place; k++) {
      const value = pv[k]!;
      if (!Number.isFinite(value)) continue;
      sum += value;
      count += 1;
      least = Math.min(least, value);
      most = Math.max(most, value);
    }
    x.push(place);
    y.push(count ? sum / count : NaN);
    low.push(count ? least : NaN);
    high.push(count ? most : NaN);
  }
  return { meta, x: Float64Array.from(x), y: Float64Array.from(y), low: Float64Array.from(low), high: Float64Array.from(high), bad };
}

/** The line with what came live behind it: late points at their place, one already there not again. */
export function withTail(line: Line, tailX: readonly number[], tailY: readonly number[]): Line {
  if (tailX.length === 0) return line;
  const end = line.x.length ? line.x[line.x.length - 1]! : -Infinity;
  const added = tailX.map((place, k) => [place, tailY[k]!] as const).filter(([place]) => line.meta.exact || place > end);
  if (!added.length) return line;
  const last = added[added.length - 1]!;
  const meta = { ...line.meta, last: last[1], last_step: line.meta.last_step };
  const inOrder = added[0]![0] >= end && added.every(([place], k) => k === 0 || place >= added[k - 1]![0]);
  const points = inOrder ? added : [...added].sort((a, b) => a[0] - b[0]);
  if (line.meta.exact && line.low === null) {
    const joined = inOrder ? null : [...Array.from(line.x, (place, k) => [place, line.y[k]!] as const), ...points].sort((a, b) => a[0] - b[0]);
    const px = joined ? Float64Array.from(joined, (point) => point[0]) : concat(line.x, points.map((point) => point[0]));
    const pv = joined ? Float64Array.from(joined, (point) => point[1]) : concat(line.y, points.map((point) => point[1]));
    return fromPoints(meta, px, pv);
  }
  const fresh = fromPoints(meta, Float64Array.from(points, (point) => point[0]), Float64Array.from(points, (point) => point[1]));
  return {
    meta,
    x: concat(line.x, fresh.x),
    y: concat(line.y, fresh.y),
    low: concat(line.low ?? line.y, fresh.low ?? fresh.y),
    high: concat(line.high ?? line.y, fresh.high ?? fresh.y),
    bad: concat(line.bad, fresh.bad),
  };
}

function concat(one: Float64Array, other: ArrayLike<number>): Float64Array {
  const joined = new Float64Array(one.length + other.length);
  joined.set(one);
  joined.set(other, one.length);
  return joined;
}

/** Position of the first x that is not below `place`. */
export function lowerBound(x: Float64Array, place: number): number {
  let low = 0;
  let high = x.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (x[middle]! < place) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** Index of the point nearest to `place`, or -1 where the line has none within `reach`. */
export function nearest(x: Float64Array, place: number, reach: number): number {
  if (!x.length) return -1;
  const right = lowerBound(x, place);
  const index = right === 0 ? 0 : right === x.length || place - x[right - 1]! <= x[right]! - place ? right - 1 : right;
  return Math.abs(x[index]! - place) <= reach ? index : -1;
}

/**
 * Weighted mean of both sides with weights that fall off exponentially, so that the curve does not lag behind its
 * points as a one-sided average does. The reach is a share of the visible range: it looks the same however many points
 * there are. `strength` is 0 (none) to 1. Gaps stay gaps.
 */
export function smooth(x: Float64Array, y: Float64Array, strength: number, span: number): Float64Array {
  const n = y.length;
  if (strength <= 0 || n < 3 || !(span > 0)) return y;
  const reach = (span * strength ** 3) / 8;
  const sums = new Float64Array(n);
  const weights = new Float64Array(n);
  const sweep = (from: number, to: number, by: 1 | -1): void => {
    let sum = 0;
    let weight = 0;
    let before = x[from]!;
    for (let k = from; k !== to; k += by) {
      const keep = Math.exp(-Math.abs(x[k]! - before) / reach);
      before = x[k]!;
      const known = Number.isFinite(y[k]!);
      sum = sum * keep + (known ? y[k]! : 0);
      weight = weight * keep + (known ? 1 : 0);
      sums[k]! += sum;
      weights[k]! += weight;
    }
  };
  sweep(0, n, 1);
  sweep(n - 1, -1, -1);
  // each point was counted by both sweeps
  return y.map((value, k) => (Number.isFinite(value) ? (sums[k]! - value) / (weights[k]! - 1) : value));
}

/** Smallest and largest finite x of all lines, or null. */
export function xExtent(lines: readonly Line[]): [number, number] | null {
  let low = Infinity;
  let high = -Infinity;
  for (const { x } of lines) {
    if (!x.length) continue;
    low = Math.min(low, x[0]!);
    high = Math.max(high, x[x.length - 1]!);
  }
  return low <= high ? [low, high] : null;
}

/** Smallest and largest value to be seen between two x, bands and all; above 0 for a logarithmic axis. */
export function yExtent(lines: readonly Line[], from: number, to: number, log: boolean): [number, number] | null {
  let least = Infinity;
  let most = -Infinity;
  for (const { x, y, low, high } of lines) {
    const start = Math.max(0, lowerBound(x, from) - 1);
    for (let k = start; k < x.length && (x[k]! <= to || k === start); k++) {
      for (const value of [low ? low[k]! : y[k]!, high ? high[k]! : y[k]!]) {
        if (!Number.isFinite(value) || (log && value <= 0)) continue;
        if (value < least) least = value;
        if (value > most) most = value;
      }
    }
  }
  return least <= most ? [least, most] : null;
}

/** The range of an axis around values: some air, never empty. */
export function padded([low, high]: readonly [number, number], log: boolean): [number, number] {
  if (log) {
    const air = Math.max(0.02, (Math.log10(high) - Math.log10(low)) * 0.06);
    return [10 ** (Math.log10(low) - air), 10 ** (Math.log10(high) + air)];
  }
  if (low === high) {
    const air = low === 0 ? 1 : Math.abs(low) * 0.1;
    return [low - air, high + air];
  }
  const air = (high - low) * 0.06;
  return [low >= 0 && low - air < 0 ? 0 : low - air, high + air];
}

/** The range of an axis that always shows `low` to `high`, or all the values above `low` with some air. */
export function based([least, most]: readonly [number, number], [low, high]: readonly [number, number | null]): [number, number] {
  const foot = least < low ? padded([least, most], false)[0] : low;
  if (high !== null && most <= high) return [foot, high];
  return [foot, most > foot ? most + (most - foot) * 0.06 : foot + 1];
}

/** Where on the chosen axis a live point lies, or null where only the server can say. */
export function liveX(axis: string, step: Num, timeMs: number, startedMs: number | null): number | null {
  if (axis === 'step') return toNumber(step);
  if (axis === 'time') return timeMs;
  if (axis === 'relative') return startedMs === null ? null : (timeMs - startedMs) / 1000;
  return null;
}
