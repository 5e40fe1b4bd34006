import { expect, test } from 'vitest';
import { tagChanges, tagsOf } from './tags';

const runs = [
  { id: 'one', tags: ['a', 'b'] },
  { id: 'two', tags: ['b', 'c'] },
];

test('tags of several runs are one list that says which of them not all have', () => {
  expect(tagsOf(runs)).toEqual({ tags: ['a', 'b', 'c'], some: { a: '1/2', c: '1/2' } });
});

test('a tag that only some have stays with them until it is removed or given to all', () => {
  expect(tagChanges(runs, ['a', 'b', 'c'], { a: '1/2', c: '1/2' })).toEqual([]);
  expect(tagChanges(runs, ['a', 'b', 'c'], { a: '1/2' })).toEqual([
    { run: 'one', patch: { tags: { add: ['c'], remove: [] } }, back: { tags: { add: [], remove: ['c'] } } },
  ]);
  expect(tagChanges(runs, ['b', 'd'])).toEqual([
    { run: 'one', patch: { tags: { add: ['d'], remove: ['a'] } }, back: { tags: { add: ['a'], remove: ['d'] } } },
    { run: 'two', patch: { tags: { add: ['d'], remove: ['c'] } }, back: { tags: { add: ['c'], remove: ['d'] } } },
  ]);
});
