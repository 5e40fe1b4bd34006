import { troubleOf } from './trouble';

/** One line at the foot of the page after something was done, with the way back. */
export interface Said {
  text: string;
  undo: (() => Promise<void>) | null;
  bad: boolean;
}

const STAY_MS = 8000;

class Toast {
  said = $state.raw<Said | null>(null);
  #timer: ReturnType<typeof setTimeout> | undefined;

  say(text: string, undo: (() => Promise<void>) | null = null, bad = false): void {
    clearTimeout(this.#timer);
    this.said = { text, undo, bad };
    this.#timer = setTimeout(() => this.hide(), STAY_MS);
  }

  /** Do something that the server may refuse, and tell why if it does. Returns whether it was done. */
  async attempt(work: () => Promise<void>): Promise<boolean> {
    try {
      await work();
      return true;
    } catch (error) {
      this.say(troubleOf(error), null, true);
      return false;
    }
  }

  hide(): void {
    clearTimeout(this.#timer);
    this.said = null;
  }
}

export const toast = new Toast();
