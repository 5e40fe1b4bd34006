import { CHATS, type ChatKey } from '../model/strings.chats';
import { CHATS_ZH } from '../model/strings.chats.zh';
import { fill } from '../model/strings';
import { prefs, said } from '../state/prefs.svelte';
import { KINDS_ZH } from './kinds.zh';

/** A text of the settings, which come with their words in both languages. */
export function c(key: ChatKey, values: Record<string, string | number> = {}): string {
  return fill((prefs.language === 'zh' ? CHATS_ZH : CHATS)[key], values);
}

/** A step, a field or a sentence of a service; the server's own where there is no translation. */
export function kindText(english: string): string {
  return prefs.language === 'zh' ? (KINDS_ZH[english] ?? said(english)) : english;
}
