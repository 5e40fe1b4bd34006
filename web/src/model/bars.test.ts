import { expect, it } from 'vitest';
import { barLabel, barWidth } from './bars';
import { fromPoints, type Line } from './lines';

const line = (...x: number[]): Line =>
  fromPoints({ run: 'a', name: 'm', rank: 0, attempt: 1, pale: false, exact: true, approximate: false, start: 0, length: x.length, count: x.length, nonfinite: 0, last: null, last_step: null, kind: 'f' }, Float64Array.from(x), Float64Array.from(x));

it('is as wide as the smallest distance, over all lines', () => {
  expect(barWidth([line(1, 2, 4)])).toBe(1);
  expect(barWidth([line(10, 30), line(15, 35)])).toBe(5);
  expect(barWidth([line(10, 30), line(10, 30)])).toBe(20);
  expect(barWidth([line(7)])).toBe(1);
});

it.each([[0.20345, 2, null, '0.2'], [0.20745, 3, null, '0.207'], [12.345, 1, null, '10'], [1234.5, 2, null, '1,200'], [NaN, 3, null, 'NaN'], [3.14159e9, 2, 'B', '3.1\u2009GB']] as const)(
  '%s with %s digits', (value, digits, unit, text) => expect(barLabel(value, digits, unit)).toBe(text),
);
