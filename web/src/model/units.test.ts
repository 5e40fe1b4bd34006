import { describe, expect, it } from 'vitest';
import { formatIn, shownUnit, systemUnit, withoutUnit } from './units';

describe('units', () => {
  it('are known for machine metrics', () => {
    expect(['gpu/0/memory_bytes', 'disk/read_bytes_per_s', 'cpu', 'gpu/0/power_w', 'gpu/0/temperature_c', 'threads'].map(systemUnit)).toEqual(['B', 'B/s', '%', 'W', '°C', null]);
    expect(withoutUnit('disk/read_bytes_per_s')).toBe('disk/read');
  });

  it('scale bytes and leave other numbers alone', () => {
    expect([formatIn(3.1e10, 'B'), formatIn(2e8, 'B/s'), formatIn(0.5, '%'), formatIn(NaN, 'B')].map((text) => text.replace('\u2009', ' '))).toEqual(['31 GB', '200 MB/s', '0.5', 'NaN']);
    expect([shownUnit('B'), shownUnit('W')]).toEqual([null, 'W']);
  });
});
