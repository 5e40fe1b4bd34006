import { describe, expect, it } from 'vitest';
import type { CommandRow } from '../api/types';
import { callOf, changeOf, feelOf, formatValue, readNumber, readText, scaled, stageOf, typed, wishId } from './steer';

const row = (more: Partial<CommandRow> = {}): CommandRow => ({
  id: 'a', run: 'r', attempt: 1, seq: 1, op: 'stop', args: {}, actor: 'Ann', channel: 'page', text: '', accepted_ms: 1000, expires_ms: 9e9,
  delivered_ms: null, started_ms: null, ended_ms: null, state: 'pending', reason: '', step: null, result: null, old: null, new: null, ...more,
});
const knob = { type: 'float' as const, value: 1e-3, default: 1e-3, min: null, max: null, choices: null, log: false };

describe('a command', () => {
  it('is told by its times', () => {
    expect(stageOf(row(), 3000)).toBe('waiting');
    expect(stageOf(row(), 40_000)).toBe('untaken');
    expect(stageOf(row({ delivered_ms: 1100 }), 40_000)).toBe('late');
    expect(stageOf(row({ delivered_ms: 1100, started_ms: 2000 }), 40_000)).toBe('hanging');
    expect(stageOf(row({ delivered_ms: 1100, started_ms: 39_000 }), 40_000)).toBe('working');
    expect(stageOf(row({ state: 'refused', started_ms: 1 }), 90_000)).toBe('refused');
  });

  it('says what it changes', () => {
    expect(changeOf(row({ op: 'set', args: { name: 'lr', value: 1e-3 }, old: 0.01, new: 1e-3 }))).toEqual({ name: 'lr', old: '0.01', value: '1e−3' });
    expect(changeOf(row({ op: 'set', args: { name: 'lr', value: 1e-3 } }))?.old).toBe(null);
    expect(callOf(row({ op: 'call', args: { name: 'evaluate', args: { n: 10, split: 'val' } } }))).toBe('evaluate(n=10, split=val)');
    expect(callOf(row())).toBe(null);
  });
});

describe('a knob', () => {
  it('is changed as it is felt', () => {
    expect(feelOf(knob)).toBe('factors');
    expect(feelOf({ ...knob, min: 0, max: 1 })).toBe('slider');
    expect(feelOf({ ...knob, min: 1e-6, max: 1, log: true })).toBe('factors');
    expect(feelOf({ ...knob, value: 0 })).toBe('steps');
    expect(feelOf({ ...knob, type: 'int', value: 3 })).toBe('steps');
    expect(feelOf({ ...knob, type: 'str', value: 'a', choices: ['a', 'b'] })).toBe('choices');
  });

  it('is scaled to short numbers within its range', () => {
    expect([scaled(1e-3, 1 / 3, knob), scaled(1e-3, 10, knob), scaled(0.5, 10, { ...knob, max: 1 })]).toEqual([3.33e-4, 0.01, 1]);
    expect(scaled(1, 1 / 3, { type: 'int', min: null, max: null })).toBe(0);
    expect(scaled(2, 3, { type: 'int', min: null, max: null })).toBe(6);
  });

  it('reads what people type', () => {
    expect([readNumber('1e-3'), readNumber(' 0.5 '), readNumber('１．５'), readNumber('−2'), readNumber('1,5'), readNumber('abc'), readNumber('1 2'), readNumber('')]).toEqual([1e-3, 0.5, 1.5, -2, null, null, null, null]);
    expect(readText('2', { type: 'float', min: 0, max: 1 }).wrong).toBe('range');
    expect(readText('1.5', { type: 'int' }).wrong).toBe('whole');
    expect(readText('', { type: 'int' }).wrong).toBe('missing');
    expect(readText('', { type: 'int', required: false })).toEqual({ value: undefined, wrong: null });
    expect(readText('', { type: 'str' }).value).toBe('');
  });

  it('is written as short as it can be', () => {
    expect([1e-3, 0.01, 0.7, 41_000, 3.33e-4, 2e6, 1795190683.25, true, 'adam', null].map(formatValue)).toEqual(['1e−3', '0.01', '0.7', '41,000', '3.33e−4', '2,000,000', '1.79519068e9', 'true', 'adam', '–']);
    expect([1e-3, 0.7, 41_000, true].map(typed)).toEqual(['1e-3', '0.7', '41000', 'true']);
  });
});

it('gives every wish an id of its own', () => {
  expect(wishId()).toMatch(/^[0-9a-f]{24}$/);
  expect(wishId()).not.toBe(wishId());
});
