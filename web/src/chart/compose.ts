import type { ChartSpec, Role } from '../model/grouping';
import { barLabel } from '../model/bars';
import { lowerBound, nearest } from '../model/lines';
import { meanOf } from '../model/means';
import { toNumber } from '../model/numbers';
import type { ChartPage } from '../state/charts.svelte';
import { t } from '../state/prefs.svelte';
import type { DrawnLine } from './draw';

export interface Entry {
  key: string;
  label: string;
  colour: string;
  dash: DrawnLine['dash'];
  lines: DrawnLine[];
}

const DASH: Record<Role, DrawnLine['dash']> = { train: 'solid', val: 'dashed', test: 'dotted' };

export interface Part {
  run: string;
  name: string;
  role: Role;
  rank: number;
}

/** Which series a chart draws, by the runs and the choice of training or validation. */
export function partsOf(page: ChartPage, spec: ChartSpec): Part[] {
  const wanted = spec.metrics.filter((metric) => spec.metrics.length === 1 || page.validation === 'both' || (page.validation === 'train') === (metric.role === 'train'));
  const metrics = wanted.length ? wanted : spec.metrics;
  return page.runs.flatMap((run) => metrics.map((metric) => ({ run: run.id, name: metric.name, role: metric.role, rank: 0 })));
}

/** The lines of a chart as they are drawn now. With `alone`, all other entries of the legend step back. */
export function composeLines(page: ChartPage, spec: ChartSpec, parts: readonly Part[], colours: readonly string[], alone: string | null, pointed: string | null): DrawnLine[] {
  const every = linesOf(page, spec, parts, colours, alone, pointed);
  const drawn = page.view.means === 'each' || !page.grouped ? every : withMeans(page, every, alone, pointed);
  if (!page.view.bars.includes(spec.key)) return drawn;
  const unit = page.units.get(spec.metrics[0]!.name) ?? null;
  const shown = drawn.filter((line) => !line.line.meta.pale);
  return shown.map((line, place) => ({ ...line, bars: { place, of: shown.length, label: (value) => barLabel(value, page.view.digits, unit) } }));
}

/** The runs of each group as one line: their mean, in the colour of the first. A run that is alone in its group stays as it is. */
function withMeans(page: ChartPage, every: readonly DrawnLine[], alone: string | null, pointed: string | null): DrawnLine[] {
  const groups = new Map(page.runs.map((run) => [run.id, run.group ?? null]));
  const members = new Map<string, DrawnLine[]>();
  for (const drawn of every) {
    const group = groups.get(drawn.run);
    if (drawn.line.meta.pale && group) continue;
    const key = group ? `group ${group} ${drawn.name}` : `${members.size}`;
    members.set(key, [...(members.get(key) ?? []), drawn]);
  }
  return [...members.values()].flatMap((lines): DrawnLine[] => {
    const group = groups.get(lines[0]!.run);
    if (lines.length < 2 || !group || page.view.means === 'each') return lines;
    const entry = `group ${group}`;
    const faint = (alone !== null && alone !== entry) || (alone === null && pointed !== null && !lines.some((line) => line.run === pointed));
    return [{ ...lines[0]!, line: meanOf(lines.map((drawn) => drawn.line), page.view.means), entry, faint, label: t('charts.groupOf', { name: group, n: lines.length }) }];
  });
}

function linesOf(page: ChartPage, spec: ChartSpec, parts: readonly Part[], colours: readonly string[], alone: string | null, pointed: string | null): DrawnLine[] {
  const several = page.runs.length > 1;
  const systemic = spec.metrics.length > 1 && spec.metrics.every((metric) => metric.role === 'train');
  return parts.flatMap((part) => {
    const run = page.runs.find((candidate) => candidate.id === part.run);
    if (!run) return [];
    const place = spec.metrics.findIndex((metric) => metric.name === part.name);
    const apart = page.ranks === 'all' && !several;
    const own = systemic && !several ? place % colours.length : run.colour;
    const entry = several ? run.id : part.name;
    return page.feed.lines(part.run, part.name, part.rank).map((line): DrawnLine => {
      // each process a line of its own: its colour is its rank, and its training and validation are one entry
      const ranked = apart && !systemic;
      const further = apart && systemic ? line.meta.rank : 0; // several devices or processes of a rank that is not the first
      const mine = ranked ? `rank ${line.meta.rank}` : further ? `${entry} rank ${further}` : entry;
      const faint = (alone !== null && alone !== mine) || (alone === null && pointed !== null && several && pointed !== run.id);
      return {
        line, faint, entry: mine,
        colour: colours[(ranked ? run.colour + line.meta.rank : own + further * spec.metrics.length) % colours.length]!,
        dash: spec.metrics.length > 1 ? DASH[part.role] : 'solid',
        label: ranked ? t('charts.rank', { n: line.meta.rank }) : several ? run.name : labelOf(spec, part) + (further ? ` · ${t('charts.rank', { n: further })}` : ''),
        run: part.run,
        name: part.name,
      };
    });
  });
}

function labelOf(spec: ChartSpec, part: Part): string {
  if (spec.metrics.length === 1) return spec.title;
  const same = spec.metrics.filter((metric) => metric.role === part.role).length > 1;
  return same ? (spec.labels?.[part.name] ?? part.name) : part.role;
}

/** Lines by their entry of the legend. */
export function entriesOf(lines: readonly DrawnLine[]): Entry[] {
  const entries = new Map<string, Entry>();
  for (const drawn of lines) {
    if (drawn.line.meta.pale || !drawn.line.x.length) continue; // nothing to read where nothing was logged
    const entry = entries.get(drawn.entry);
    if (entry) entry.lines.push(drawn);
    else entries.set(drawn.entry, { key: drawn.entry, label: drawn.label, colour: drawn.colour, dash: drawn.dash, lines: [drawn] });
  }
  return [...entries.values()];
}

export interface Reading {
  x: number;
  y: number;
  low: number | null;
  high: number | null;
}

/** What a line says at an x: its nearest point, if that is close enough to be meant. */
export function readAt({ line }: DrawnLine, x: number, span: number): Reading | null {
  const at = Math.min(line.x.length - 1, lowerBound(line.x, x));
  const gap = at > 0 ? line.x[at]! - line.x[at - 1]! : 0;
  const index = nearest(line.x, x, Math.max(span * 0.012, gap * 0.5));
  if (index < 0) return null;
  const low = line.low?.[index] ?? null;
  const high = line.high?.[index] ?? null;
  return { x: line.x[index]!, y: line.y[index]!, low: low === high ? null : low, high: low === high ? null : high };
}

/** The last value of a line, as it was logged: its last place may stand for the mean of several points. */
export function lastOf({ line }: DrawnLine): number {
  if (!line.y.length) return NaN;
  return (line.meta.ranks ?? 1) > 1 ? line.y[line.y.length - 1]! : toNumber(line.meta.last); // of a mean, no process has said the last
}

/** The x of the point nearest to the cursor, so that every chart reads a place where something was logged. */
export function snap(lines: readonly DrawnLine[], x: number): number {
  let best = x;
  let distance = Infinity;
  for (const { line } of lines) {
    const index = line.meta.pale ? -1 : nearest(line.x, x, Infinity);
    if (index < 0 || Math.abs(line.x[index]! - x) >= distance) continue;
    best = line.x[index]!;
    distance = Math.abs(best - x);
  }
  return best;
}
