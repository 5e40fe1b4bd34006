import { postColumns } from '../api/client';
import type { RunRow } from '../api/types';
import { decodeLines } from '../model/lines';

const WIDTH = 96;
const HEIGHT = 24;
const BUCKETS = 48;
const EVERY_MS = 5000; // a row changes with every batch; such a small curve need not

/** The curve of the main metric of some runs, as points of a small drawing. */
export class Sparks {
  paths = $state.raw<Record<string, string>>({});
  #asked = '';
  #askedMs = 0;

  readonly box = `0 -2 ${WIDTH} ${HEIGHT + 4}`;

  async load(runs: readonly RunRow[]): Promise<void> {
    const lines = runs.flatMap((run) => (run.main_metric ? [{ run: run.id, name: run.main_metric }] : []));
    const asked = JSON.stringify(runs.map((run) => [run.id, run.main_metric, run.step]));
    if (!lines.length || asked === this.#asked || Date.now() - this.#askedMs < EVERY_MS) return;
    this.#asked = asked;
    this.#askedMs = Date.now();
    const answer = await postColumns('charts', { lines, x: 'step', lo: null, hi: null, buckets: BUCKETS }).catch(() => null);
    if (!answer) return;
    this.paths = Object.fromEntries(decodeLines(answer).filter(({ meta }) => !meta.pale).map((line) => [line.meta.run, path(line.x, line.y)]));
  }
}

/** `M` and `L` through what is finite, over the whole of the drawing. */
export function path(x: Float64Array, y: Float64Array): string {
  const known = y.filter(Number.isFinite);
  if (x.length < 2 || known.length < 2) return '';
  const [low, high] = [Math.min(...known), Math.max(...known)];
  const [from, to] = [x[0]!, x[x.length - 1]!];
  let pen = '';
  let open = false;
  for (let k = 0; k < x.length; k++) {
    if (!Number.isFinite(y[k]!)) {
      open = false;
      continue;
    }
    const left = ((x[k]! - from) / (to - from || 1)) * WIDTH;
    const top = high > low ? ((high - y[k]!) / (high - low)) * HEIGHT : HEIGHT / 2;
    pen += `${open ? 'L' : 'M'}${left.toFixed(1)} ${top.toFixed(1)}`;
    open = true;
  }
  return pen;
}
