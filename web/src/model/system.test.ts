import { describe, expect, it } from 'vitest';
import { systemSections } from './system';

describe('systemSections', () => {
  it('draws the devices of a machine in one chart', () => {
    const [section] = systemSections(['system/cpu', 'system/gpu.0.power_w', 'system/gpu.10.power_w', 'system/gpu.2.power_w', 'system/gpu/0/memory', 'system/disk']);

    expect(section?.charts.map((chart) => [chart.title, Object.values(chart.labels ?? {})])).toEqual([
      ['gpu/memory', ['0']], ['gpu/power', ['0', '2', '10']], ['cpu', ['cpu']], ['disk', ['disk']],
    ]);
  });

  it('is empty without any', () => expect(systemSections([])).toEqual([]));
});
