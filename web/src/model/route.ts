/** Addresses of the page, relative to its base: `` projects, `p/<project>`, `r/<run>[/<tab>]`; the view is in the query. */

export const TABS = ['charts', 'samples', 'console', 'system', 'config', 'files', 'history'] as const;
export type Tab = (typeof TABS)[number];

/** Tabs of the alerts page. */
export const ALERT_TABS = ['firing', 'resolved', 'rules'] as const;
export type AlertTab = (typeof ALERT_TABS)[number];

/** Tabs of the settings. */
export const SETTINGS_TABS = ['channels', 'people', 'deliveries', 'server'] as const;
export type SettingsTab = (typeof SETTINGS_TABS)[number];

export type Route =
  | { name: 'projects' }
  | { name: 'project'; project: string }
  | { name: 'run'; run: string; tab: Tab }
  | { name: 'alerts'; tab: AlertTab }
  | { name: 'launch' }
  | { name: 'settings'; tab: SettingsTab }
  | { name: 'unknown' };

export function parseRoute(path: string): Route {
  const [kind = '', id = '', tab = '', ...rest] = path.replace(/^\/+|\/+$/g, '').split('/');
  const decoded = decode(id);
  if (kind === '') return { name: 'projects' };
  if (kind === 'p' && decoded && !tab) return { name: 'project', project: decoded };
  const alerts = ALERT_TABS.find((candidate) => candidate === (id || 'firing'));
  if (kind === 'alerts' && alerts && !tab) return { name: 'alerts', tab: alerts };
  if (kind === 'launch' && !id) return { name: 'launch' };
  const settings = SETTINGS_TABS.find((candidate) => candidate === (id || 'channels'));
  if (kind === 'settings' && settings && !tab) return { name: 'settings', tab: settings };
  const known = TABS.find((candidate) => candidate === (tab || 'charts'));
  if (kind === 'r' && decoded && known && !rest.length) return { name: 'run', run: decoded, tab: known };
  return { name: 'unknown' };
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

export const projectPath = (project: string): string => `p/${encodeURIComponent(project)}`;
export const runPath = (run: string, tab: Tab = 'charts'): string =>
  `r/${encodeURIComponent(run)}${tab === 'charts' ? '' : `/${tab}`}`;

/** Which processes of a distributed run are drawn: rank 0, the mean of all with its band, each, or the one that is behind. */
export const RANKS = ['0', 'mean', 'all', 'slowest'] as const;
export type Ranks = (typeof RANKS)[number];

/** How runs of one group are drawn: each, or as their mean with the least and greatest or the standard deviation. */
export const MEANS = ['each', 'minmax', 'std'] as const;
export type Means = (typeof MEANS)[number];

export const DIGITS = [1, 2, 3, 4, 5, 6] as const;

/** How charts are looked at; everything here stands in the address. */
export interface ChartView {
  x: string;
  smooth: number;
  log: boolean;
  zoom: [number, number] | null;
  filter: string;
  /** Metric drawn alone over the whole page. */
  full: string | null;
  validation: 'both' | 'train' | 'val';
  ranks: Ranks;
  means: Means;
  /** Charts (by key) that are drawn as bars, and to how many digits their labels are rounded. */
  bars: string[];
  digits: number;
}

export const PLAIN_VIEW: ChartView = { x: 'step', smooth: 0, log: false, zoom: null, filter: '', full: null, validation: 'both', ranks: '0', means: 'each', bars: [], digits: 3 };

export function readView(search: URLSearchParams): ChartView {
  const [low, high] = (search.get('zoom') ?? '').split('~').map(Number);
  const strength = Number(search.get('smooth') ?? 0);
  const validation = search.get('val');
  return {
    x: search.get('x') || 'step',
    smooth: strength > 0 && strength < 1 ? strength : 0,
    log: search.get('log') === '1',
    zoom: low !== undefined && high !== undefined && high > low ? [low, high] : null,
    filter: search.get('filter') ?? '',
    full: search.get('full'),
    validation: validation === 'train' || validation === 'val' ? validation : 'both',
    ranks: RANKS.find((ranks) => ranks === search.get('ranks')) ?? '0',
    means: MEANS.find((means) => means === search.get('means')) ?? 'each',
    bars: (search.get('bars') ?? '').split(',').filter(Boolean).map(decode),
    digits: DIGITS.find((digits) => String(digits) === search.get('digits')) ?? PLAIN_VIEW.digits,
  };
}

/** The query of a view: only what differs from the plain one. */
export function writeView(view: ChartView): Record<string, string | null> {
  return {
    x: view.x === 'step' ? null : view.x,
    smooth: view.smooth > 0 ? String(view.smooth) : null,
    log: view.log ? '1' : null,
    zoom: view.zoom ? view.zoom.map((place) => Number(place.toPrecision(9))).join('~') : null,
    filter: view.filter || null,
    full: view.full,
    val: view.validation === 'both' ? null : view.validation,
    ranks: view.ranks === '0' ? null : view.ranks,
    means: view.means === 'each' ? null : view.means,
    bars: view.bars.map((key) => encodeURIComponent(key).replaceAll('%2F', '/')).join(',') || null,
    digits: view.digits === PLAIN_VIEW.digits ? null : String(view.digits),
  };
}

/** Whether a search text is a condition (`config["lr"] < 1e-3`) and not a word to find. */
export function isCondition(text: string): boolean {
  return /^where:/.test(text) || /(==|!=|<=|>=|<|>|=~|\bin\b\s*[[(a-z"']|\bnot\b\s|\b(and|or)\b\s)/.test(text);
}

/** What people type or paste to open a run: an id, its 7 letters, `digits#12`, or an address with `/r/…`. */
export function runReference(text: string): string | null {
  const trimmed = text.trim();
  const pasted = /\/r\/([^/?#\s]+)/.exec(trimmed);
  if (pasted?.[1]) return decode(pasted[1]);
  return /^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/.test(trimmed) || /^[^#]+#\d+$/.test(trimmed) ? trimmed : null;
}
