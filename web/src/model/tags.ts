/** Tags of several runs, edited as one list. */

import type { RunChange } from '../api/types';

interface Tagged {
  id: string;
  tags: string[];
}

/** One run's change and what takes it back. */
export interface Change {
  run: string;
  patch: RunChange;
  back: RunChange;
}

/** All tags in the order they are met, and for those that not every run has, of how many: `2/5`. */
export function tagsOf(runs: readonly Tagged[]): { tags: string[]; some: Record<string, string> } {
  const counts = new Map<string, number>();
  for (const run of runs) for (const tag of run.tags) counts.set(tag, (counts.get(tag) ?? 0) + 1);
  const some = [...counts].filter(([, count]) => count < runs.length).map(([tag, count]) => [tag, `${count}/${runs.length}`] as const);
  return { tags: [...counts.keys()], some: Object.fromEntries(some) };
}

/** What each run has to change so that it has `tags`, where those in `some` stay as they are; runs that need nothing are left out. */
export function tagChanges(runs: readonly Tagged[], tags: readonly string[], some: Record<string, string> = {}): Change[] {
  return runs.flatMap((run) => {
    const add = tags.filter((tag) => !run.tags.includes(tag) && !Object.hasOwn(some, tag));
    const remove = run.tags.filter((tag) => !tags.includes(tag));
    if (!add.length && !remove.length) return [];
    return [{ run: run.id, patch: { tags: { add, remove } }, back: { tags: { add: remove, remove: add } } }];
  });
}
