import { describe, expect, it } from 'vitest';
import { formatBytes, formatClock, formatDuration, formatNumber, formatPace, formatRate, formatShare, formatShort, toNumber } from './numbers';
import { formatCell } from './cell';

describe('formatNumber', () => {
  it.each([
    [0, '0'], [1, '1'], [0.0312, '0.0312'], [0.98214, '0.9821'], [4120, '4,120'], [1234567, '1,234,567'],
    [123.456, '123.5'], [99999.6, '100,000'], [0.00004, '4e\u22125'], [0.000123456, '0.0001235'],
    [1e-3, '0.001'], [-2.5, '\u22122.5'], [1.5e12, '1.5e12'], [0.1 + 0.2, '0.3'], [10, '10'], [100.5, '100.5'],
  ])('%d reads %s', (value, text) => expect(formatNumber(value)).toBe(text));

  it('names what is not finite', () => {
    expect([NaN, Infinity, -Infinity].map((value) => formatNumber(value))).toEqual(['NaN', '∞', '\u2212∞']);
  });
});

describe('other formats', () => {
  it('shortens large numbers for axes', () => {
    expect([0, 500, 9500, 12000, 250000, 3e6].map(formatShort)).toEqual(['0', '500', '9,500', '12k', '250k', '3M']);
    expect([2e12, 1e15, 5e17, -1e18].map((value) => formatShort(value))).toEqual(['2T', '1e15', '5e17', '−1e18']);
  });

  it('uses two units of time at most', () => {
    expect([900, 59_000, 61_000, 3_720_000, 190_000_000].map((ms) => formatDuration(ms)).map((text) => text.replaceAll('\u2009', ' '))).toEqual([
      '0 s', '59 s', '1 min', '1 h 2 min', '2 d 4 h',
    ]);
  });

  it('writes times and rates as a progress bar does', () => {
    expect([900, 61_000, 11_525_000].map(formatClock)).toEqual(['00:00', '01:01', '3:12:05']);
    expect([formatPace(1.638, 'it'), formatPace(0.25, 'batch'), formatPace(120_000, 'B')]).toEqual(['1.64 it/s', '4 s/batch', '120,000 B/s']);
  });

  it('writes shares, rates and bytes', () => {
    expect(formatShare(0.00021).replace('\u2009', ' ')).toBe('0.021 %');
    expect(formatShare(0.614).replace('\u2009', ' ')).toBe('61 %');
    expect(formatRate(98.2)).toBe('98/s');
    expect(formatRate(0.421)).toBe('0.42/s');
    expect(formatBytes(1_234_567).replace('\u2009', ' ')).toBe('1.23 MB');
  });

  it('reads numbers that JSON cannot say', () => {
    expect([toNumber('NaN'), toNumber('-Infinity'), toNumber(2), toNumber(null)]).toEqual([NaN, -Infinity, 2, NaN]);
    expect([formatCell('NaN'), formatCell(null), formatCell(true), formatCell(1e-3)]).toEqual(['NaN', '–', 'true', '0.001']);
    expect([formatCell([0.9, 0.99]), formatCell({})]).toEqual(['[0.9,0.99]', '{}']);
  });
});
