/** The server's clock, as far as this page knows it; `now` moves once a second. */
class Clock {
  now = $state(Date.now());
  #offset = 0;

  constructor() {
    setInterval(() => {
      if (document.visibilityState === 'visible') this.now = this.exact();
    }, 1000);
    document.addEventListener('visibilitychange', () => (this.now = this.exact()));
  }

  exact(): number {
    return Date.now() + this.#offset;
  }

  /** Learn from an answer. Only large differences count, so that ages do not jitter with the network. */
  set(serverMs: number): void {
    const offset = serverMs - Date.now();
    if (Math.abs(offset - this.#offset) > 2000 || (this.#offset === 0 && Math.abs(offset) > 500)) this.#offset = offset;
  }
}

export const clock = new Clock();
