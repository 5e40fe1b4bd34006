import type { AlertRow, CommandRow } from '../api/types';
import { liveX } from './lines';
import { toNumber } from './numbers';

/** What happened to a run at a place of its charts: a command that was applied, or an alert. */
export interface Mark {
  key: string;
  kind: 'command' | 'ring' | 'hint';
  run: string;
  step: number | null;
  timeMs: number;
  /** `lr 1e-2 → 1e-3`, or what an alert says. */
  words: string;
  /** `Ann · page`; nothing for an alert. */
  who: string;
  /** Of its run, where several are drawn. */
  colour?: number;
}

/** Marks that lie so close that one finger meets them. */
export interface Spot {
  left: number;
  kind: Mark['kind'];
  marks: Mark[];
  /** The colour of the run to which all of them belong. */
  colour?: number | undefined;
}

export function commandMarks(rows: readonly CommandRow[], words: (row: CommandRow) => string, who: (row: CommandRow) => string): Mark[] {
  return rows.flatMap((row) =>
    row.state === 'applied' && row.run !== null && row.op !== 'start' && (row.step !== null || row.ended_ms !== null)
      ? [{ key: row.id, kind: 'command' as const, run: row.run, step: row.step, timeMs: row.ended_ms ?? row.accepted_ms, words: words(row), who: who(row) }]
      : [],
  );
}

/** Alerts that people were told of; what healed before that leaves no mark. */
export function alertMarks(rows: readonly AlertRow[], title: (row: AlertRow) => string): Mark[] {
  return rows.flatMap((row) => {
    if (row.run === null || row.fired_ms === null) return [];
    const step = row.step === null ? null : toNumber(row.step);
    return [{ key: `alert ${row.id}`, kind: row.level, run: row.run, step: Number.isFinite(step) ? step : null, timeMs: row.time_ms ?? row.fired_ms, words: title(row), who: '' }];
  });
}

/** Where a mark stands on an axis; null where that axis does not say. */
export function markX(mark: Mark, axis: string, startedMs: number | null): number | null {
  if (axis === 'step') return mark.step;
  return axis === 'time' || axis === 'relative' ? liveX(axis, mark.step ?? 0, mark.timeMs, startedMs) : null;
}

/** Marks by their place, those within `near` of one another together; the gravest gives the look. */
export function spotsOf(placed: readonly { left: number; mark: Mark }[], near: number): Spot[] {
  const grave = { command: 0, hint: 1, ring: 2 };
  const spots: Spot[] = [];
  for (const { left, mark } of [...placed].sort((a, b) => a.left - b.left)) {
    const last = spots.at(-1);
    if (last && left - last.left < near) {
      last.marks.push(mark);
      if (grave[mark.kind] > grave[last.kind]) last.kind = mark.kind;
      if (last.marks.some((other) => other.run !== mark.run)) last.colour = undefined;
    } else spots.push({ left, kind: mark.kind, marks: [mark], colour: mark.colour });
  }
  return spots;
}
