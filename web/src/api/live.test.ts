import { describe, expect, it } from 'vitest';
import { backoffMs, passedOver, seqOf, union, type Interest } from './live';

describe('union', () => {
  it('asks once for what several readers want', () => {
    const one = { project: 'digits', runs: ['a'], series: [{ run: 'a', name: 'loss' }], console: [] };
    const two = { project: null, runs: ['a', 'b'], series: [{ run: 'a', name: 'loss' }, { run: 'b', name: 'loss' }], console: ['b'] };

    expect(union([one, two])).toEqual({
      project: 'digits', runs: ['a', 'b'], series: [{ run: 'a', name: 'loss' }, { run: 'b', name: 'loss' }], console: ['b'],
    });
    expect(union([one, { ...two, project: 'other' }]).project).toBe('*');
    expect(union([])).toEqual({ project: null, runs: [], series: [], console: [] });
  });
});

describe('passedOver', () => {
  const none: Interest = { project: null, runs: [], series: [], console: [] };
  const asked = { project: 'digits', runs: ['a'], console: ['a'] };

  it('is true of the first answer, which tells nothing', () => expect(passedOver({ since: null, asked }, none)).toBe(true));

  it.each<[Partial<Interest>, boolean]>([
    [{}, false],
    [{ project: 'digits', runs: ['a'], console: ['a'] }, false],
    [{ series: [{ run: 'b', name: 'loss' }] }, false],
    [{ project: 'other' }, true],
    [{ project: '*' }, true],
    [{ runs: ['a', 'b'] }, true],
    [{ console: ['b'] }, true],
  ])('compares what is wanted with what was asked: %j', (wanted, expected) => {
    expect(passedOver({ since: 'x:1', asked }, { ...none, ...wanted })).toBe(expected);
  });

  it('knows that a question about all projects is about each', () => expect(passedOver({ since: 'x:1', asked: { ...asked, project: '*' } }, { ...none, project: 'other' })).toBe(false));
});

describe('seqOf', () => {
  it('is the commit number', () => expect(['a:7', 'a:b:12.30'].map(seqOf)).toEqual([7, 12]));
});

describe('backoff', () => {
  it('grows to a limit and is never zero', () => {
    expect([0, 1, 2, 9, 99].map((n) => backoffMs(n, 1))).toEqual([400, 800, 1600, 8000, 8000]);
    expect(backoffMs(0, 0)).toBeGreaterThan(200);
  });
});
