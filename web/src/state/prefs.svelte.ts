import { LINES, type Theme } from '../model/colour';
import { formatAge, formatDuration, type Units } from '../model/numbers';
import type { AlertRow } from '../api/types';
import { chooseLanguage, loadWords, tongue, translate, type Language, type StringKey } from '../model/strings';

export type ThemeChoice = 'auto' | Theme;

interface Stored {
  theme: ThemeChoice;
  language: Language | null;
  tableWidth: number;
  tableHidden: boolean;
  columns: Record<string, string[]>;
}

const KEY = 'farwatch.prefs';

function load(): Partial<Stored> {
  try {
    return JSON.parse(localStorage.getItem(KEY) ?? '{}') as Partial<Stored>;
  } catch {
    return {};
  }
}

const dark = matchMedia('(prefers-color-scheme: dark)');

/** What a person chose on this machine: kept in the browser, never in the address. */
class Prefs {
  theme = $state<ThemeChoice>('auto');
  language = $state<Language>('en');
  tableWidth = $state(420);
  tableHidden = $state(false);
  columns = $state<Record<string, string[]>>({});
  #systemDark = $state(dark.matches);
  #languageChosen = false;

  constructor() {
    const stored = load();
    if (stored.theme === 'light' || stored.theme === 'dark') this.theme = stored.theme;
    this.#languageChosen = stored.language === 'en' || stored.language === 'zh';
    this.language = this.#languageChosen ? stored.language! : chooseLanguage(navigator.languages);
    if (typeof stored.tableWidth === 'number') this.tableWidth = stored.tableWidth;
    this.tableHidden = stored.tableHidden === true;
    this.columns = stored.columns ?? {};
    dark.addEventListener('change', () => (this.#systemDark = dark.matches));
    this.apply();
  }

  get shown(): Theme {
    return this.theme === 'auto' ? (this.#systemDark ? 'dark' : 'light') : this.theme;
  }

  setTheme(theme: ThemeChoice): void {
    this.theme = theme;
    this.save();
  }

  async setLanguage(language: Language): Promise<void> {
    await loadWords(language).catch(() => {}); // away: English until the next time
    this.language = language;
    this.#languageChosen = true;
    this.save();
  }

  apply(): void {
    const root = document.documentElement;
    if (this.theme === 'auto') delete root.dataset.theme;
    else root.dataset.theme = this.theme;
    root.lang = this.language === 'zh' ? 'zh-CN' : 'en';
  }

  save(): void {
    this.apply();
    const stored: Stored = {
      theme: this.theme,
      language: this.#languageChosen ? this.language : null,
      tableWidth: this.tableWidth,
      tableHidden: this.tableHidden,
      columns: $state.snapshot(this.columns),
    };
    try {
      localStorage.setItem(KEY, JSON.stringify(stored));
    } catch {
      // a browser that keeps nothing still shows everything
    }
  }
}

export const prefs = new Prefs();

export function t(key: StringKey, values?: Record<string, string | number>): string {
  return translate(prefs.language, key, values);
}

/** A sentence of the server in the language of the page, where that is known. */
export const said = (text: string): string => tongue(prefs.language).said(text);

export const alertTitle = (alert: AlertRow): string => tongue(prefs.language).alertTitle(alert) ?? alert.title;

/** A refusal: what it is about, where its sentence is known in English only. */
export function refusalText(code: string, message: string): string {
  const { problem, said: read } = tongue(prefs.language);
  const words = read(message);
  const about = words === message ? problem(code) : null;
  return about === null ? words : `${about}：${message}`;
}

const units = (): Units => [t('unit.s'), t('unit.min'), t('unit.h'), t('unit.d')];

/** How long, in the words of the language. */
export const duration = (ms: number): string => formatDuration(ms, units());
/** The same in one unit, for a narrow column. */
export const age = (ms: number): string => formatAge(ms, [t('unit.s'), t('unit.min1'), t('unit.h1'), t('unit.d')]);

/** Colours for a canvas, which cannot read variables: the lines in order, and the few tokens a chart needs. */
export interface Inks {
  lines: readonly string[];
  ink: string;
  ink2: string;
  hairline: string;
  bad: string;
  warn: string;
  paper: string;
  sans: string;
}

let cached: { theme: Theme; inks: Inks } | null = null;

export function inks(): Inks {
  const theme = prefs.shown;
  if (cached?.theme === theme) return cached.inks;
  const probe = document.body.appendChild(document.createElement('i'));
  const colour = (name: string): string => {
    probe.style.color = `var(--${name})`;
    return getComputedStyle(probe).color;
  };
  const read: Inks = {
    lines: LINES[theme],
    ink: colour('ink'),
    ink2: colour('ink-2'),
    hairline: colour('hairline'),
    bad: colour('bad'),
    warn: colour('warn'),
    paper: colour('paper'),
    sans: getComputedStyle(document.body).fontFamily,
  };
  probe.remove();
  cached = { theme, inks: read };
  return read;
}
