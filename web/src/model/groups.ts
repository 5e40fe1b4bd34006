export interface Group {
  prefix: string;
  count: number;
}

const PATTERN_MAX = 440; // the server takes 500

/**
 * Which groups of names to load at once: the smallest first, while they fit into `limit` names and one expression.
 * Answers the expression (null: nothing fits) and what stays closed, as the server ordered it.
 */
export function pickGroups(groups: readonly Group[], limit: number): { pattern: string | null; closed: Group[] } {
  const chosen = new Set<string>();
  const words: string[] = [];
  let count = 0;
  let length = 0;
  for (const { prefix, count: size } of [...groups].sort((a, b) => a.count - b.count)) {
    const word = prefix === '' ? '[^/]+$' : `${prefix.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')}/`;
    if (count + size > limit || length + word.length > PATTERN_MAX) continue;
    chosen.add(prefix);
    words.push(word);
    count += size;
    length += word.length + 1;
  }
  return { pattern: words.length ? `^(?:${words.join('|')})` : null, closed: groups.filter((group) => !chosen.has(group.prefix)) };
}
