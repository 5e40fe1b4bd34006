import { formatBytes, formatExact, formatNumber, formatShort } from './numbers';

const SUFFIXES: readonly [RegExp, string][] = [
  [/_bytes_per_s$/, 'B/s'], [/_bytes$/, 'B'], [/_percent$/, '%'], [/_w$/, 'W'], [/_c$/, '°C'], [/_s$/, 's'], [/(^|\/)(cpu|utilization)$/, '%'],
];

/** Unit of one of our own machine metrics; those of other people's metrics come from their definition, never from a guess. */
export function systemUnit(name: string): string | null {
  return SUFFIXES.find(([pattern]) => pattern.test(name))?.[1] ?? null;
}

/** The name without the unit that is written beside it. */
export function withoutUnit(title: string): string {
  return title.replace(/_(bytes_per_s|bytes|percent|w|c|s)$/, '').replaceAll('_', ' ');
}

const scaled = (unit: string | null): boolean => unit === 'B' || unit === 'B/s';

/** The range of y within which a machine metric is honest: half a percent of change is no cliff. */
export function wholeRange(unit: string | null): [number, number | null] | null {
  if (unit === '%') return [0, 100];
  return unit === 'B' || unit === 'B/s' || unit === 'W' ? [0, null] : null;
}

/** A number with the unit where that changes how it is written: 31 GB instead of 3.1e10. */
export function formatIn(value: number, unit: string | null, form: 'plain' | 'short' | 'exact' = 'plain'): string {
  if (scaled(unit) && Number.isFinite(value)) return (value < 0 ? '\u2212' : '') + formatBytes(Math.abs(value)) + (unit === 'B/s' ? '/s' : '');
  return form === 'short' ? formatShort(value) : form === 'exact' ? formatExact(value) : formatNumber(value);
}

/** Whether places of an axis, rounded to so many digits, still stand where they are said to stand. */
export function tellApart(places: readonly number[], digits: number): boolean {
  const least = Math.min(...places.slice(1).map((place, k) => Math.abs(place - places[k]!)));
  return places.every((place) => Math.abs(Number(place.toPrecision(digits)) - place) <= least * 0.02);
}

/** Words of an axis: as short as they can be while they differ and are true. */
export function axisWords(places: readonly number[], unit: string | null): string[] {
  for (let digits = 3; digits < 9; digits++) {
    if (!tellApart(places, digits)) continue;
    const words = places.map((place) => (scaled(unit) ? (place < 0 ? '\u2212' : '') + formatBytes(Math.abs(place), digits) + (unit === 'B/s' ? '/s' : '') : formatShort(place, digits)));
    if (new Set(words).size === words.length) return words;
  }
  // large numbers that differ far behind: the lowest whole, the others by how much more they are
  const first = Math.min(...places);
  return places.map((place) => (place === first ? formatIn(first, unit, 'exact') : `+${formatIn(Number((place - first).toPrecision(6)), unit, 'short')}`));
}

/** Whether the unit still has to be written beside the title. */
export function shownUnit(unit: string | null): string | null {
  return scaled(unit) ? null : unit;
}
