import type { AlertRow, CommandRow, FileRow, Machine, ParameterInfo, Profile, RunDetail } from '../api/types';
import { readNumber, typed } from './steer';

/** A profile that has started a run, or could have, and the values that the run's command line had for its parameters. */
export interface Offer {
  machine: Machine;
  profile: Profile;
  texts: Record<string, string>;
}

type Begun = Pick<RunDetail, 'argv' | 'host' | 'owner'>;
const PLACE = /\{\{|\}\}|\{(\w+)\}/g;

/** Profiles whose command line a run has, with its values; those of its own machine and user first. */
export function offersFor(run: Begun, machines: readonly Machine[]): Offer[] {
  const near = (machine: Machine): number => Number(machine.host === run.host) * 2 + Number(machine.user === run.owner) + Number(machine.present) * 4;
  return [...machines]
    .sort((a, b) => near(b) - near(a))
    .flatMap((machine) => machine.profiles.flatMap((profile) => {
      const texts = valuesOf(profile.command, run.argv);
      return texts ? [{ machine, profile, texts: { ...defaultsOf(profile), ...texts } }] : [];
    }));
}

function defaultsOf(profile: Profile): Record<string, string> {
  return Object.fromEntries(Object.entries(profile.parameters).map(([name, about]) => [name, typed(about.default)]));
}

/** The values that make a command of `{name}`s the words that a program was given; null where none do. Python's own words are not among those. */
export function valuesOf(command: readonly string[], argv: readonly string[]): Record<string, string> | null {
  if (!argv.length) return null;
  const from = command.length - argv.length;
  const words = command[from - 1] === '-m' ? [`${command[from]!.replaceAll('.', '/')}.py`, ...command.slice(from + 1)] : command.slice(Math.max(0, from));
  if (from < 0 || words.length !== argv.length) return null;
  const texts: Record<string, string> = {};
  for (const [place, word] of words.entries()) {
    const told = place ? argv[place]! : baseOf(argv[0]!);
    const found = read(place ? word : baseOf(word), told);
    if (!found || Object.entries(found).some(([name, text]) => (texts[name] ?? text) !== text)) return null;
    Object.assign(texts, found);
  }
  return texts;
}

/** The file's name: a program may be started by any path to it. */
const baseOf = (path: string): string => path.slice(path.lastIndexOf('/') + 1);

function read(word: string, told: string): Record<string, string> | null {
  const names = new Set<string>();
  let at = 0;
  let pattern = '';
  const plain = (text: string): string => text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
  for (const match of word.matchAll(PLACE)) {
    pattern += plain(word.slice(at, match.index));
    at = match.index + match[0].length;
    if (match[1] === undefined) pattern += plain(match[0][0]!);
    else pattern += names.has(match[1]) ? `\\k<${match[1]}>` : `(?<${match[1]}>.*)`;
    if (match[1] !== undefined) names.add(match[1]);
  }
  const found = new RegExp(`^${pattern}${plain(word.slice(at))}$`, 's').exec(told);
  return found ? { ...found.groups } : null;
}

/** Whether two texts of a parameter mean the same: 1e-3 is 0.001. */
export function alike(one: string, other: string): boolean {
  const [a, b] = [readNumber(one), readNumber(other)];
  return one === other || (a !== null && a === b);
}

const FROM = /^(resume(_from)?(_\w*)?|from_(step|checkpoint|ckpt)|checkpoint|ckpt|init_(from|checkpoint)|load(_from)?|restore(_from)?|start_(from|step))$/i;

/** The parameter by which a profile goes on from a checkpoint, as its name says. */
export const fromOf = (profile: Profile): string | null => Object.keys(profile.parameters).find((name) => FROM.test(name) && profile.parameters[name]!.type !== 'bool') ?? null;

/** A place from which a run can go on. `path`: as its program named it, null where only the step is known. */
export interface Checkpoint {
  step: number | null;
  path: string | null;
  timeMs: number;
}

const SAVED = /(^|[/_.-])(ckpt|checkpoint)|\.(pt|pth|ckpt|safetensors|keras|h5|pkl|npz)$/i;

/** Checkpoints that are known of, newest first: of commands, of alerts, and saved files that look like one. */
export function checkpointsOf(commands: readonly CommandRow[], alerts: readonly AlertRow[], files: readonly Pick<FileRow, 'path' | 'mtime_ms'>[]): Checkpoint[] {
  return [
    ...commands.filter((row) => row.op === 'checkpoint' && row.state === 'applied').map((row) => ({ step: row.step, path: typeof row.result === 'string' ? row.result : null, timeMs: row.ended_ms ?? row.accepted_ms })),
    ...alerts.flatMap(({ checkpoint }) => (checkpoint ? [{ step: checkpoint.step, path: null, timeMs: checkpoint.time_ms }] : [])),
    ...files.filter((file) => SAVED.test(file.path)).map((file) => ({ step: numberIn(file.path), path: null, timeMs: file.mtime_ms })),
  ].sort((a, b) => b.timeMs - a.timeMs);
}

function numberIn(path: string): number | null {
  const last = /(\d{1,12})(?!.*\d)/.exec(path);
  return last ? Number(last[1]) : null;
}

/** What a parameter is given to go on from a checkpoint: its step, or where it is kept; null where that is not known. */
export function fromText(about: Pick<ParameterInfo, 'type'>, checkpoint: Checkpoint): string | null {
  return about.type === 'str' ? checkpoint.path : checkpoint.step === null ? null : String(checkpoint.step);
}
