import { ApiError, postJson } from './client';
import type { LiveAnswer, LiveRequest } from './types';

/** What one tab wants to hear about. */
export type Interest = Required<Pick<LiveRequest, 'project' | 'runs' | 'series' | 'console'>>;

/**
 * One long poll for all tabs of this browser. Tabs elect a leader by a lock; the leader asks for what all of them want
 * and passes the answers on. Where the browser has no locks (plain http from afar), each tab asks for itself.
 */

/** An answer with what it was asked with, so that readers can tell whether they missed something before it. */
export interface LiveEvent {
  answer: LiveAnswer;
  /** Cursor of the question. */
  since: string | null;
  /** `run\nname` of every series that the question named. */
  series: string[];
  /** What else the question named. */
  asked: Omit<Interest, 'series'>;
  /** Whether something that this tab wants may have happened before this answer without being told; of series a reader sees for itself. */
  missed: boolean;
}

export type LiveStatus = { state: 'connecting' | 'live' | 'offline'; message: string | null };

type Message =
  | { kind: 'want'; tab: string; interest: Interest }
  | { kind: 'gone'; tab: string }
  | { kind: 'who' }
  | { kind: 'event'; event: LiveEvent }
  | { kind: 'status'; status: LiveStatus };

const WAIT_S = 20;
const SILENCE_MS = 45_000; // a leader answers at least every WAIT_S; one that does not is frozen and is replaced
const NOTHING: Interest = { project: null, runs: [], series: [], console: [] };

/** All that several readers want, once. */
export function union(interests: Iterable<Interest>): Interest {
  const runs = new Set<string>();
  const console = new Set<string>();
  const projects = new Set<string>();
  const series = new Map<string, { run: string; name: string }>();
  for (const interest of interests) {
    if (interest.project !== null) projects.add(interest.project);
    interest.runs.forEach((run) => runs.add(run));
    interest.console.forEach((run) => console.add(run));
    interest.series.forEach((one) => series.set(`${one.run}\n${one.name}`, one));
  }
  return { project: projects.size > 1 ? '*' : ([...projects][0] ?? null), runs: [...runs], series: [...series.values()], console: [...console] };
}

/** Whether an answer may have passed over something that is wanted: it was asked without it, or it is the first and only says where the server is. */
export function passedOver({ since, asked }: Pick<LiveEvent, 'since' | 'asked'>, wanted: Interest): boolean {
  if (since === null) return true;
  if (wanted.project !== null && asked.project !== '*' && asked.project !== wanted.project) return true;
  return wanted.runs.some((run) => !asked.runs.includes(run)) || wanted.console.some((run) => !asked.console.includes(run));
}

/** Commit number of a cursor (`epoch:seq` or `epoch:seq.n`). */
export function seqOf(cursor: string): number {
  return Number.parseInt(cursor.slice(cursor.lastIndexOf(':') + 1), 10);
}

/** How long to wait before the n-th attempt: doubles from 0.4 s to 8 s, with jitter, so that tabs do not march in step. */
export function backoffMs(failures: number, random = Math.random()): number {
  return Math.min(8000, 400 * 2 ** Math.min(failures, 10)) * (0.6 + 0.4 * random);
}

export class Live {
  #tab = Math.random().toString(36).slice(2);
  #wants = new Map<string, Interest>();
  #others = new Map<string, Interest>();
  #listeners = new Set<(event: LiveEvent) => void>();
  #onStatus: (status: LiveStatus) => void;
  #channel: BroadcastChannel | null = null;
  #leading = false;
  #cursor: string | null = null;
  #abort: AbortController | null = null;
  #asked = '';
  #timer: ReturnType<typeof setTimeout> | undefined;
  #heard = Date.now();
  #wake: (() => void) | null = null;

  constructor(onStatus: (status: LiveStatus) => void) {
    this.#onStatus = onStatus;
  }

  start(): void {
    const name = `farwatch-live ${document.baseURI}`;
    if (!('locks' in navigator) || typeof BroadcastChannel === 'undefined') {
      void this.#lead();
      return;
    }
    this.#channel = new BroadcastChannel(name);
    this.#channel.onmessage = ({ data }: MessageEvent<Message>) => this.#hear(data);
    addEventListener('pagehide', () => this.#say({ kind: 'gone', tab: this.#tab }));
    const follow = (steal: boolean): void => {
      navigator.locks.request(name, { steal }, () => this.#lead()).catch(() => {
        this.#leading = false; // somebody took over while this tab was frozen: follow again
        this.#abort?.abort();
        follow(false);
      });
    };
    follow(false);
    setInterval(() => {
      if (!this.#leading && document.visibilityState === 'visible' && Date.now() - this.#heard > SILENCE_MS) {
        this.#heard = Date.now();
        follow(true);
      }
    }, 5000);
  }

  /** Say what `owner` wants from now on; null for nothing more. */
  want(owner: string, interest: Interest | null): void {
    if (interest) this.#wants.set(owner, interest);
    else this.#wants.delete(owner);
    clearTimeout(this.#timer);
    // changes come in bursts while charts scroll in: ask once for all of them
    this.#timer = setTimeout(() => this.#changed(), 30);
  }

  listen(listener: (event: LiveEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Try at once, for instance because the browser is back on its network. */
  retry(): void {
    this.#wake?.();
  }

  #changed(): void {
    const interest = union(this.#wants.values());
    if (!this.#leading) this.#say({ kind: 'want', tab: this.#tab, interest });
    else if (JSON.stringify(this.#all()) !== this.#asked) this.#abort?.abort();
  }

  #all(): Interest {
    return union([...this.#wants.values(), ...this.#others.values()]);
  }

  #say(message: Message): void {
    this.#channel?.postMessage(message);
  }

  #hear(message: Message): void {
    this.#heard = Date.now();
    if (message.kind === 'event' && !this.#leading) this.#tell(message.event);
    else if (message.kind === 'status' && !this.#leading) this.#onStatus(message.status);
    else if (message.kind === 'who' && !this.#leading) this.#changed();
    else if (message.kind === 'want') {
      this.#others.set(message.tab, message.interest);
      if (this.#leading) this.#changed();
    } else if (message.kind === 'gone') this.#others.delete(message.tab);
  }

  #tell(event: LiveEvent): void {
    const told = { ...event, missed: passedOver(event, union(this.#wants.values())) };
    for (const listener of this.#listeners) listener(told);
  }

  #status(status: LiveStatus): void {
    this.#onStatus(status);
    this.#say({ kind: 'status', status });
  }

  async #lead(): Promise<void> {
    this.#leading = true;
    this.#others.clear();
    this.#say({ kind: 'who' });
    let failures = 0;
    while (this.#leading) {
      const interest = this.#all();
      this.#asked = JSON.stringify(interest);
      const since = this.#cursor;
      this.#abort = new AbortController();
      try {
        const body = { ...NOTHING, ...interest, cursor: since, wait_s: since === null ? 0 : WAIT_S };
        const answer = await postJson('live', {}, body, this.#abort.signal);
        this.#cursor = answer.cursor;
        if (failures || since === null) this.#status({ state: 'live', message: null });
        failures = 0;
        const { series, ...asked } = interest;
        const event = { answer, since, series: series.map((one) => `${one.run}\n${one.name}`), asked, missed: false };
        this.#tell(event);
        this.#say({ kind: 'event', event });
      } catch (error) {
        if (this.#abort.signal.aborted) continue;
        failures += 1;
        this.#status({ state: 'offline', message: error instanceof ApiError ? error.message : String(error) });
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
          setTimeout(resolve, backoffMs(failures));
        });
        this.#wake = null;
      }
    }
  }
}
