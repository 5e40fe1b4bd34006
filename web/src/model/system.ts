import { withoutUnit } from './units';
import { naturalOrder, type ChartSpec, type Section } from './grouping';

/**
 * Charts of machine metrics: what differs only by a device's number is one chart with a line for each device
 * (`system/gpu.0.power_w` and `system/gpu.1.power_w`).
 */
export function systemSections(names: readonly string[]): Section[] {
  const charts = new Map<string, { title: string; names: Map<string, string> }>();
  for (const name of [...names].sort(naturalOrder)) {
    const plain = name.replace(/^system\//, '');
    const device = /(?<=^|[./_])(\d+)(?=$|[./_])/.exec(plain);
    const title = device ? plain.slice(0, device.index).replace(/[./_]$/, '') + plain.slice(device.index + device[0].length).replace(/^[./_]?/, '/').replace(/\/$/, '') : plain;
    const chart = charts.get(title) ?? { title, names: new Map<string, string>() };
    chart.names.set(name, device?.[0] ?? plain);
    charts.set(title, chart);
  }
  const specs = [...charts.values()].map(
    (chart): ChartSpec => ({
      key: [...chart.names.keys()][0]!,
      title: withoutUnit(chart.title),
      section: '',
      metrics: [...chart.names.keys()].map((name) => ({ name, role: 'train' })),
      labels: Object.fromEntries(chart.names),
    }),
  );
  const weight = (spec: ChartSpec): number => ['gpu', 'cpu', 'mem'].findIndex((word) => spec.title.includes(word)) + 1 || 9;
  specs.sort((a, b) => weight(a) - weight(b) || naturalOrder(a.title, b.title));
  return specs.length ? [{ name: '', charts: specs }] : [];
}
