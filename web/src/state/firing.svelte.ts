import { getJson } from '../api/client';
import { live } from './live.svelte';

const LOOK_MS = 15_000;

/** How many alerts of the whole server need somebody; a page that listens to one run still says so, a little later. */
class Firing {
  count = $state(0);
  #timer: ReturnType<typeof setTimeout> | undefined;

  start(): void {
    live.listen(({ answer, missed }) => {
      if (answer.alerts.length || answer.reset || missed) this.look(200);
    });
    document.addEventListener('visibilitychange', () => this.look());
    this.look();
  }

  /** Ask now, or in a moment. */
  look(inMs = 0): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => void this.#ask(), inMs);
  }

  async #ask(): Promise<void> {
    if (document.visibilityState === 'visible') {
      const found = await getJson('alerts', { state: 'firing', limit: 1 }).catch(() => null);
      if (found) this.count = found.firing;
    }
    this.look(LOOK_MS);
  }
}

export const firing = new Firing();
