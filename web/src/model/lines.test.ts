import { describe, expect, it } from 'vitest';
import type { ChartLineMeta } from '../api/types';
import { common, decodeLines, fromPoints, nearest, notIn, padded, smooth, withTail, yExtent, type Line } from './lines';

const meta = (over: Partial<ChartLineMeta> = {}): ChartLineMeta => ({
  run: 'a', name: 'loss', rank: 0, attempt: 1, pale: false, exact: true, approximate: false, start: 0, length: 0,
  count: 0, nonfinite: 0, last: null, last_step: null, kind: 'f', ...over,
});
const points = (x: number[], y: number[], over: Partial<ChartLineMeta> = {}): Line =>
  fromPoints(meta(over), Float64Array.from(x), Float64Array.from(y));

describe('decodeLines', () => {
  it('cuts exact and thinned lines out of shared arrays', () => {
    const lines = decodeLines({
      meta: { seq: 1, epoch: 'e', x: 'step', lines: [meta({ start: 1, length: 2 }), meta({ exact: false, start: 0, length: 2 })] },
      arrays: {
        px: Float64Array.of(9, 1, 2), pv: Float64Array.of(9, 5, NaN),
        x: Float64Array.of(10, 20), min: Float32Array.of(0, 1), max: Float32Array.of(4, 3), mean8: Uint8Array.of(0, 255), nonfinite: Uint32Array.of(0, 2),
      },
    });

    expect([...lines[0]!.x]).toEqual([1, 2]);
    expect([...lines[0]!.bad]).toEqual([2]);
    expect([...lines[1]!.y]).toEqual([0, 3]);
    expect([...lines[1]!.bad]).toEqual([20]);
  });
});

describe('decodeLines of large values', () => {
  it('adds back what they were sent as differences to', () => {
    const [line] = decodeLines({
      meta: { seq: 1, epoch: 'e', x: 'step', lines: [meta({ exact: false, length: 2, base: 1.7e9 })] },
      arrays: { x: Float64Array.of(1, 2), min: Float32Array.of(-0.5, 0), max: Float32Array.of(0.5, 1), mean: Float32Array.of(0.25, 0.5), nonfinite: Uint32Array.of(0, 0) },
    });

    expect([...line!.y]).toEqual([1.7e9 + 0.25, 1.7e9 + 0.5]);
    expect([...line!.low!]).toEqual([1.7e9 - 0.5, 1.7e9]);
    expect([...line!.high!]).toEqual([1.7e9 + 0.5, 1.7e9 + 1]);
  });
});

describe('common', () => {
  it('leaves out the steps that not all ranks have come to', () => {
    const tail = [[0, 1], [1, 1], [0, 2], [0, 3], [1, 3], [0, 4]].map(([rank, step]) => ({ rank: rank!, step: step!, timeMs: 0, value: 1, from: 0, to: 1 }));

    expect(common(tail, 2).map(({ rank, step }) => [rank, step])).toEqual([[0, 1], [1, 1], [0, 3], [1, 3]]);
    expect(common(tail, 3)).toEqual([]);
  });
});

describe('fromPoints', () => {
  it('draws several points at one step as their mean with a band', () => {
    const line = points([1, 2, 2, 3], [1, 2, 6, NaN]);

    expect([...line.x]).toEqual([1, 2, 3]);
    expect([...line.y]).toEqual([1, 4, NaN]);
    expect([...line.low!]).toEqual([1, 2, NaN]);
    expect([...line.high!]).toEqual([1, 6, NaN]);
  });
});

describe('withTail', () => {
  it('appends live points', () => {
    const line = withTail(points([1, 2], [1, 2]), [3, 4], [3, NaN]);

    expect([...line.x]).toEqual([1, 2, 3, 4]);
    expect([...line.bad]).toEqual([4]);
    expect(line.meta.last).toBe(NaN);
  });

  it('puts a late point at its place', () => {
    expect([...withTail(points([1, 3], [1, 3]), [2], [9]).y]).toEqual([1, 9, 3]);
  });

  it('leaves late points of a thinned line to the next answer', () => {
    const thin: Line = { ...points([1, 5], [1, 5], { exact: false }), low: Float64Array.of(0, 4), high: Float64Array.of(2, 6) };

    const line = withTail(thin, [3, 6], [3, 7]);

    expect([...line.x]).toEqual([1, 5, 6]);
    expect([...line.high!]).toEqual([2, 6, 7]);
  });
});

describe('notIn', () => {
  const point = (step: number, from: number, to: number) => ({ rank: 0, step, timeMs: 0, value: 1, from, to });

  it('keeps what came after the answer, and of a batch across it the newer steps', () => {
    const tail = [point(1, 5, 8), point(2, 8, 12), point(3, 8, 12), point(4, 12, 14)];

    expect(notIn(tail, 10, 2).map(({ step }) => step)).toEqual([3, 4]);
    expect(notIn(tail, 14, 4)).toEqual([]);
    expect(notIn([point(NaN, 8, 12)], 10, 7)).toHaveLength(1);
  });
});

describe('nearest', () => {
  const x = Float64Array.of(0, 10, 20);

  it.each([[4, 0], [6, 1], [-3, 0], [29, -1], [24, 2], [5, 0]])('%d is point %d', (place, index) => {
    expect(nearest(x, place, 5)).toBe(index);
  });
});

describe('smooth', () => {
  const x = Float64Array.from({ length: 101 }, (_, k) => k);
  const noisy = x.map((k) => (k % 2 ? 1 : 3));

  it('is the identity at 0 and keeps a constant at any strength', () => {
    expect(smooth(x, noisy, 0, 100)).toBe(noisy);
    expect([...smooth(x, x.map(() => 2), 0.9, 100)].every((value) => Math.abs(value - 2) < 1e-12)).toBe(true);
  });

  it('does not lag behind a slope', () => {
    const calm = smooth(x, x, 0.8, 100);

    expect(Math.abs(calm[50]! - 50)).toBeLessThan(0.01);
  });

  it('calms noise and keeps gaps', () => {
    const holed = noisy.map((value, k) => (k === 50 ? NaN : value));

    const calm = smooth(x, holed, 0.6, 100);

    expect(calm[50]).toBeNaN();
    expect(Math.abs(calm[80]! - 2)).toBeLessThan(0.35);
  });
});

describe('ranges', () => {
  it('hold every spike of a band within the view', () => {
    const thin: Line = { ...points([1, 2, 3], [1, 1, 1], { exact: false }), low: Float64Array.of(1, -9, 1), high: Float64Array.of(1, 50, 1) };

    expect(yExtent([thin], 0, 9, false)).toEqual([-9, 50]);
    expect(yExtent([thin], 0, 9, true)).toEqual([1, 50]);
    expect(yExtent([], 0, 1, false)).toBeNull();
  });

  it('have air, are never empty, and start at zero where values nearly do', () => {
    expect(padded([1, 1], false)).toEqual([0.9, 1.1]);
    expect(padded([0.01, 1], false)[0]).toBe(0);
    expect(padded([0, 0], false)).toEqual([-1, 1]);
    expect(padded([1, 100], true)[0]).toBeLessThan(1);
  });
});
