import { getJson } from '../api/client';
import type { AlertRow, CommandRow } from '../api/types';
import { alertMarks, commandMarks, type Mark } from '../model/marks';
import { nameOf, whoOf } from '../steer/words';
import type { ShownRun } from './charts.svelte';
import { live } from './live.svelte';
import { alertTitle } from './prefs.svelte';

const RUNS = 20; // of more runs, marks would cover the curves
const EACH = 50; // commands of a run, the newest
const ALERTS = 200;

/** What happened to the runs of a project's charts: commands of each, asked for when it has new ones, and alerts of all. */
export class ProjectMarks {
  #commands = $state.raw<ReadonlyMap<string, readonly CommandRow[]>>(new Map());
  #alerts = $state.raw<readonly AlertRow[]>([]);
  #project: string;
  /** When something last happened to a command of a run, as far as that is here. */
  #seen = new Map<string, number>();
  /** The same list as long as nothing in it changes, so that charts stay as they are. */
  #kept: readonly Mark[] = [];
  #stop: () => void;

  constructor(project: string) {
    this.#project = project;
    this.#stop = live.listen(({ answer, missed }) => {
      if (answer.reset || missed) void this.#loadAlerts();
      else if (answer.alerts.length) this.#take(answer.alerts.filter((alert) => alert.project === project));
    });
    void this.#loadAlerts();
  }

  close(): void {
    this.#stop();
  }

  /** Look at the rows of the runs that are drawn. */
  look(rows: readonly { id: string; commands_ms: number }[]): void {
    for (const { id, commands_ms } of rows.slice(0, RUNS)) {
      if (this.#seen.get(id) === commands_ms) continue;
      this.#seen.set(id, commands_ms);
      void this.#load(id);
    }
  }

  /** Marks of the drawn runs; beside others, a mark says whose it is, and a command has its run's colour. */
  of(shown: readonly ShownRun[]): readonly Mark[] {
    const marks = this.#of(shown);
    if (JSON.stringify(marks) !== JSON.stringify(this.#kept)) this.#kept = marks;
    return this.#kept;
  }

  #of(shown: readonly ShownRun[]): Mark[] {
    return shown.slice(0, RUNS).flatMap((run) => {
      const alerts = this.#alerts.filter((alert) => alert.run === run.id);
      const marks = [...commandMarks(this.#commands.get(run.id) ?? [], nameOf, whoOf), ...alertMarks(alerts, alertTitle)];
      return shown.length === 1 ? marks : marks.map((mark) => ({ ...mark, words: `${run.name}: ${mark.words}`, colour: run.colour }));
    });
  }

  async #load(id: string): Promise<void> {
    const found = await getJson('runs/{ref}/commands', { ref: id, limit: EACH }).catch(() => null);
    if (found) this.#commands = new Map(this.#commands).set(id, found.commands);
    else this.#seen.delete(id); // asked for again with the next row
  }

  async #loadAlerts(): Promise<void> {
    const found = await getJson('alerts', { project: this.#project, limit: ALERTS }).catch(() => null);
    if (found) this.#take(found.alerts);
  }

  #take(rows: readonly AlertRow[]): void {
    const known = new Map(this.#alerts.map((row) => [row.id, row]));
    for (const row of rows) if ((known.get(row.id)?.modified_ms ?? 0) <= row.modified_ms) known.set(row.id, row);
    this.#alerts = [...known.values()];
  }
}
