import type { State } from '../api/types';

/** How a state is told: a glyph and a tone; its word is a string of its own. Colour never stands alone. */
export type Tone = 'good' | 'bad' | 'warn' | 'lost' | 'quiet';

export interface StateLook {
  glyph: string;
  tone: Tone;
  /** Whether the run still goes on, so that its times count up and its page listens. */
  open: boolean;
}

const LOOKS: Record<State, StateLook> = {
  queued: { glyph: '◌', tone: 'quiet', open: true },
  running: { glyph: '●', tone: 'good', open: true },
  paused: { glyph: '❚❚', tone: 'warn', open: true },
  idle: { glyph: '○', tone: 'quiet', open: true },
  stalled: { glyph: '◐', tone: 'warn', open: true },
  lost: { glyph: '?', tone: 'lost', open: true },
  finishing: { glyph: '◍', tone: 'good', open: true },
  finished: { glyph: '✓', tone: 'quiet', open: false },
  stopped: { glyph: '■', tone: 'quiet', open: false },
  failed: { glyph: '✕', tone: 'bad', open: false },
  preempted: { glyph: '↯', tone: 'warn', open: false },
};

/** The look of a state; a word that a newer server invented is shown quietly instead of breaking the page. */
export function stateLook(state: string): StateLook {
  return (LOOKS as Record<string, StateLook>)[state] ?? { glyph: '·', tone: 'quiet', open: false };
}

export interface RunTimes {
  state: string;
  created_ms: number;
  started_ms: number | null;
  ended_ms: number | null;
  duration_ms: number | null;
}

/** Milliseconds that a run has lasted; of an open run, up to now. */
export function elapsedMs(run: RunTimes, nowMs: number): number {
  if (stateLook(run.state).open) return Math.max(0, nowMs - (run.started_ms ?? run.created_ms));
  return run.duration_ms ?? Math.max(0, (run.ended_ms ?? run.created_ms) - (run.started_ms ?? run.created_ms));
}

export interface Progress {
  /** Done share, 0 to 1, or null if the total is not known. */
  share: number | null;
  n: number;
  total: number | null;
  leftMs: number | null;
}

/** What a progress bar shows. */
interface Meter {
  n: number;
  total: number | null;
  elapsed_s: number | null;
  rate: number | null;
  remaining_s: number | null;
}

export interface ProgressTimes extends RunTimes {
  step: number | null;
  total_steps: number | null;
  progress: (Meter & { at_ms: number; ended: boolean }) | null;
}

/** What is done and how long the rest takes: as the program's own bar says, else at the speed so far. */
export function progressOf(run: ProgressTimes, nowMs: number, perSecond: number | null): Progress | null {
  const told = run.progress;
  const n = told?.n ?? (run.total_steps !== null && run.step !== null ? run.step + 1 : null);
  if (n === null) return null;
  const total = told ? told.total : run.total_steps;
  if (!total || total <= 0) return { share: null, n, total: null, leftMs: null };
  const share = Math.min(1, Math.max(0, n / total));
  if (!stateLook(run.state).open) return { share, n, total, leftMs: null };
  if (told?.rate) return { share, n, total, leftMs: told.remaining_s === null ? null : Math.max(0, told.remaining_s * 1000) };
  const elapsed = elapsedMs(run, nowMs);
  const rate = perSecond && perSecond > 0 ? perSecond / 1000 : elapsed > 0 ? n / elapsed : 0;
  return { share, n, total, leftMs: rate > 0 ? Math.max(0, total - n) / rate : null };
}

export interface BarTimes {
  /** Counts on while the bar is open and the program can be heard: silence is shown as age, not as standing time. */
  elapsedMs: number | null;
  /** How old the news is; null where it will not change. */
  ageMs: number | null;
}

/** The clock of a run's progress bar. */
export function barTimes(run: ProgressTimes, nowMs: number): BarTimes {
  const told = run.progress;
  if (!told) return { elapsedMs: null, ageMs: null };
  const runs = !told.ended && stateLook(run.state).open && run.state !== 'lost';
  const ageMs = Math.max(0, nowMs - told.at_ms);
  const shown = told.elapsed_s === null ? null : told.elapsed_s * 1000;
  return { elapsedMs: shown === null ? null : shown + (runs ? ageMs : 0), ageMs: told.ended || !stateLook(run.state).open ? null : ageMs };
}
