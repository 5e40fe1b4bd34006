import type { Json, Tree } from '../api/types';
import { exactText, formatMoment, momentText } from './moments';

export interface Leaf {
  path: string;
  value: Json;
}

/** Every value of a nested mapping with its path, in the order it was written. */
export function leavesOf(tree: Tree, prefix = ''): Leaf[] {
  return Object.entries(tree).flatMap(([key, value]) => {
    const path = prefix ? `${prefix}/${key}` : key;
    const inner = isTree(value) && Object.keys(value).length > 0 && momentText(value) === null;
    return inner ? leavesOf(value, path) : [{ path, value }];
  });
}

export function isTree(value: Json): value is Tree {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

export function showValue(value: Json): string {
  return formatMoment(value) ?? exactText(value);
}

/** Leaves whose path or value holds every word of `text`. */
export function findLeaves(leaves: readonly Leaf[], text: string): Leaf[] {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  if (!words.length) return [...leaves];
  return leaves.filter((leaf) => {
    const hay = `${leaf.path} ${showValue(leaf.value)} ${momentText(leaf.value) ?? ''}`.toLowerCase();
    return words.every((word) => hay.includes(word));
  });
}

export interface Branch {
  name: string;
  leaves: Leaf[];
}

/** Leaves by the first part of their path; what has none comes first, unnamed. */
export function branchesOf(leaves: readonly Leaf[]): Branch[] {
  const branches = new Map<string, Leaf[]>([['', []]]);
  for (const leaf of leaves) {
    const slash = leaf.path.indexOf('/');
    const name = slash > 0 ? leaf.path.slice(0, slash) : '';
    branches.set(name, [...(branches.get(name) ?? []), { path: slash > 0 ? leaf.path.slice(slash + 1) : leaf.path, value: leaf.value }]);
  }
  return [...branches].map(([name, members]) => ({ name, leaves: members })).filter((branch) => branch.leaves.length);
}
