import { describe, expect, it } from 'vitest';
import { unpackRuns, type PackedRuns } from './cells';
import type { ListedRun } from './types';

/** What the server makes of these cells; a test of its own holds it to the same bytes. */
const CELLS = [0.5, 'a', -1234.5, null, 0, 1.2345e-18, 9.8765e26, 0.30000000000000004];
const BYTES = { low: [80, 0, 57, 0, 0, 57, 205, 0], middle: [195, 0, 48, 0, 0, 48, 129, 0], high: [68, 252, 86, 252, 88, 0, 177, 252] };

describe('unpackRuns', () => {
  it('reads numbers of five digits from bytes, and takes the others as they stand', () => {
    const rows = [CELLS.slice(0, 4), CELLS.slice(4)].map((cells) => cells.filter((cell) => typeof cell !== 'number' || String(cell).length > 12));
    const meta = { runs: rows.map((cells, k) => ({ id: `r${k}`, cells }) as ListedRun), columns: ['a', 'b', 'c', 'd'], total: 2, next: null, seq: 1, epoch: 'e' };
    const arrays = Object.fromEntries(Object.entries(BYTES).map(([name, bytes]) => [name, new Uint8Array(bytes)])) as PackedRuns['arrays'];

    const list = unpackRuns({ meta, arrays });

    expect(list.runs.map((run) => run.cells)).toEqual([CELLS.slice(0, 4), CELLS.slice(4)]);
    expect([list.runs[1]!.id, list.total]).toEqual(['r1', 2]);
  });

  it('needs no columns', () => {
    const meta = { runs: [{ id: 'r', cells: [] as unknown[] } as ListedRun], columns: [], total: 1, next: null, seq: 1, epoch: 'e' };

    expect(unpackRuns({ meta, arrays: {} }).runs[0]!.cells).toEqual([]);
  });
});
