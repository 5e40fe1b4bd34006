/** Every word of the page, here in English. `{name}` is replaced; counts choose their own words where it matters. */

import type { TitledAlert } from './alert-title.zh';
import { STEER } from './strings.steer';

export const en = {
  ...STEER,
  'app.tagline': 'Watch and steer your training from afar.',
  'nav.projects': 'Projects',
  'nav.back': 'Back',
  'nav.notFound': 'There is nothing at this address.',
  'nav.home': 'To all projects',

  'find.placeholder': 'Open a run: 7 letters',
  'find.label': 'Open a run by its id, the first 7 letters of it, or project#number',
  'find.go': 'Open',
  'find.unknown': 'No run with id: {ref}',
  'find.hint': 'The start of your training prints it, like k3f9xq2. project#12 works as well.',
  'find.malformed': 'An id is letters and digits without spaces, like k3f9xq2.',

  'empty.title': 'No runs yet',
  'empty.lead': 'Add these lines to your training. The curve appears here by itself, with the first point.',
  'empty.install': 'Install',
  'empty.script': 'In your training script',
  'empty.start': 'Start it',
  'empty.elsewhere': 'Training on another machine? Tell it this address first:',
  'empty.listening': 'Listening for the first run…',
  'empty.project': 'No runs in {project} yet',
  'empty.filter': 'No run matches.',
  'empty.clear': 'Clear the filter',
  'empty.charts': 'Nothing logged yet. The first point makes the first chart.',
  'empty.metrics': 'No metric matches this filter.',
  'empty.selectPhone': 'Select runs in the list to see their charts together.',
  'empty.select': 'Select runs on the left to see their charts together.',
  'unit.s': 's',
  'unit.min': 'min',
  'unit.h': 'h',
  'unit.d': 'd',
  'unit.min1': 'min',
  'unit.h1': 'h',
  'copy': 'Copy',
  'copied': 'Copied',

  'projects.recent': 'Newest runs',
  'projects.ago': '{age} ago',
  'projects.runs': '{n} runs',
  'projects.run': '1 run',
  'projects.running': '{n} running',
  'projects.points': '{n} points',

  'state.queued': 'queued',
  'state.running': 'running',
  'state.paused': 'paused',
  'state.idle': 'idle',
  'state.stalled': 'stalled',
  'state.lost': 'lost',
  'state.finishing': 'finishing',
  'state.finished': 'finished',
  'state.stopped': 'stopped',
  'state.failed': 'failed',
  'state.preempted': 'preempted',

  'table.run': 'run',
  'table.state': 'state',
  'table.duration': 'time',
  'table.filter': 'Find, or a condition: summary["val/acc"].max > 0.9',
  'table.filterShort': 'Find a run',
  'table.columns': 'Columns',
  'table.columnsFind': 'Find a column',
  'table.columnsConfig': 'Config',
  'table.columnsSummary': 'Summary',
  'table.shown': '{n} of {total} shown in the charts',
  'table.total': '{total} runs',
  'table.none': 'Hide all',
  'table.all': 'Show all',
  'table.runs': 'Runs',
  'table.columnsRun': 'Run',
  'table.more': 'Show more',
  'table.hide': 'Hide the table (t)',
  'table.show': 'Show the table (t)',
  'table.resize': 'Width of the table',
  'table.toggleRun': 'Show {name} in the charts',
  'table.archived': 'archived',

  'run.step': 'step {n}',
  'run.attempts': 'attempt {n}',
  'run.left': '{time} left',
  'run.live': 'live',
  'run.age': 'data {age} old',
  'progress.age': 'no progress for {age}',
  'progress.times': 'Time of the progress bar, and what is left',
  'run.waiting': 'waiting for the first point',
  'run.reconnecting': 'reconnecting',
  'run.cost': 'cost of logging',
  'run.dropped': '{n} dropped',
  'run.behind': '{n} records on the way',
  'run.min': 'min',
  'run.max': 'max',
  'run.at': 'at',
  'run.ranks': '{n} ranks',
  'run.noteLost': 'The machine is silent. The run may still go on there; it shows again as soon as it speaks.',

  'tab.charts': 'Charts',
  'tab.samples': 'Samples',
  'tab.console': 'Console',
  'tab.system': 'System',
  'tab.config': 'Config',
  'tab.files': 'Files',
  'tab.history': 'History',

  'charts.filter': 'Find metrics',
  'charts.filterLabel': 'Show only metrics that match this regular expression',
  'charts.x': 'x axis',
  'charts.step': 'step',
  'charts.time': 'time',
  'charts.relative': 'duration',
  'charts.anyMetric': 'a metric',
  'charts.smooth': 'smooth',
  'charts.log': 'log y',
  'charts.ranks': 'Processes',
  'charts.ranks.0': 'rank 0',
  'charts.ranks.mean': 'mean of ranks',
  'charts.ranks.all': 'all ranks',
  'charts.ranks.slowest': 'slowest rank',
  'charts.rank': 'rank {n}',
  'charts.meanOf': 'mean of {n} ranks',
  'charts.means': 'Runs of a group',
  'charts.means.each': 'every run',
  'charts.means.minmax': 'group mean, min–max',
  'charts.means.std': 'group mean ± std',
  'charts.groupOf': '{name} ({n})',
  'charts.bars': 'Draw as bars',
  'charts.line': 'Draw as a line',
  'charts.digits': 'Digits on bars',
  'charts.axes': 'axes',
  'charts.fit': 'Fit y to the values',
  'charts.fromZero': 'Whole range of y',
  'charts.csv': 'CSV',
  'charts.csvHint': 'Every point of the shown series, exact',
  'charts.zoomOut': 'Zoom out',
  'charts.both': 'train + val',
  'charts.train': 'train',
  'charts.val': 'val',
  'charts.validation': 'Training or validation',
  'charts.count': '{n} charts',
  'charts.unnamed': 'without a section',
  'charts.more': 'Show {n} more',
  'charts.full': 'Full screen (f)',
  'charts.close': 'Close',
  'charts.menu': 'More',
  'charts.png': 'Save PNG',
  'charts.svg': 'Save SVG',
  'charts.csvOne': 'Save CSV',
  'charts.allRuns': 'Show all again',
  'charts.isolate': 'Show {name} alone',
  'charts.nonfinite': '{n} not finite',
  'charts.approximate': 'approximate',
  'charts.runsHere': '{n} runs',
  'charts.failed': 'Could not load: {message}',
  'charts.nothing': 'No points in this range',
  'charts.logEmpty': 'No values above zero for a logarithmic axis',

  'samples.step': 'step',
  'samples.away': 'This could not be loaded.',
  'samples.expected': 'on its way',
  'samples.enlarge': 'Enlarge',
  'samples.items': '{n} items',
  'samples.none': 'Nothing to show at this step.',
  'samples.count': 'count',
  'samples.rows': '{shown} of {n} rows',

  'console.find': 'Find in the console',
  'console.follow': 'Follow',
  'console.earlier': 'Earlier lines',
  'console.download': 'Save',
  'console.lines': '{n} lines',
  'console.none': 'No line matches.',

  'config.find': 'Find in config',
  'config.title': 'Config',
  'config.command': 'Command',
  'config.git': 'Git',
  'config.packages': 'Packages',
  'config.environment': 'Environment',
  'config.none': 'Nothing matches.',

  'files.name': 'file',
  'files.size': 'size',
  'files.time': 'changed',
  'files.save': 'Save {path}',
  'files.expected': 'on its way',
  'files.delete': 'Delete {path}',
  'files.deleted': '{path} is deleted',
  'files.sure': 'Delete {path} ({size}) from the server? This cannot be undone. The file where you trained stays.',
  'files.total': '{n} files, {size}',
  'files.none': 'No files.',
  'table.nan': 'NaN since {n}',
  'table.nanHint': '{name} is not a number since step {n}',
  'config.dirty': 'with uncommitted changes',
  'config.clean': 'as committed',
  'config.untracked': '{n} untracked files',
  'config.tree': 'working tree',
  'config.hardware': 'Machine',
  'history.cause': 'Show why',

  'history.attempts': 'Attempts',
  'history.attempt': 'attempt',
  'history.from': 'from step',
  'history.started': 'started',
  'history.lasted': 'lasted',
  'history.host': 'machine',
  'history.reason': 'reason',
  'history.gaps': 'Gaps',
  'history.gap': '{n} records lost, from number {first}',
  'history.ranks': 'Ranks',
  'history.traceback': 'Traceback',
  'history.meter': 'Cost of logging',
  'history.calls': 'calls',
  'history.totalTime': 'in log() altogether',
  'history.share': 'of wall time',
  'history.worst': 'worst call',
  'history.droppedPoints': 'points dropped',

  'theme.auto': 'Follow the system',
  'theme.light': 'Light',
  'theme.dark': 'Dark',
  'theme.label': 'Light or dark',
  'language': 'Language',
  'help.title': 'Keys and gestures',
  'help.open': 'Help (?)',
  'help.find': 'find',
  'help.run': 'next, previous run',
  'help.toggle': 'show the run in the charts',
  'help.chart': 'previous, next chart',
  'help.full': 'chart over the whole page',
  'help.log': 'logarithmic y',
  'help.smooth': 'smoothing',
  'help.table': 'table',
  'help.help': 'this list',
  'help.drag': 'drag',
  'help.dragZoom': 'zoom in; double-click goes back',
  'help.shift': 'shift + drag',
  'help.pan': 'pan',
  'help.legend': 'click in a legend',
  'help.isolate': 'show that line alone',
  'help.touch': 'hold, then drag',

  'error.title': 'This did not work',
  'error.retry': 'Try again',
  'error.signIn': 'This page needs its key',
  'error.signInHint': 'Open it with the link that this command prints, on the machine of the server:',
  'error.unreachable': 'The server does not answer',
  'error.unreachableHint': 'It is asked again every few seconds. Nothing is lost: training keeps its points until the server is back.',
  'error.run': 'No run with id: {ref}',
  'edit.title': 'Edit run',
  'edit.name': 'Name',
  'edit.notes': 'Notes',
  'edit.tags': 'Tags',
  'edit.addTag': 'Add a tag',
  'edit.removeTag': 'Remove {tag}',
  'edit.archive': 'Archive',
  'edit.unarchive': 'Take out of the archive',
  'edit.delete': 'Delete',
  'edit.saved': 'Saved',
  'edit.archived': '{name} is archived',
  'edit.unarchived': '{name} is back from the archive',
  'edit.deleted': '{name} is deleted',
  'edit.tagAll': 'Give {tag} to all of them',
  'bulk.tags': 'Tags of {n} runs',
  'bulk.some': 'A count says how many have that tag: tap the tag to give it to all.',
  'bulk.archive': 'Archive {n} runs',
  'bulk.unarchive': 'Take {n} runs out of the archive',
  'bulk.archived': '{n} runs are archived',
  'bulk.unarchived': '{n} runs are back from the archive',
  'archive.title': 'Archive',
  'archive.open': 'Archived runs: {n}',
  'archive.none': 'Nothing is archived.',
  'archive.all': 'All {n} runs of this project are archived',
  'edit.isDeleted': 'This run is deleted. It is kept for 30 days.',
  'edit.restore': 'Bring it back',
  'undo': 'Undo',
  'cancel': 'Cancel',
  'loading': 'Loading',
  'save': 'Save',
} as const;

