import { describe, expect, it } from 'vitest';
import { branchesOf, findLeaves, leavesOf, showValue } from './tree';
import { barTimes, elapsedMs, progressOf, stateLook } from './states';

describe('config', () => {
  const leaves = leavesOf({ lr: 1e-3, opt: { name: 'adam', betas: [0.9, 0.99], empty: {} }, data: { path: { root: '/d' } } });

  it('has a path for each value', () => {
    expect(leaves.map((leaf) => leaf.path)).toEqual(['lr', 'opt/name', 'opt/betas', 'opt/empty', 'data/path/root']);
  });

  it('has a datetime as one value, found by what is shown and by its text', () => {
    const times = leavesOf({ data: { since: { $datetime: '2026-11-30T20:15:00' }, odd: { $datetime: 'soon' } } });

    expect(times.map((leaf) => leaf.path)).toEqual(['data/since', 'data/odd/$datetime']);
    expect(showValue(times[0]!.value)).toContain('2026');
    expect([findLeaves(times, '2026-11-30t20').length, findLeaves(times, showValue(times[0]!.value)).length]).toEqual([1, 1]);
  });

  it('is found by words of path and value', () => {
    expect(findLeaves(leaves, 'OPT 0.99').map((leaf) => leaf.path)).toEqual(['opt/betas']);
    expect(findLeaves(leaves, ' ')).toHaveLength(5);
  });

  it('has branches', () => {
    expect(branchesOf(leaves).map((branch) => [branch.name, branch.leaves.length])).toEqual([['', 1], ['opt', 3], ['data', 1]]);
  });

  it('is searched within a second at 5,000 fields', () => {
    const many = leavesOf(Object.fromEntries(Array.from({ length: 5000 }, (_, k) => [`key${k}`, { value: k }])));
    const start = performance.now();

    expect(findLeaves(many, '4321')).toHaveLength(1);
    expect(performance.now() - start).toBeLessThan(1000);
  });
});

describe('states', () => {
  const run = { state: 'running', created_ms: 0, started_ms: 1000, ended_ms: null, duration_ms: null, step: 24, total_steps: 100, progress: null };

  it('count time while open and keep it afterwards', () => {
    expect(elapsedMs(run, 11_000)).toBe(10_000);
    expect(elapsedMs({ ...run, state: 'finished', duration_ms: 42 }, 11_000)).toBe(42);
  });

  it('tell progress and what is left', () => {
    expect(progressOf(run, 11_000, null)).toEqual({ share: 0.25, n: 25, total: 100, leftMs: 30_000 });
    const bar = { n: 5, total: null, elapsed_s: 2, rate: null, remaining_s: null, at_ms: 10_000, ended: false };
    expect(progressOf({ ...run, progress: bar }, 11_000, null)).toEqual({ share: null, n: 5, total: null, leftMs: null });
    expect(progressOf({ ...run, state: 'failed' }, 11_000, 5)?.leftMs).toBeNull();
  });

  it('take over what the bar of the program says', () => {
    const bar = { n: 4, total: 20, elapsed_s: 4, rate: 0.5, remaining_s: 32, at_ms: 9_000, ended: false };
    const told = { ...run, progress: bar };

    expect(progressOf(told, 11_000, 99)).toEqual({ share: 0.2, n: 4, total: 20, leftMs: 32_000 });
    expect(barTimes(told, 11_000)).toEqual({ elapsedMs: 6_000, ageMs: 2_000 });
    expect(barTimes({ ...told, state: 'lost' }, 11_000)).toEqual({ elapsedMs: 4_000, ageMs: 2_000 });
    expect(barTimes({ ...told, progress: { ...bar, ended: true } }, 11_000)).toEqual({ elapsedMs: 4_000, ageMs: null });
  });

  it('survive a word they do not know', () => expect(stateLook('hibernating').tone).toBe('quiet'));
});
