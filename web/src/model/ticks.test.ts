import { describe, expect, it } from 'vitest';
import { logTicks, niceTicks, relativeLabel, relativeTicks, timeTicks, xExact } from './ticks';

describe('ticks', () => {
  it.each([
    [0, 1, 5, [0, 0.2, 0.4, 0.6, 0.8, 1]],
    [-3, 3, 3, [-2, 0, 2]],
    [0.1, 0.35, 4, [0.1, 0.2, 0.3]],
    [5, 5, 4, [5]],
  ])('%d to %d', (low, high, count, ticks) => expect(niceTicks(low, high, count)).toEqual(ticks));

  it('are powers on a logarithmic axis', () => {
    expect(logTicks(0.001, 1000, 6)).toEqual([0.001, 0.01, 0.1, 1, 10, 100, 1000]);
    expect(logTicks(0.02, 0.09, 4)).toEqual([0.02, 0.03, 0.05]);
    expect(logTicks(0, 1, 4)).toEqual([]);
  });

  it('are round times', () => {
    const noon = new Date(2026, 3, 1, 12, 0, 30).getTime();
    const minutes = timeTicks(noon, noon + 600_000, 5).map((tick) => new Date(tick).getMinutes());

    expect(minutes).toEqual([2, 4, 6, 8, 10]);
    expect(relativeTicks(0, 7200, 4)).toEqual([0, 1800, 3600, 5400, 7200]);
    expect(relativeLabel(5400, 20_000)).toBe('1.5h');
    expect(xExact('relative', 3725)).toBe('1:02:05');
  });
});