export type StringKey = keyof typeof en;

export const LANGUAGES = ['en', 'zh'] as const;
export type Language = (typeof LANGUAGES)[number];
export type Words = Readonly<Record<StringKey, string>>;

/** A language: the words of the page, and its ways to say what the server says in English. */
export interface Tongue {
  words: Words;
  /** A sentence of the server; as it is, if it is not known. */
  said: (text: string) => string;
  /** The title of an alert, of its rule and its facts; null: as the server has it. */
  alertTitle: (alert: TitledAlert) => string | null;
  /** What a refusal with this code is about. */
  problem: (code: string) => string | null;
}

const ENGLISH: Tongue = { words: en, said: (text) => text, alertTitle: () => null, problem: () => null };
const known: Partial<Record<Language, Tongue>> = { en: ENGLISH };

/** Fetch a language, unless it is here. */
export async function loadWords(language: Language): Promise<void> {
  if (language === 'zh') known.zh ??= (await import('./tongue.zh')).ZH;
}

/** A language; English while that is not here. */
export const tongue = (language: Language): Tongue => known[language] ?? ENGLISH;

/** A text in a language. */
export function translate(language: Language, key: StringKey, values: Record<string, string | number> = {}): string {
  return fill(tongue(language).words[key], values);
}

/** A text with its places filled in. */
export const fill = (text: string, values: Readonly<Record<string, string | number>>): string => text.replace(/\{(\w+)\}/g, (whole, name: string) => String(values[name] ?? whole));

/** The language of a browser's list, or English. */
export function chooseLanguage(wanted: readonly string[]): Language {
  for (const tag of wanted) {
    if (tag.toLowerCase().startsWith('zh')) return 'zh';
    if (tag.toLowerCase().startsWith('en')) return 'en';
  }
  return 'en';
}
