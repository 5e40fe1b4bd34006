import { describe, expect, it } from 'vitest';
import { logTicks, niceTicks, relativeLabel, relativeTicks, timeTicks, xExact, xLabels } from './ticks';

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

  it('have words of which no two are the same', () => {
    expect(xLabels('step', [121_000, 121_500, 122_000], 6000)).toEqual(['121k', '121.5k', '122k']);
    expect(xLabels('step', [112_500, 115_000, 117_500], 6000)).toEqual(['112.5k', '115k', '117.5k']);
    expect(xLabels('relative', [123, 123.5], 100)).toEqual(['123s', '123.5s']);
    const noon = new Date(2026, 3, 1, 12, 0, 0).getTime();
    expect(xLabels('time', [noon, noon + 15_000], 150_000)).toEqual(['12:00:00', '12:00:15']);
    expect(xLabels('time', [noon, noon + 500], 1000)).toEqual(['12:00:00.000', '12:00:00.500']);
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
