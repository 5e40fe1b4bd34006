import { formatNumber } from './numbers';
import { axisWords, tellApart } from './units';

/** Round places between two numbers, about `count` of them. */
export function niceTicks(low: number, high: number, count: number): number[] {
  const span = high - low;
  if (!(span > 0) || !Number.isFinite(span)) return Number.isFinite(low) ? [low] : [];
  const raw = span / Math.max(1, count);
  const size = 10 ** Math.floor(Math.log10(raw));
  const step = size * ([1, 2, 5].find((factor) => factor * size >= raw) ?? 10);
  const ticks: number[] = [];
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high + step * 1e-9; k++) ticks.push(Number((k * step).toPrecision(12)));
  return ticks;
}

/** Powers of ten, with 2 and 5 between them where there is room. */
export function logTicks(low: number, high: number, count: number): number[] {
  if (!(low > 0) || !(high > low)) return [];
  const from = Math.floor(Math.log10(low));
  const to = Math.ceil(Math.log10(high));
  const decades = to - from;
  const stride = Math.max(1, Math.ceil(decades / Math.max(1, count)));
  const factors = decades <= 1 ? [1, 2, 3, 5] : decades <= count / 2 ? [1, 3] : [1];
  const ticks: number[] = [];
  for (let power = from; power <= to; power += stride)
    for (const factor of factors) {
      const tick = Number((factor * 10 ** power).toPrecision(3));
      if (tick >= low && tick <= high) ticks.push(tick);
    }
  return ticks.length >= 2 ? ticks : niceTicks(low, high, count);
}

const SECOND = 1000;
const STEPS_MS = [1, 2, 5, 10, 15, 30].map((s) => s * SECOND)
  .concat([1, 2, 5, 10, 15, 30].map((m) => m * 60 * SECOND))
  .concat([1, 2, 3, 6, 12].map((h) => h * 3_600 * SECOND))
  .concat([1, 2, 7, 14, 30, 90, 365].map((d) => d * 86_400 * SECOND));

/** Round local times between two times in milliseconds. */
export function timeTicks(low: number, high: number, count: number): number[] {
  const raw = (high - low) / Math.max(1, count);
  if (!(raw > 0)) return [];
  if (raw < SECOND) return niceTicks(low, high, count);
  const step = STEPS_MS.find((candidate) => candidate >= raw) ?? STEPS_MS[STEPS_MS.length - 1]!;
  const offset = new Date(low).getTimezoneOffset() * 60 * SECOND;
  const ticks: number[] = [];
  for (let tick = Math.ceil((low - offset) / step) * step + offset; tick <= high; tick += step) ticks.push(tick);
  return ticks;
}

const two = (value: number): string => String(value).padStart(2, '0');

/** A time for an axis: only what tells it from its neighbours. `finer`: 1 with seconds in any case, 2 with milliseconds. */
export function timeLabel(ms: number, span: number, finer = 0): string {
  const date = new Date(ms);
  const clock = `${two(date.getHours())}:${two(date.getMinutes())}`;
  if (finer > 1) return `${clock}:${two(date.getSeconds())}.${String(date.getMilliseconds()).padStart(3, '0')}`;
  if (span < 2 * 60 * SECOND || finer) return `${clock}:${two(date.getSeconds())}`;
  if (span < 36 * 3_600 * SECOND) return clock;
  const day = `${date.getMonth() + 1}-${two(date.getDate())}`;
  return date.getHours() || date.getMinutes() ? `${day} ${clock}` : day;
}

function relativeUnit(span: number): [number, string] {
  if (span < 180) return [1, 's'];
  if (span < 3 * 3_600) return [60, 'm'];
  return span < 72 * 3_600 ? [3_600, 'h'] : [86_400, 'd'];
}

/** Seconds since the start, for an axis. */
export function relativeLabel(seconds: number, span: number, digits = 3): string {
  const [scale, unit] = relativeUnit(span);
  return `${formatNumber(seconds / scale, digits)}${unit}`;
}

const RELATIVE_STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400, 172_800, 604_800];

export function relativeTicks(low: number, high: number, count: number): number[] {
  const raw = (high - low) / Math.max(1, count);
  const step = RELATIVE_STEPS.find((candidate) => candidate >= raw);
  if (raw < 1 || step === undefined) return niceTicks(low, high, count);
  const ticks: number[] = [];
  for (let tick = Math.ceil(low / step) * step; tick <= high; tick += step) ticks.push(tick);
  return ticks;
}

/** Places and words of an x axis. */
export function xTicks(axis: string, low: number, high: number, count: number): number[] {
  if (axis === 'time') return timeTicks(low, high, count);
  return axis === 'relative' ? relativeTicks(low, high, count) : niceTicks(low, high, count);
}

/** Words of the places on an x axis: as short as they can be while no two are the same. */
export function xLabels(axis: string, places: readonly number[], span: number): string[] {
  if (axis !== 'time' && axis !== 'relative') return axisWords(places, null);
  for (let finer = 0; ; finer++) {
    if (axis === 'relative' && finer < 6 && !tellApart(places.map((place) => place / relativeUnit(span)[0]), 3 + finer)) continue;
    const words = places.map((place) => (axis === 'time' ? timeLabel(place, span, finer) : relativeLabel(place, span, 3 + finer)));
    if (new Set(words).size === words.length || finer === 6) return words;
  }
}

/** An x under the cursor, in full. */
export function xExact(axis: string, value: number): string {
  if (axis === 'time') {
    const date = new Date(value);
    return `${date.getMonth() + 1}-${two(date.getDate())} ${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
  }
  if (axis === 'relative') {
    const seconds = Math.round(value);
    const hours = Math.floor(seconds / 3600);
    return `${hours ? `${hours}:` : ''}${two(Math.floor(seconds / 60) % 60)}:${two(seconds % 60)}`;
  }
  return formatNumber(value, 6);
}
