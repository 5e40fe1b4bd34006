import type { Line } from './lines';
import { formatBytes, formatNumber } from './numbers';

/** Width that a place of a bar chart has on the x axis: the smallest distance of two places, or 1 where there is one only. */
export function barWidth(lines: readonly Line[]): number {
  const places = lines.length === 1 ? lines[0]!.x : Float64Array.from(lines.flatMap((line) => [...line.x])).sort();
  let least = Infinity;
  for (let k = 1; k < places.length; k++) {
    const gap = places[k]! - places[k - 1]!;
    if (gap > 0 && gap < least) least = gap;
  }
  return Number.isFinite(least) ? least : 1;
}

/** What stands on a bar: its value, rounded to so many significant digits, whole numbers too. */
export function barLabel(value: number, digits: number, unit: string | null): string {
  const rounded = Number.isFinite(value) ? Number(value.toPrecision(digits)) : value;
  return unit === 'B' || unit === 'B/s' ? formatBytes(Math.abs(rounded), digits) : formatNumber(rounded, Math.max(digits, 4));
}
