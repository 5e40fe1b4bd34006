import { getJson } from '../api/client';
import type { MetricInfo, MetricList } from '../api/types';
import { pickGroups, type Group } from '../model/groups';

const FIRST = 1000;
const MOST = 2000;

/**
 * The metrics of a run. Thousands of names come by group: small groups at once, so that losses are never behind a
 * thousand gradients; large ones when somebody opens them or searches.
 */
export class RunMetrics {
  list = $state.raw<MetricInfo[]>([]);
  closed = $state.raw<Group[]>([]);
  /** Names that the server found for the present filter in groups that are not here. */
  found = $state.raw<string[]>([]);
  #id: string;
  #opened = new Set<string>();
  #search = '';

  constructor(id: string) {
    this.#id = id;
  }

  async load(): Promise<void> {
    const first = await this.#ask(null, FIRST);
    if (first.metrics.length >= first.total) {
      this.list = first.metrics;
      this.closed = [];
      return;
    }
    const { pattern, closed } = pickGroups(first.groups, MOST);
    const rest = pattern === null ? first : await this.#ask(pattern, MOST);
    this.list = rest.metrics;
    this.closed = closed;
    await Promise.all(closed.filter((group) => this.#opened.has(group.prefix)).map((group) => this.open(group.prefix)));
  }

  async open(prefix: string): Promise<void> {
    this.#opened.add(prefix);
    const { metrics } = await this.#ask(`^${escapePattern(prefix)}/`, MOST);
    const known = new Set(this.list.map((metric) => metric.name));
    this.list = [...this.list, ...metrics.filter((metric) => !known.has(metric.name))];
    this.closed = this.closed.filter((group) => group.prefix !== prefix);
  }

  /** Look for names in what is not here. An expression that the server refuses finds nothing more. */
  async search(text: string): Promise<void> {
    this.#search = text;
    if (!text || !this.closed.length) {
      this.found = [];
      return;
    }
    const answer = await this.#ask(`(?i)${text}`, 500).catch(() => null);
    if (text === this.#search) this.found = answer?.metrics.map((metric) => metric.name) ?? [];
  }

  #ask(match: string | null, limit: number): Promise<MetricList> {
    return getJson('runs/{ref}/metrics', { ref: this.#id, match, limit });
  }
}

function escapePattern(text: string): string {
  return text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
}
