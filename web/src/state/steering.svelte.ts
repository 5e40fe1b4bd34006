import { getJson } from '../api/client';
import type { AlertRow, CommandRow, Json, RunRow } from '../api/types';
import { alertMarks, commandMarks, type Mark } from '../model/marks';
import { nameOf, whoOf } from '../steer/words';
import { alertTitle } from './prefs.svelte';
import { wishes } from './wishes.svelte';

const SHOWN = 200;

/** The alerts of a run, newest first; null while they cannot be asked for. */
export const alertsOf = (ref: string): Promise<AlertRow[] | null> => getJson('runs/{ref}/alerts', { ref, limit: SHOWN }).then((found) => found.alerts, () => null);

/** What was asked of one run, and what alerts it has: newest first. */
export class Steering {
  commands = $state.raw<CommandRow[]>([]);
  alerts = $state.raw<AlertRow[]>([]);
  /** Whether its commands have been asked for. */
  loaded = $state(false);
  /** Of all commands that the run ever got. */
  total = $state(0);
  readonly firing = $derived(this.alerts.filter((alert) => alert.state === 'firing'));
  /** The same list as long as nothing in it changes, so that charts stay as they are. */
  readonly marks: readonly Mark[] = $derived.by(() => this.#kept([...commandMarks(this.commands, nameOf, whoOf), ...alertMarks(this.alerts, alertTitle)]));
  #run: string;
  #marks: readonly Mark[] = [];
  #seenMs = -1;
  #loading = false;
  #again = false;

  /** `alerts`: those of the run; null if they are still to be asked for. */
  constructor(run: string, alerts: readonly AlertRow[] | null) {
    this.#run = run;
    if (alerts) this.alerts = [...alerts];
    else void this.#loadAlerts();
  }

  #kept(marks: Mark[]): readonly Mark[] {
    if (JSON.stringify(marks) !== JSON.stringify(this.#marks)) this.#marks = marks;
    return this.#marks;
  }

  /** Take a row of the run: it says when something last happened to a command. */
  take(row: Pick<RunRow, 'commands_ms'>): boolean {
    if (row.commands_ms === this.#seenMs) return false;
    this.#seenMs = row.commands_ms;
    void this.load();
    return true;
  }

  takeAlerts(rows: readonly AlertRow[]): void {
    const mine = new Map(rows.filter((alert) => alert.run === this.#run).map((alert) => [alert.id, alert]));
    if (!mine.size) return;
    const known = new Set(this.alerts.map((alert) => alert.id));
    const later = (was: AlertRow, now: AlertRow | undefined): AlertRow => (now && now.modified_ms >= was.modified_ms ? now : was);
    this.alerts = [...[...mine.values()].filter((alert) => !known.has(alert.id)), ...this.alerts.map((alert) => later(alert, mine.get(alert.id)))].sort((a, b) => b.id - a.id);
  }

  async load(): Promise<void> {
    if (this.#loading) {
      this.#again = true;
      return;
    }
    this.#loading = true;
    try {
      const { commands, total } = await getJson('runs/{ref}/commands', { ref: this.#run, limit: SHOWN });
      this.commands = commands;
      this.total = total;
    } catch {
      this.#seenMs = -1; // asked for again with the next row
    }
    this.#loading = false;
    this.loaded = true;
    if (this.#again) {
      this.#again = false;
      await this.load();
    }
  }

  async #loadAlerts(): Promise<void> {
    const found = await alertsOf(this.#run);
    if (!found) return;
    const newer = this.alerts;
    this.alerts = found;
    this.takeAlerts(newer.filter((alert) => !found.some((other) => other.id === alert.id && other.modified_ms >= alert.modified_ms)));
  }

  /** Ask something of the run; null if the person thought better of it. Throws `ApiError` with the reason of a refusal. */
  async ask(op: string, args: { [key: string]: Json } = {}, text = op, confirmed = false): Promise<CommandRow | null> {
    const row = await wishes.send(wishes.make(this.#run, op, args, text), confirmed);
    if (row && !this.commands.some((known) => known.id === row.id)) this.commands = [row, ...this.commands];
    return row;
  }
}
