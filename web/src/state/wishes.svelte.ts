import { ApiError, postJson } from '../api/client';
import type { CommandRow, Json } from '../api/types';
import { wishId } from '../model/steer';
import { said } from './prefs.svelte';

/** What somebody asks of a run. Its id is made with the wish, so sending it again does nothing twice. */
export interface Wish {
  id: string;
  run: string;
  op: string;
  args: { [key: string]: Json };
  /** As it stands on the button or in the form. */
  text: string;
}

export interface Question {
  message: string;
  /** What the button says that means it. */
  yes: string;
  answer: (yes: boolean) => void;
}

const TRIES = 4;

/** Wishes on their way to the server, and the questions that it asks back. One for the page. */
class Wishes {
  question = $state.raw<Question | null>(null);

  make(run: string, op: string, args: { [key: string]: Json } = {}, text = ''): Wish {
    return { id: wishId(), run, op, args, text };
  }

  /** Send a wish; null if somebody was asked back and said no. Throws `ApiError` with the server's reason. */
  send(wish: Wish, confirmed = false): Promise<CommandRow | null> {
    const { id, op, args, text } = wish;
    return this.insist(wish.text, (confirm) => postJson('runs/{ref}/commands', { ref: wish.run }, { id, op, args, text, channel: 'page', ...(confirm ? { confirm } : {}) }), confirmed);
  }

  /** Do something that needs a confirmation, perhaps: ask, and say the same again with it. The answer may be lost on its way, so it is sent again. */
  async insist<T>(yes: string, work: (confirm: boolean) => Promise<T>, confirmed = false): Promise<T | null> {
    let confirm = confirmed;
    for (let tries = 1; ; tries += 1) {
      try {
        return await work(confirm);
      } catch (error) {
        if (!(error instanceof ApiError)) throw error;
        if (error.code === 'needs-confirmation' && !confirm) {
          confirm = await new Promise<boolean>((answer) => (this.question = { message: said(error.message), yes, answer }));
          this.question = null;
          if (!confirm) return null;
        } else if (error.status === 0 && tries < TRIES) await new Promise((resolve) => setTimeout(resolve, 300 * 2 ** tries));
        else throw error;
      }
    }
  }
}

export const wishes = new Wishes();
