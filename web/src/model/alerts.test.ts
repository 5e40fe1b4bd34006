import { describe, expect, it } from 'vitest';
import type { AlertRow } from '../api/types';
import { alertTone, around, byNeed, pictureOf } from './alerts';

const alert = (id: number, more: Partial<AlertRow> = {}): AlertRow => ({ id, state: 'firing', level: 'ring', acknowledged_ms: null, ...more }) as AlertRow;

describe('alerts', () => {
  it('come in the order of who needs somebody', () => {
    const rows = [alert(1), alert(2, { level: 'hint' }), alert(3, { acknowledged_ms: 5 }), alert(4), alert(5, { state: 'silenced' })];
    expect(rows.sort(byNeed).map((row) => row.id)).toEqual([4, 1, 3, 2, 5]);
    expect(rows.map(alertTone)).toEqual(['bad', 'bad', 'bad', 'warn', 'quiet']);
  });

  it('have a picture of the points with a gap where there is no number', () => {
    const line = { x: [0, 1, 2, 3], y: [1, NaN, 3, 2], low: null, high: null, bad: [1] };
    const picture = pictureOf(line, [0], 300, 100)!;
    expect(picture.line.match(/M/g)).toHaveLength(2);
    expect([picture.x(0), picture.x(3)]).toEqual([0, 300]);
    expect(picture.y(3)).toBeLessThan(picture.y(0));
    expect(picture.y(0)).toBeLessThan(100);
    expect(pictureOf({ x: [], y: [], low: null, high: null, bad: [] }, [], 300, 100)).toBe(null);
  });

  it('look at some points before and after', () => {
    expect(around(500, 0, 1000, 101, 30)).toEqual([200, 800]);
  });
});
