import { describe, expect, it } from 'vitest';
import { exactText, formatMoment, momentText } from './moments';

describe('a datetime', () => {
  const local = (time: Date): string => time.toLocaleString(undefined, { dateStyle: 'medium', timeStyle: 'medium' });

  it('is shown as local time, to the second', () => {
    expect(formatMoment({ $datetime: '2026-11-30T20:15:00.123456+01:00' })).toBe(local(new Date(Date.UTC(2026, 10, 30, 19, 15))));
  });

  it('without an offset is shown as it was written', () => {
    expect(formatMoment({ $datetime: '2026-11-30T20:15:00' })).toBe(local(new Date(2026, 10, 30, 20, 15)));
  });

  it('with an offset that no browser reads is its text', () => {
    expect(formatMoment({ $datetime: '1880-01-01T00:00:00+00:53:28' })).toBe('1880-01-01T00:00:00+00:53:28');
  });

  it('of no time of day is a date, here as anywhere', () => {
    expect(formatMoment({ $date: '2026-11-30' })).toBe(new Date(2026, 10, 30).toLocaleDateString(undefined, { dateStyle: 'medium' }));
  });

  it('is nothing that only looks like one', () => {
    for (const value of ['2026-11-30', { $datetime: 'soon' }, { $datetime: 3 }, { $datetime: '2026-11-30', more: 1 }, ['2026-11-30'], {}, null, undefined]) expect([momentText(value), formatMoment(value)]).toEqual([null, null]);
  });

  it('is exact beside other values', () => {
    expect(exactText({ $date: '2026-11-30' })).toBe('2026-11-30');
    expect(exactText([1, { at: { $datetime: '2026-11-30T20:15:00' } }])).toBe('[1,{"at":"2026-11-30T20:15:00"}]');
    expect([exactText(0.30000000000000004), exactText('a'), exactText(null)]).toEqual(['0.30000000000000004', 'a', 'null']);
  });
});
