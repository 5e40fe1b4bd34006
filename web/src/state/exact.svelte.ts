import { getJson } from '../api/client';
import type { Json, ListedRun } from '../api/types';
import { exactText } from '../model/moments';

const WAIT_MS = 60; // a pointer on its way elsewhere asks nothing
const ROUNDING = 5.1e-5; // of a number: the list has five significant digits

/** Cells with all that they hold, for who points at a run: the list is rounded and cut, and one small request has the whole of one row. */
class Exact {
  #cells = $state.raw<Record<string, Record<string, Json>>>({});
  #asked = new Map<string, string>();
  #next: string | null = null;
  #timer: ReturnType<typeof setTimeout> | undefined;

  /** The whole of a cell that shows `shown`; null while that is not known. */
  of(run: ListedRun, column: string, shown: Json | undefined): string | null {
    if (shown === null || shown === undefined || shown === '') return null;
    const whole = this.#cells[run.id]?.[column];
    if (typeof shown !== 'number') return exactText(whole ?? shown);
    // of a run that goes on, what is known may be of a moment ago
    return typeof whole === 'number' && Math.abs(whole - shown) <= ROUNDING * Math.abs(whole) ? String(whole) : null;
  }

  /** Ask for a row, once for each state of it. */
  want(run: ListedRun, columns: readonly string[]): void {
    const state = `${run.modified_ms} ${columns.join(',')}`;
    if (!columns.length || this.#asked.get(run.id) === state || this.#next === `${run.id} ${state}`) return;
    this.#next = `${run.id} ${state}`;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.#next = null;
      this.#asked.set(run.id, state);
      void this.#load(run.id, columns).catch(() => this.#asked.delete(run.id));
    }, WAIT_MS);
  }

  async #load(id: string, columns: readonly string[]): Promise<void> {
    const { runs, columns: names } = await getJson('runs', { where: `id == ${JSON.stringify(id)}`, columns: columns.join(','), archived: true, exact: true, limit: 1 });
    const cells = runs[0]?.cells ?? [];
    this.#cells = { ...this.#cells, [id]: Object.fromEntries(names.map((name, k) => [name, cells[k] ?? null])) };
  }
}

export const exact = new Exact();
