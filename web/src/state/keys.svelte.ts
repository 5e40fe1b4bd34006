import { router } from './router.svelte';

/** What keys do on the page that is shown; a view says what it can. */
export interface Keys {
  run?: (by: 1 | -1) => void;
  toggle?: () => void;
  open?: () => void;
  table?: () => void;
  chart?: (by: 1 | -1) => void;
  full?: () => void;
  log?: () => void;
  smooth?: () => void;
}

let actions: Keys = {};
let help: () => void = () => {};

export function setKeys(keys: Keys): () => void {
  actions = keys;
  return () => {
    if (actions === keys) actions = {};
  };
}

export function setHelp(show: () => void): void {
  help = show;
}

const typing = (target: EventTarget | null): boolean =>
  target instanceof HTMLElement && (target.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName)) && !(target instanceof HTMLInputElement && /^(checkbox|range|radio)$/.test(target.type));

export function onKey(event: KeyboardEvent): void {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (typing(event.target)) {
    // the browser empties a search field first; the second time leaves it
    if (event.key === 'Escape' && !(event.target instanceof HTMLInputElement && event.target.value)) (event.target as HTMLElement).blur();
    return;
  }
  const work: Record<string, (() => void) | undefined> = {
    '/': () => {
      const fields = [...document.querySelectorAll<HTMLElement>('[data-find]')].filter((field) => field.offsetParent);
      (fields.find((field) => field.dataset.find === 'first') ?? fields[0])?.focus();
    },
    j: actions.run && (() => actions.run?.(1)),
    k: actions.run && (() => actions.run?.(-1)),
    x: actions.toggle,
    Enter: event.target === document.body ? actions.open : undefined,
    t: actions.table,
    '[': actions.chart && (() => actions.chart?.(-1)),
    ']': actions.chart && (() => actions.chart?.(1)),
    f: actions.full,
    l: actions.log,
    s: actions.smooth,
    a: () => router.go('alerts'),
    ',': () => router.go('settings'),
    '.': () => document.querySelector<HTMLElement>('[role=toolbar] button:not(:disabled)')?.focus(),
    '?': help,
  };
  const action = work[event.key];
  if (!action) return;
  event.preventDefault();
  action();
}
