import { describe, expect, it } from 'vitest';
import { fromPoints, type Line } from './lines';
import { meanOf } from './means';

const line = (x: number[], y: number[], low?: number[], high?: number[]): Line => ({
  ...fromPoints({ run: 'a', name: 'm', rank: 0, attempt: 1, pale: false, exact: true, approximate: false, start: 0, length: x.length, count: x.length, nonfinite: y.filter((value) => !Number.isFinite(value)).length, last: null, last_step: null, kind: 'f' }, Float64Array.from(x), Float64Array.from(y)),
  ...(low && high ? { low: Float64Array.from(low), high: Float64Array.from(high) } : {}),
});

describe('meanOf', () => {
  it('aligns steps before it takes the mean', () => {
    // one logs every step, the other every second: a mean of what stands side by side would be 1 at step 1 and zigzag
    const mean = meanOf([line([0, 1, 2, 3, 4], [0, 1, 2, 3, 4]), line([0, 2, 4], [10, 12, 14])], 'minmax');

    expect([...mean.x]).toEqual([0, 1, 2, 3, 4]);
    expect([...mean.y]).toEqual([5, 6, 7, 8, 9]);
    expect([...mean.low!]).toEqual([0, 1, 2, 3, 4]);
    expect([...mean.high!]).toEqual([10, 11, 12, 13, 14]);
  });

  it('shows the standard deviation of the runs', () => {
    const mean = meanOf([line([0, 1], [1, 2]), line([0, 1], [3, 2])], 'std');

    expect([...mean.y]).toEqual([2, 2]);
    expect([...mean.high!]).toEqual([2 + Math.SQRT2, 2]);
    expect([...mean.low!]).toEqual([2 - Math.SQRT2, 2]);
  });

  it('does not let a run speak outside of what it has logged, or across its gap', () => {
    const mean = meanOf([line([0, 1, 2, 3], [1, 1, 1, 1]), line([0, 1, 3], [3, NaN, 3])], 'minmax');

    expect([...mean.y]).toEqual([2, 1, 1, 2]);
    expect([...mean.bad]).toEqual([1]);
    expect([...meanOf([line([0, 1, 2], [0, 0, 0]), line([0], [4])], 'minmax').y]).toEqual([2, 0, 0]);
  });

  it('keeps a spike of one point within the band of many', () => {
    const x = Array.from({ length: 3000 }, (_, k) => k);
    const spiked = x.map((k) => (k === 1234 ? 100 : 0));
    const mean = meanOf([line(x, spiked), line(x.filter((k) => k % 3 === 0), x.filter((k) => k % 3 === 0).map(() => 2))], 'minmax');

    expect(mean.x.length).toBeLessThanOrEqual(400);
    expect(Math.max(...mean.high!)).toBe(100);
    expect(Math.max(...mean.y)).toBeLessThan(10);
  });
});
