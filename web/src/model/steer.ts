import type { ArgumentInfo, CommandRow, Json, KnobInfo } from '../api/types';
import { formatNumber } from './numbers';

/** So long may a trainer need to a safe point, or a hook to its end, before the page says that it takes long. */
export const LONG_MS = 30_000;
/** So long a command that has ended stays in the strip. */
export const STAY_MS = 10_000;

/** How far a command is, as a person cares for it. */
export type Stage = 'waiting' | 'untaken' | 'late' | 'working' | 'hanging' | 'applied' | 'refused' | 'expired' | 'superseded' | 'interrupted';

export function stageOf(row: CommandRow, nowMs: number): Stage {
  if (row.state !== 'pending') return row.state;
  if (row.started_ms !== null) return nowMs - row.started_ms > LONG_MS ? 'hanging' : 'working';
  if (nowMs - row.accepted_ms <= LONG_MS) return 'waiting';
  return row.delivered_ms === null ? 'untaken' : 'late';
}

export function stageTone(stage: Stage): 'quiet' | 'good' | 'warn' | 'bad' {
  if (stage === 'applied') return 'good';
  if (stage === 'refused' || stage === 'interrupted' || stage === 'expired') return 'bad';
  return stage === 'late' || stage === 'untaken' || stage === 'hanging' ? 'warn' : 'quiet';
}

/** A knob's value or an argument: numbers as short as they can be without being rounded. */
export function formatValue(value: Json | undefined): string {
  if (value === null || value === undefined) return '–';
  if (typeof value === 'number') {
    const size = Math.abs(value);
    if (size && size < 0.01) return value.toExponential().replace('e+', 'e').replace('e-', 'e\u2212').replace(/^-/, '\u2212');
    return formatNumber(value, 9);
  }
  return typeof value === 'object' ? JSON.stringify(value) : String(value);
}

/** A value as somebody would type it. */
export function typed(value: Json | undefined): string {
  if (value === null || value === undefined) return '';
  if (typeof value === 'number' && value && Math.abs(value) < 0.01) return value.toExponential().replace('e+', 'e');
  return typeof value === 'object' ? JSON.stringify(value) : String(value);
}

/** The value of a knob that changed by a command, old and new; null for other commands. */
export function changeOf(row: Pick<CommandRow, 'op' | 'args' | 'old' | 'new'>): { name: string; old: string | null; value: string } | null {
  if (row.op !== 'set') return null;
  const value = row.new ?? row.args.value;
  return { name: String(row.args.name ?? ''), old: row.old === null || row.old === undefined ? null : formatValue(row.old), value: formatValue(value) };
}

/** `evaluate(n=10)`; null for commands that are not the program's own. */
export function callOf(row: Pick<CommandRow, 'op' | 'args'>): string | null {
  if (row.op !== 'call') return null;
  const given = row.args.args && typeof row.args.args === 'object' && !Array.isArray(row.args.args) ? row.args.args : {};
  return `${String(row.args.name ?? '')}(${Object.entries(given).map(([name, value]) => `${name}=${typed(value as Json)}`).join(', ')})`;
}

/** How a knob is best changed: felt in ratios, along its range, by steps, or picked. */
export type Feel = 'factors' | 'slider' | 'steps' | 'choices' | 'switch' | 'text';

export function feelOf(knob: Pick<KnobInfo, 'type' | 'value' | 'min' | 'max' | 'choices' | 'log'>): Feel {
  if (knob.choices?.length) return 'choices';
  if (knob.type === 'bool') return 'switch';
  if (knob.type === 'str') return 'text';
  if (knob.log) return 'factors';
  if (knob.min !== null && knob.max !== null) return 'slider';
  return knob.type === 'float' && knob.value !== 0 ? 'factors' : 'steps';
}

/** Three significant digits are enough for what a thumb chooses: 1e-3 / 3 is 3.33e-4. */
const short = (value: number): number => Number(value.toPrecision(3));

export function within(value: number, knob: Pick<KnobInfo, 'type' | 'min' | 'max'>): number {
  const whole = knob.type === 'int' ? Math.round(value) : value;
  return Math.min(knob.max ?? Infinity, Math.max(knob.min ?? -Infinity, whole));
}

/** A value times a factor, kept in the knob's range; a whole number changes at least by one. */
export function scaled(value: number, factor: number, knob: Pick<KnobInfo, 'type' | 'min' | 'max'>): number {
  const next = short(value * factor);
  if (knob.type !== 'int') return within(next, knob);
  const moved = Math.round(next) === value ? value + Math.sign(factor - 1) : next;
  return within(moved, knob);
}

/** The distances of the step buttons: whole numbers by 1 and 10, others by a digit of their size. */
export function stepsOf(knob: Pick<KnobInfo, 'type' | 'value'>): [number, number] {
  if (knob.type === 'int') return [1, 10];
  const size = Math.abs(Number(knob.value)) || 1;
  const step = 10 ** Math.floor(Math.log10(size) - 1);
  return [step, step * 10];
}

/** The step of a slider over a range: about two hundred places. */
export function gridOf(knob: Pick<KnobInfo, 'type' | 'min' | 'max'>): number {
  const range = (knob.max ?? 1) - (knob.min ?? 0);
  if (knob.type === 'int') return Math.max(1, Math.round(range / 200));
  return 10 ** Math.floor(Math.log10(range / 100 || 0.01));
}

const DIGITS = /[０-９．－＋ｅＥ]/g;

/** What somebody typed, as a number; null if it is none. Digits of other keyboards count. */
export function readNumber(text: string): number | null {
  const plain = text.trim().replace(DIGITS, (letter) => String.fromCharCode(letter.charCodeAt(0) - 0xfee0)).replace('\u2212', '-');
  if (!/^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(plain)) return null;
  return Number(plain);
}

/** What is wrong with a typed value, or nothing. The server has the last word. */
export type Wrong = 'number' | 'whole' | 'range' | 'missing' | null;

type Declared = Pick<ArgumentInfo, 'type'> & { min?: number | null; max?: number | null; required?: boolean };

/** A typed text as the declared type wants it. */
export function readText(text: string, declared: Declared): { value: Json | undefined; wrong: Wrong } {
  if (declared.type === 'str') return { value: text, wrong: null };
  if (!text.trim()) return { value: undefined, wrong: declared.required === false ? null : 'missing' };
  if (declared.type === 'bool') return { value: text === 'true', wrong: null };
  const number = readNumber(text);
  if (number === null) return { value: undefined, wrong: 'number' };
  if (declared.type === 'int' && !Number.isInteger(number)) return { value: undefined, wrong: 'whole' };
  if ((declared.min ?? -Infinity) > number || (declared.max ?? Infinity) < number) return { value: undefined, wrong: 'range' };
  return { value: number, wrong: null };
}

/** `1e-6 … 1`, `≥ 0`, or nothing. */
export function rangeOf(declared: { min?: number | null; max?: number | null }): string {
  const { min = null, max = null } = declared;
  if (min !== null && max !== null) return `${formatValue(min)} … ${formatValue(max)}`;
  return min !== null ? `≥ ${formatValue(min)}` : max !== null ? `≤ ${formatValue(max)}` : '';
}

/** An id for one wish: however often it is sent, it is done once. Works without a secure context, too. */
export function wishId(): string {
  return [...crypto.getRandomValues(new Uint8Array(12))].map((byte) => byte.toString(16).padStart(2, '0')).join('');
}
