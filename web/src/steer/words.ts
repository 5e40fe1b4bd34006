import type { CommandRow } from '../api/types';
import { formatNumber } from '../model/numbers';
import { callOf, changeOf, formatValue, stageOf } from '../model/steer';
import { duration, said, t } from '../state/prefs.svelte';

/** What a command asks for: `Stop`, `lr 1e-2 → 1e-3`, `evaluate(n=10)`. */
export function nameOf(row: Pick<CommandRow, 'op' | 'args' | 'old' | 'new'>): string {
  const change = changeOf(row);
  if (change) return `${change.name} ${change.old === null ? '' : `${change.old} → `}${change.value}`;
  return callOf(row) ?? (row.op === 'set' || row.op === 'call' ? row.op : t(`steer.op.${row.op}`));
}

export const clockTime = (ms: number): string => new Date(ms).toLocaleTimeString(undefined, { hour: '2-digit', minute: '2-digit', second: '2-digit' });

/** How far it is, in words. `step`: the last step that the run has logged. */
export function progressText(row: CommandRow, nowMs: number, step: number | null): string {
  const stage = stageOf(row, nowMs);
  const sent = t('steer.sent', { age: duration(nowMs - row.accepted_ms) });
  if (stage === 'waiting') return `${sent} · ${t('steer.waiting')}`;
  if (stage === 'untaken') return `${sent} · ${t('steer.untaken')}`;
  if (stage === 'late') return step === null ? t('steer.never') : t('steer.late', { n: formatNumber(step) });
  if (stage === 'working') return t('steer.working');
  if (stage === 'hanging') return t('steer.hanging', { time: clockTime(row.started_ms!) });
  return outcomeText(row);
}

/** How it ended. */
export function outcomeText(row: CommandRow): string {
  if (row.state === 'pending') return t('steer.pending');
  if (row.state === 'applied') {
    const at = row.step === null ? t('steer.applied') : t('steer.appliedAt', { n: formatNumber(row.step) });
    return row.result === null || row.result === undefined ? at : `${at}: ${formatValue(row.result)}`;
  }
  const word = t(`steer.ended.${row.state}`);
  return row.reason ? `${word}: ${said(row.reason)}` : word;
}

/** Who asked, and by which way where that is not this page. */
export function whoOf(row: Pick<CommandRow, 'actor' | 'channel'>): string {
  return row.channel === 'page' ? row.actor : `${row.actor} · ${row.channel}`;
}
