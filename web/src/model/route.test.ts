import { describe, expect, it } from 'vitest';
import { PLAIN_VIEW, isCondition, parseRoute, projectPath, readView, runPath, runReference, writeView } from './route';

describe('routes', () => {
  it.each([
    ['', { name: 'projects' }],
    ['p/my%20digits', { name: 'project', project: 'my digits' }],
    ['r/k3f9xq2', { name: 'run', run: 'k3f9xq2', tab: 'charts' }],
    ['r/digits%2312/console/', { name: 'run', run: 'digits#12', tab: 'console' }],
    ['settings', { name: 'settings', tab: 'channels' }],
    ['settings/people', { name: 'settings', tab: 'people' }],
    ['settings/people/1', { name: 'unknown' }],
    ['r/x/nothing', { name: 'unknown' }],
    ['p/a/b', { name: 'unknown' }],
    ['else', { name: 'unknown' }],
  ])('%s', (path, route) => expect(parseRoute(path)).toEqual(route));

  it('are written as they are read', () => {
    expect(parseRoute(projectPath('a/b c'))).toEqual({ name: 'project', project: 'a/b c' });
    expect(parseRoute(runPath('digits#12', 'files'))).toEqual({ name: 'run', run: 'digits#12', tab: 'files' });
  });
});

describe('views', () => {
  it('come back from their address', () => {
    const view = { ...PLAIN_VIEW, x: 'epoch', smooth: 0.6, log: true, zoom: [1.5, 1e9] as [number, number], filter: 'gr.*', full: 'train/loss', validation: 'val' as const, ranks: 'slowest' as const, means: 'std' as const, bars: ['epoch/duration_s', 'a, b%'], digits: 2 };
    const search = new URLSearchParams(Object.entries(writeView(view)).filter((entry): entry is [string, string] => entry[1] !== null));

    expect(readView(search)).toEqual(view);
  });

  it('ignore nonsense', () => {
    expect(readView(new URLSearchParams('zoom=5~1&smooth=7&val=x&ranks=3&means=x&bars=,&digits=0.5'))).toEqual(PLAIN_VIEW);
    expect(Object.values(writeView(PLAIN_VIEW)).every((value) => value === null)).toBe(true);
  });
});

describe('what people type', () => {
  it.each([['config["lr"] < 1', true], ['"base" in tags', true], ['calm-heron', false], ['finished', false], ['where: x', true]])(
    'condition? %s', (text, yes) => expect(isCondition(text)).toBe(yes),
  );

  it.each([
    ['k3f9xq2', 'k3f9xq2'], [' digits#12 ', 'digits#12'], ['http://h:1/x/r/k3f9xq2/console?x=1', 'k3f9xq2'], ['two words', null], ['', null],
  ])('run? %s', (text, run) => expect(runReference(text)).toBe(run));
});
