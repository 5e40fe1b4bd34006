import { describe, expect, it } from 'vitest';
import type { AlertRow, CommandRow } from '../api/types';
import { alertMarks, commandMarks, markX, spotsOf, type Mark } from './marks';

const mark = (key: string, kind: Mark['kind'] = 'command'): Mark => ({ key, kind, run: 'r', step: 5, timeMs: 3000, words: key, who: 'Ann' });

describe('marks', () => {
  it('stand for what was applied, not for what was refused', () => {
    const row = { id: 'a', run: 'r', op: 'set', state: 'applied', step: 5, ended_ms: 3000, accepted_ms: 1 } as unknown as CommandRow;
    const made = commandMarks([row, { ...row, id: 'b', state: 'refused' }], () => 'lr 1 → 2', () => 'Ann');
    expect(made).toEqual([{ key: 'a', kind: 'command', run: 'r', step: 5, timeMs: 3000, words: 'lr 1 → 2', who: 'Ann' }]);
  });

  it('stand for alerts that fired', () => {
    const alert = { id: 7, run: 'r', level: 'ring', title: 'loss is NaN', step: 9, time_ms: 4000, fired_ms: 5000 } as unknown as AlertRow;
    expect(alertMarks([alert, { ...alert, id: 8, fired_ms: null }, { ...alert, id: 9, run: null }], (row) => row.title)).toMatchObject([{ key: 'alert 7', kind: 'ring', step: 9, timeMs: 4000 }]);
  });

  it('have a place on the axes of steps and times', () => {
    expect([markX(mark('a'), 'step', 1000), markX(mark('a'), 'time', 1000), markX(mark('a'), 'relative', 1000), markX(mark('a'), 'epoch', 1000)]).toEqual([5, 3000, 2, null]);
  });

  it('have the colour of a run while they are of one run', () => {
    const of = (run: string, colour: number): Mark => ({ ...mark(run), run, colour });
    const spots = spotsOf([{ left: 1, mark: of('r', 3) }, { left: 2, mark: of('r', 3) }, { left: 40, mark: of('r', 3) }, { left: 41, mark: of('s', 4) }], 10);
    expect(spots.map(({ colour }) => colour)).toEqual([3, undefined]);
  });

  it('are one where they lie close, as grave as the gravest', () => {
    const spots = spotsOf([{ left: 50, mark: mark('c', 'ring') }, { left: 10, mark: mark('a') }, { left: 46, mark: mark('b') }], 10);
    expect(spots.map(({ left, kind, marks }) => [left, kind, marks.map((one) => one.key)])).toEqual([[10, 'command', ['a']], [46, 'ring', ['b', 'c']]]);
  });
});
