import { lowerBound, type Line } from './lines';

export type Spread = 'minmax' | 'std';

const CELLS = 400;

/**
 * The mean of several runs as one line. Runs are aligned first: at every place each run says one value, its own there, or
 * between two of its points what lies on the line between them, and nothing outside of what it has logged. Places are the
 * steps of all runs together while these are few, else equal parts of the whole range.
 *
 * The band is the least and the greatest of all points, or one standard deviation (of a sample) around the mean.
 */
export function meanOf(lines: readonly Line[], spread: Spread): Line {
  const first = lines[0]!;
  const members = lines.filter((line) => line.x.length);
  const { edges, centres } = placesOf(members);
  const n = centres.length;
  const x = new Float64Array(n);
  const y = new Float64Array(n);
  const low = new Float64Array(n);
  const high = new Float64Array(n);
  const cells = members.map((line) => cellsOf(line, edges, centres));
  for (let k = 0; k < n; k++) {
    const values: number[] = [];
    let [least, most, at, weight] = [Infinity, -Infinity, 0, 0];
    for (const cell of cells) {
      at += cell.x[k]!;
      weight += cell.count[k]!;
      if (Number.isFinite(cell.y[k]!)) values.push(cell.y[k]!);
      least = Math.min(least, cell.low[k]!);
      most = Math.max(most, cell.high[k]!);
    }
    const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
    const variance = values.length > 1 ? values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (values.length - 1) : 0;
    x[k] = weight ? at / weight : centres[k]!;
    y[k] = values.length ? mean : NaN;
    low[k] = !values.length ? NaN : spread === 'std' ? mean - Math.sqrt(variance) : least;
    high[k] = !values.length ? NaN : spread === 'std' ? mean + Math.sqrt(variance) : most;
  }
  const bad = Float64Array.from(new Set(members.flatMap((line) => [...line.bad]))).sort();
  const total = (of: 'count' | 'nonfinite'): number => lines.reduce((sum, line) => sum + line.meta[of], 0);
  const meta = { ...first.meta, exact: false, base: 0, ranks: lines.length, count: total('count'), nonfinite: total('nonfinite'), approximate: lines.some((line) => line.meta.approximate) };
  return { meta, x, y, low, high, bad };
}

/** The cells into which all points fall: one for each place while there are few. Each begins with its edge and ends before the next. */
function placesOf(lines: readonly Line[]): { edges: Float64Array; centres: Float64Array } {
  const places = Float64Array.from(new Set(lines.flatMap((line) => [...line.x]))).sort();
  if (places.length <= CELLS) return { edges: Float64Array.of(...places, Infinity), centres: places };
  const width = (places[places.length - 1]! - places[0]!) / CELLS;
  return {
    edges: Float64Array.from({ length: CELLS + 1 }, (_, k) => (k === CELLS ? Infinity : places[0]! + k * width)),
    centres: Float64Array.from({ length: CELLS }, (_, k) => places[0]! + (k + 0.5) * width),
  };
}

interface Cells {
  /** Sum of the places of the points in each cell, and how many there are. */
  x: Float64Array;
  count: Float64Array;
  y: Float64Array;
  low: Float64Array;
  high: Float64Array;
}

/** What one run says in every cell. */
function cellsOf({ x, y, low, high }: Line, edges: Float64Array, centres: Float64Array): Cells {
  const n = centres.length;
  const cells: Cells = { x: new Float64Array(n), count: new Float64Array(n), y: new Float64Array(n).fill(NaN), low: new Float64Array(n).fill(Infinity), high: new Float64Array(n).fill(-Infinity) };
  let from = 0;
  for (let k = 0; k < n; k++) {
    let to = from;
    let [sum, known] = [0, 0];
    for (; to < x.length && x[to]! < edges[k + 1]!; to++) {
      cells.x[k]! += x[to]!;
      cells.count[k]! += 1;
      if (Number.isFinite(y[to]!)) [sum, known] = [sum + y[to]!, known + 1];
      const [least, most] = [low ? low[to]! : y[to]!, high ? high[to]! : y[to]!];
      if (Number.isFinite(least)) cells.low[k] = Math.min(cells.low[k]!, least);
      if (Number.isFinite(most)) cells.high[k] = Math.max(cells.high[k]!, most);
    }
    if (known) cells.y[k] = sum / known;
    else if (to === from) {
      const value = between(x, y, centres[k]!);
      if (Number.isFinite(value)) [cells.y[k], cells.low[k], cells.high[k]] = [value, value, value];
    }
    from = to;
  }
  return cells;
}

/** The value on the line between the points beside a place; NaN before the first, behind the last and beside a gap. */
function between(x: Float64Array, y: Float64Array, place: number): number {
  const right = lowerBound(x, place);
  if (right === 0 || right === x.length) return NaN;
  const share = (place - x[right - 1]!) / (x[right]! - x[right - 1]!);
  return y[right - 1]! + share * (y[right]! - y[right - 1]!);
}
