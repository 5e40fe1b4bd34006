import type { AlertRow } from '../api/types';

/** An alert as a page needs it: its glyph's tone. */
export function alertTone(alert: Pick<AlertRow, 'state' | 'level'>): 'bad' | 'warn' | 'quiet' {
  if (alert.state !== 'firing') return 'quiet';
  return alert.level === 'ring' ? 'bad' : 'warn';
}

/** What needs somebody first: what rings and nobody has seen, then the rest, newest first. */
export function byNeed(a: AlertRow, b: AlertRow): number {
  const weight = (alert: AlertRow): number => (alert.state !== 'firing' ? 3 : alert.level !== 'ring' ? 2 : alert.acknowledged_ms !== null ? 1 : 0);
  return weight(a) - weight(b) || b.id - a.id;
}

/** A path through points within a box, and the places of a value and an x in it. */
export interface Picture {
  line: string;
  band: string;
  x: (x: number) => number;
  y: (y: number) => number;
}

/** Points as SVG paths in a box of `width` × `height`; `also`: values that have to be within. */
export function pictureOf(line: { x: ArrayLike<number>; y: ArrayLike<number>; low: ArrayLike<number> | null; high: ArrayLike<number> | null; bad: ArrayLike<number> }, also: readonly number[], width: number, height: number): Picture | null {
  const xs = [...Array.from(line.x), ...Array.from(line.bad)];
  const finite = [...Array.from(line.y), ...Array.from(line.low ?? []), ...Array.from(line.high ?? []), ...also].filter(Number.isFinite);
  if (!xs.length || !finite.length) return null;
  const [left, right] = [Math.min(...xs), Math.max(...xs)];
  const [low, high] = [Math.min(...finite), Math.max(...finite)];
  const air = (high - low || Math.abs(high) || 1) * 0.08;
  const x = (at: number): number => (right > left ? ((at - left) / (right - left)) * width : width / 2);
  const y = (at: number): number => height - ((at - low + air) / (high - low + 2 * air)) * height;
  const round = (value: number): string => value.toFixed(1);
  let path = '';
  let open = false;
  for (let k = 0; k < line.x.length; k++) {
    open = open && Number.isFinite(line.y[k]);
    if (!Number.isFinite(line.y[k])) continue;
    path += `${open ? 'L' : 'M'}${round(x(line.x[k]!))} ${round(y(line.y[k]!))}`;
    open = true;
  }
  let band = '';
  if (line.low && line.high) {
    const known = Array.from(line.x, (_, k) => k).filter((k) => Number.isFinite(line.low![k]) && Number.isFinite(line.high![k]));
    const upper = known.map((k) => `${round(x(line.x[k]!))} ${round(y(line.high![k]!))}`);
    const lower = known.reverse().map((k) => `${round(x(line.x[k]!))} ${round(y(line.low![k]!))}`);
    if (upper.length > 1) band = `M${[...upper, ...lower].join('L')}Z`;
  }
  return { line: path, band, x, y };
}

/** Which steps to look at: about `points` before and after, by how far apart they usually are. */
export function around(step: number, first: number, last: number, count: number, points: number): [number, number] {
  const apart = count > 1 ? (last - first) / (count - 1) : 1;
  return [step - apart * points, step + apart * points];
}
