/**
 * Which metrics share a chart and which charts share a section. Names decide, by rules that a reader can foresee:
 * `/` makes sections; the validation of a metric is drawn with its training, whichever of the usual spellings is used.
 */

export type Role = 'train' | 'val' | 'test';

export interface ChartMetric {
  name: string;
  role: Role;
}

export interface ChartSpec {
  key: string;
  title: string;
  section: string;
  metrics: ChartMetric[];
  /** Short names of lines where the chart holds several of one role. */
  labels?: Record<string, string>;
}

export interface Section {
  name: string;
  charts: ChartSpec[];
  /** Holds what others are drawn over: last, and closed until somebody opens it. */
  axes?: boolean;
}

const VAL = new Set(['val', 'valid', 'validation', 'eval', 'dev']);
const TEST = new Set(['test']);

interface Parts {
  role: Role;
  /** The name without the word that tells the role; null if it has none. */
  root: string | null;
}

function roleOf(word: string): Role | null {
  if (VAL.has(word)) return 'val';
  if (TEST.has(word)) return 'test';
  return word === 'train' || word === 'training' ? 'train' : null;
}

/** Split `val/loss`, `val_loss` into role and root. */
export function splitRole(name: string): Parts {
  const match = /^([A-Za-z]+)([/_])(.+)$/.exec(name);
  const role = match ? roleOf((match[1] ?? '').toLowerCase()) : null;
  return role && match?.[3] ? { role, root: match[3] } : { role: 'train', root: null };
}

const ORDER = new Intl.Collator('en', { numeric: true });

/** Names in the order people expect: `layer.2` before `layer.10`. */
export function naturalOrder(one: string, other: string): number {
  return ORDER.compare(one, other);
}

export function sectionOf(name: string): string {
  const slash = name.indexOf('/');
  return slash > 0 ? name.slice(0, slash) : '';
}

/** One chart for each metric, but one for the training, validation and test of the same. */
export function chartsOf(names: readonly string[]): ChartSpec[] {
  const known = new Set(names);
  const charts = new Map<string, ChartSpec>();
  const hosted: { host: string; name: string; role: Role }[] = [];
  for (const name of names) {
    const { role, root } = splitRole(name);
    if (root !== null && role !== 'train') {
      const host = [`train/${root}`, `training/${root}`, `train_${root}`, root].find((candidate) => known.has(candidate));
      if (host !== undefined) {
        hosted.push({ host, name, role });
        continue;
      }
    }
    const section = sectionOf(name);
    const title = section ? name.slice(section.length + 1) : name;
    charts.set(name, { key: name, title, section, metrics: [{ name, role: 'train' }] });
  }
  for (const { host, name, role } of hosted) charts.get(host)?.metrics.push({ name, role });
  const rank: Record<Role, number> = { train: 0, val: 1, test: 2 };
  for (const chart of charts.values()) chart.metrics.sort((a, b) => rank[a.role] - rank[b.role] || naturalOrder(a.name, b.name));
  return [...charts.values()];
}

/** Up to this many charts are one page without headings. */
export const FLAT = 12;
/** A prefix with fewer charts than this gets no heading of its own. */
const SMALL = 3;

/** Name of the section of axes: no prefix of a metric can be the same. */
export const AXES = '\u0000axes';

/** Names that only count: nobody's first question. */
const COUNTER = /(^|\/)(epoch|step|global_step|iteration|batch)$/i;

function weight(section: string, main: string | null): number {
  if (main !== null && sectionOf(main) === section) return 0;
  if (section === 'train') return 1;
  if (VAL.has(section) || TEST.has(section)) return 2;
  return section === '' ? 3 : 4;
}

/**
 * Charts in sections by prefix. The chart of the main metric comes first of all; a page of few charts has no headings;
 * prefixes of one or two charts share the first section and keep their full names as titles.
 */
export function sectionsOf(charts: readonly ChartSpec[], main: string | null, axes: ReadonlySet<string> = new Set()): Section[] {
  const isAxis = (chart: ChartSpec): boolean => chart.metrics.every(({ name }) => name !== main && (axes.has(name) || COUNTER.test(name)));
  const counters = charts.filter(isAxis);
  if (!counters.length || counters.length === charts.length) return valuesOf(charts, main);
  return [...valuesOf(charts.filter((chart) => !isAxis(chart)), main), { name: AXES, axes: true, charts: counters.map(fullTitle(counters)) }];
}

function valuesOf(charts: readonly ChartSpec[], main: string | null): Section[] {
  const host = main === null ? undefined : charts.find((chart) => chart.metrics.some((metric) => metric.name === main));
  const sorted = [...charts].sort(
    (a, b) =>
      Number(b === host) - Number(a === host) ||
      weight(a.section, host?.key ?? main) - weight(b.section, host?.key ?? main) ||
      Number(COUNTER.test(a.key)) - Number(COUNTER.test(b.key)) ||
      naturalOrder(a.section, b.section) ||
      naturalOrder(a.title, b.title),
  );
  if (sorted.length <= FLAT) return sorted.length ? [{ name: '', charts: sorted.map(fullTitle(sorted)) }] : [];
  const sections = new Map<string, ChartSpec[]>();
  for (const chart of sorted) sections.set(chart.section, [...(sections.get(chart.section) ?? []), chart]);
  const loose: ChartSpec[] = [];
  const named: Section[] = [];
  for (const [name, members] of sections) {
    if (name === '' || members.length < SMALL) loose.push(...members);
    else named.push({ name, charts: members });
  }
  const first = loose.length ? [{ name: '', charts: loose.map(fullTitle(loose)) }] : [];
  return host && !loose.includes(host) ? [...named, ...first] : [...first, ...named];
}

/** Titles without a heading above them: short where that is clear, else the full name. */
function fullTitle(charts: readonly ChartSpec[]): (chart: ChartSpec) => ChartSpec {
  const titles = new Map<string, number>();
  for (const chart of charts) titles.set(chart.title, (titles.get(chart.title) ?? 0) + 1);
  return (chart) => {
    const plain = splitRole(chart.key).root !== null && chart.metrics.length > 1 && titles.get(chart.title) === 1;
    return plain ? chart : { ...chart, title: chart.key };
  };
}

/** A filter as people type it: a regular expression if it is one, else plain text. Case does not matter. */
export function matcher(text: string): (name: string) => boolean {
  const trimmed = text.trim();
  if (!trimmed) return () => true;
  try {
    const pattern = new RegExp(trimmed, 'i');
    return (name) => pattern.test(name);
  } catch {
    const plain = trimmed.toLowerCase();
    return (name) => name.toLowerCase().includes(plain);
  }
}

/** The members of `values` that differ between at least two rows: what is worth a column. */
export function varying(columns: readonly string[], rows: readonly (readonly unknown[])[]): string[] {
  const known = (value: unknown): boolean => value !== null && value !== undefined;
  return columns.filter((_, k) => new Set(rows.map((row) => row[k]).filter(known).map((value) => (typeof value === 'object' ? JSON.stringify(value) : value))).size > 1);
}
