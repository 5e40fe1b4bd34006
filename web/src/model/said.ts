/**
 * Sentences of the server in another language. Where the API tells a rule, a state or a code, words are made of that; these are the
 * rest: reasons and refusals that come as sentences of a closed list. `{}` stands for what changes, `{state}` for a state of a run,
 * `{step}` for `step 41,000`. What is not in the list is shown as the server says it.
 */
export type SaidList = readonly (readonly [said: string, means: string])[];

interface Pattern {
  said: RegExp;
  means: string;
  /** Whether a part is the name of a state, which has a word of its own. */
  states: boolean[];
}

/** A place for what changes. */
export const PLACE = /\{(\w*)\}/g;

function patternOf([said, means]: SaidList[number]): Pattern {
  const kinds = [...said.matchAll(PLACE)].map((match) => match[1]);
  const fixed = said.split(/\{\w*\}/).map((part) => part.replace(/[.*+?^${}()|[\]\\]/g, '\\$&'));
  const pattern = fixed.map((part, place) => (place ? (kinds[place - 1] === 'step' ? 'step (.+?)' : '(.+?)') : '') + part).join('');
  return { said: new RegExp(`^${pattern}$`, 's'), means, states: kinds.map((kind) => kind === 'state') };
}

/** A reader of one list. `state`: the word for a state; `{0}` in a meaning is the first part that changes. */
export function readerOf(list: SaidList, state: (name: string) => string): (text: string) => string {
  let patterns: Pattern[] | null = null;
  return (text) => {
    patterns ??= list.map(patternOf);
    for (const { said, means, states } of patterns) {
      const found = said.exec(text);
      if (found) return means.replace(/\{(\d)\}/g, (_, place: string) => (states[+place] ? state(found[+place + 1]!) : found[+place + 1]!));
    }
    return text;
  };
}
