import { postColumns } from '../api/client';
import type { Columns } from '../api/columns';
import type { Chart } from '../api/types';
import { decodeLines, type Line } from '../model/lines';

/** Since when a metric has been no number: asked once for each run that says so, and closer until it is a step. */
class Diverged {
  since = $state<Record<string, number | null>>({});
  #asked = new Set<string>();

  /** The step of the first value of the last stretch without a number, or null while that is not known. */
  of(run: string, name: string): number | null {
    return this.since[`${run}\n${name}`] ?? null;
  }

  want(run: string, name: string): void {
    const key = `${run}\n${name}`;
    if (this.#asked.has(key)) return;
    this.#asked.add(key);
    void this.#find(run, name).then((step) => (this.since[key] = step), () => this.#asked.delete(key));
  }

  async #find(run: string, name: string): Promise<number | null> {
    let lo: number | null = null;
    for (let round = 0; ; round++) {
      const answer: Columns<Chart> = await postColumns('charts', { lines: [{ run, name }], x: 'step', lo, hi: null, buckets: 1000 });
      const line: Line | undefined = decodeLines(answer).find(({ meta }) => !meta.pale);
      if (!line?.x.length) return null;
      let first = line.y.length;
      while (first > 0 && !Number.isFinite(line.y[first - 1]!)) first -= 1;
      if (first === line.y.length) return null;
      if (line.meta.exact || round > 3 || first === 0) return line.x[first]!;
      lo = line.x[first - 1]!;
    }
  }
}

export const diverged = new Diverged();
