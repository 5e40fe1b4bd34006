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

export interface ProgressTimes extends RunTimes {
  step: number | null;
  total_steps: number | null;
  progress: { n: number; total: number | null } | null;
}

/** What is done and, at the speed so far, how long the rest takes. */
export function progressOf(run: ProgressTimes, nowMs: number, perSecond: number | null): Progress | null {
  const n = run.progress?.n ?? (run.total_steps !== null && run.step !== null ? run.step + 1 : null);
  if (n === null) return null;
  const total = run.progress ? run.progress.total : run.total_steps;
  if (!total || total <= 0) return { share: null, n, total: null, leftMs: null };
  const share = Math.min(1, Math.max(0, n / total));
  const elapsed = elapsedMs(run, nowMs);
  const rate = perSecond && perSecond > 0 ? perSecond / 1000 : elapsed > 0 ? n / elapsed : 0;
  const open = stateLook(run.state).open;
  return { share, n, total, leftMs: open && rate > 0 ? Math.max(0, total - n) / rate : null };
}
