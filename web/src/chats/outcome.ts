import { outcomeOf } from '../model/chats';
import { t } from '../state/prefs.svelte';

/** What became of a notice, in words; a newer server's own. */
export function outcomeText(outcome: string): string {
  const known = outcomeOf(outcome);
  return known ? t(`told.${known}`) : outcome;
}
