import { prefs, t } from '../state/prefs.svelte';
import type { StringKey } from '../model/strings';
import { RULES_ZH } from './rules.zh';

/** Names of the rules as they come; what a newer server adds is shown as it says it. */
const TITLES = ['nan', 'failed', 'out_of_memory', 'lost', 'stalled', 'disk_full', 'spike', 'plateau', 'overfitting', 'slow_step', 'idle_gpu', 'program'];

export function ruleTitle(name: string): string {
  return TITLES.includes(name) ? t(`rule.${name}` as StringKey) : name;
}

/** A sentence about a rule or its threshold; the server's own where there is no translation. */
export function ruleText(english: string): string {
  return prefs.language === 'zh' ? (RULES_ZH[english] ?? english) : english;
}
