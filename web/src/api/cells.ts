import type { Columns } from './columns';
import type { Json, RunList } from './types';

/** A list of runs whose cells are bytes, as `src/farwatch/service/cells.py` describes them. */
export type PackedRuns = Columns<{ meta: RunList; arrays: Record<'low' | 'middle' | 'high', number[]> }>;

const POWER_MAX = 22;
const ELSEWHERE = 63;
const POWERS = Array.from({ length: POWER_MAX + 1 }, (_, power) => Number(`1e${power}`));

/** The same list with a value in each cell. */
export function unpackRuns({ meta, arrays: { low, middle, high } }: PackedRuns): RunList {
  const width = meta.columns.length;
  const runs = meta.runs.map((run, row) => {
    let others = 0;
    const cells = Array.from({ length: width }, (_, k): Json => {
      const at = row * width + k;
      const top = Number(high![at]);
      const power = (top >> 2) - POWER_MAX;
      if (top >> 2 === ELSEWHERE) return run.cells[others++] ?? null;
      const digits = Number(low![at]) + 256 * Number(middle![at]) + 65536 * (top & 1);
      const size = power < 0 ? digits / POWERS[-power]! : digits * POWERS[power]!;
      return top & 2 ? -size : size;
    });
    return { ...run, cells };
  });
  return { ...meta, runs };
}
