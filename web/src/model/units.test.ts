import { describe, expect, it } from 'vitest';
import { based } from './lines';
import { axisWords, formatIn, shownUnit, systemUnit, wholeRange, withoutUnit } from './units';

describe('units', () => {
  it('are known for machine metrics', () => {
    expect(['gpu/0/memory_bytes', 'disk/read_bytes_per_s', 'cpu', 'gpu/0/power_w', 'gpu/0/temperature_c', 'threads'].map(systemUnit)).toEqual(['B', 'B/s', '%', 'W', '°C', null]);
    expect(withoutUnit('disk/read_bytes_per_s')).toBe('disk/read');
  });

  it('are written on an axis with as many digits as tell its places apart', () => {
    expect(axisWords([0, 500, 12_000], null)).toEqual(['0', '500', '12k']);
    expect(axisWords([1_795_000_100, 1_795_000_200], null)).toEqual(['1.7950001e9', '1.7950002e9']);
    expect(axisWords([1.7e9, 1.7e9 + 0.01, 1.7e9 + 0.02], null)).toEqual(['1,700,000,000', '+0.01', '+0.02']);
    expect(axisWords([37.45e6, 37.46e6], 'B').map((text) => text.replace('\u2009', ' '))).toEqual(['37.45 MB', '37.46 MB']);
  });

  it('have a range that is always seen where that is the honest one', () => {
    expect(['%', 'B', '°C'].map(wholeRange)).toEqual([[0, 100], [0, null], null]);
    expect(based([97, 100], [0, 100])).toEqual([0, 100]);
    expect(based([40, 250], [0, 100])).toEqual([0, 265]);
    expect(based([5, 10], [0, null])).toEqual([0, 10.6]);
  });

  it('scale bytes and leave other numbers alone', () => {
    expect([formatIn(3.1e10, 'B'), formatIn(2e8, 'B/s'), formatIn(0.5, '%'), formatIn(NaN, 'B')].map((text) => text.replace('\u2009', ' '))).toEqual(['31 GB', '200 MB/s', '0.5', 'NaN']);
    expect([shownUnit('B'), shownUnit('W')]).toEqual([null, 'W']);
  });
});
