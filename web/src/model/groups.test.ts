import { describe, expect, it } from 'vitest';
import { pickGroups } from './groups';

const groups = [{ prefix: 'grad', count: 1999 }, { prefix: '', count: 3 }, { prefix: 'train', count: 2 }, { prefix: 'a.b', count: 90_000 }];

describe('pickGroups', () => {
  it('loads the small groups at once and leaves the large ones closed', () => {
    const { pattern, closed } = pickGroups(groups, 2000);

    expect(closed.map((group) => group.prefix)).toEqual(['grad', 'a.b']);
    expect(['train/loss', 'lr', 'grad/x', 'trainer/y'].filter((name) => new RegExp(pattern!).test(name))).toEqual(['train/loss', 'lr']);
  });

  it('has no expression where nothing fits', () => {
    expect(pickGroups([{ prefix: 'x', count: 9 }], 5)).toEqual({ pattern: null, closed: [{ prefix: 'x', count: 9 }] });
  });
});
