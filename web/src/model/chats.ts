import type { ChannelInfo, ChatInfo, Delivery, FieldInfo, PeopleList, PersonInfo, Reached } from '../api/types';

/** How something looks: a glyph with the name of its colour; colour never alone. */
export interface Look {
  glyph: string;
  tone: 'good' | 'warn' | 'bad' | 'quiet';
}

/** How a channel can be, as the server says it. */
export const CONDITIONS = ['ok', 'connecting', 'no-contact', 'revoked', 'taken-over', 'asleep', 'scan-again', 'closed'] as const;
export type Condition = (typeof CONDITIONS)[number];

/** The condition of a channel; what a newer server says is taken by whether it works. */
export function conditionOf(channel: Pick<ChannelInfo, 'ok' | 'code'>): Condition {
  return CONDITIONS.find((one) => one === channel.code && (one === 'ok') === channel.ok) ?? (channel.ok ? 'ok' : 'closed');
}

const CONDITION_LOOKS: Record<Condition, Look> = {
  ok: { glyph: '✓', tone: 'good' },
  connecting: { glyph: '◌', tone: 'quiet' },
  'no-contact': { glyph: '▲', tone: 'warn' },
  asleep: { glyph: '☾', tone: 'warn' },
  revoked: { glyph: '✕', tone: 'bad' },
  'taken-over': { glyph: '✕', tone: 'bad' },
  'scan-again': { glyph: '✕', tone: 'bad' },
  closed: { glyph: '✕', tone: 'bad' },
};

export const conditionLook = (channel: Pick<ChannelInfo, 'ok' | 'code'>): Look => CONDITION_LOOKS[conditionOf(channel)];

/** What can become of a notice. */
export const OUTCOMES = ['sent', 'unchanged', 'held', 'waiting', 'later', 'asleep', 'gone', 'refused', 'revoked', 'failed', 'unsure'] as const;
export type Outcome = (typeof OUTCOMES)[number];

export const outcomeOf = (text: string): Outcome | null => OUTCOMES.find((one) => one === text) ?? null;

const ARRIVED: readonly string[] = ['sent', 'unchanged'];
const PENDING: readonly string[] = ['held', 'waiting', 'later'];

export const arrived = (outcome: string): boolean => ARRIVED.includes(outcome);
/** Whether somebody was not told, or may not have been. */
export const missed = (outcome: string): boolean => !arrived(outcome) && !PENDING.includes(outcome);

export function outcomeLook(outcome: string): Look {
  if (arrived(outcome)) return { glyph: '✓', tone: 'good' };
  if (PENDING.includes(outcome)) return { glyph: '◌', tone: 'quiet' };
  if (outcome === 'asleep') return { glyph: '☾', tone: 'warn' };
  return outcome === 'unsure' ? { glyph: '?', tone: 'warn' } : { glyph: '✕', tone: 'bad' };
}

/** What people call the services that come with the server; others are called what their channel is. */
const TITLES: Readonly<Record<string, string>> = {
  telegram: 'Telegram', wecom: 'WeCom', 'wecom-webhook': 'WeCom webhook', wechat: 'WeChat', slack: 'Slack', discord: 'Discord', ntfy: 'ntfy', mail: 'E-mail', webhook: 'Webhook', apprise: 'Apprise',
};

/** The name of a channel for people: `telegram-2` is Telegram 2. */
export function channelTitle(name: string): string {
  const [, kind = name, number] = /^(.*?)(?:-(\d+))?$/.exec(name) ?? [];
  const title = TITLES[kind];
  return title ? (number ? `${title} ${number}` : title) : name;
}

/** What a service calls our bot, where it says so. */
export const botOf = (channel: Pick<ChannelInfo, 'facts'>): string => (typeof channel.facts.username === 'string' ? `@${channel.facts.username}` : '');

/** A name for one more channel of a kind. */
export function freeName(kind: string, taken: Iterable<string>): string {
  const names = new Set(taken);
  if (!names.has(kind)) return kind;
  for (let number = 2; ; number += 1) if (!names.has(`${kind}-${number}`)) return `${kind}-${number}`;
}

/** The services in the order of how far one can rely on them for an alarm at night. */
const DEPENDABLE = ['telegram', 'wecom', 'slack', 'discord', 'ntfy', 'mail', 'wecom-webhook', 'webhook', 'wechat', 'apprise'];

export function byDependability(a: { name: string; experimental: boolean }, b: { name: string; experimental: boolean }): number {
  const place = (name: string): number => (DEPENDABLE.indexOf(name) + 1 || DEPENDABLE.length + 1);
  return Number(a.experimental) - Number(b.experimental) || place(a.name) - place(b.name) || a.name.localeCompare(b.name);
}

/** How many messages a service still takes for somebody, and until when it takes any (ms); both are up to the person's next word. */
export interface Credits {
  who: string;
  left: number;
  untilMs: number;
}

export function creditsOf(channel: Pick<ChannelInfo, 'name' | 'facts'>, list: Pick<PeopleList, 'people' | 'chats'>): Credits[] {
  const told = channel.facts.people;
  if (typeof told !== 'object' || told === null || Array.isArray(told)) return [];
  return Object.entries(told).flatMap(([address, about]) => {
    if (typeof about !== 'object' || about === null || Array.isArray(about) || typeof about.left !== 'number') return [];
    const chat = list.chats.find((one) => one.channel === channel.name && one.address === address);
    return [{ who: chat ? chatTitle(chat, list.people) : '', left: about.left, untilMs: typeof about.safe_until_ms === 'number' ? about.safe_until_ms : 0 }];
  });
}

/** Whom one reaches in a chat: its person, else what it is called at its service, else its id there. */
export function chatTitle(chat: Pick<ChatInfo, 'person' | 'title' | 'address'>, people: readonly Pick<PersonInfo, 'no' | 'name'>[]): string {
  return people.find((one) => one.no === chat.person)?.name || chat.title || chat.address;
}

/** A field that only a relay or a server of one's own changes. */
export const isMinor = (field: FieldInfo): boolean => (field.default !== '' || field.name === 'private') && !field.required && !field.secret;

/** What is sent of what was typed: what is new or emptied. A secret that is left empty stays what it was. */
export function typedValues(fields: readonly FieldInfo[], texts: Readonly<Record<string, string>>, known: Readonly<Record<string, string>>): Record<string, string> {
  const found: Record<string, string> = {};
  for (const { name, secret } of fields) {
    const text = (texts[name] ?? '').trim();
    if (text ? secret || text !== known[name] : !secret && known[name]) found[name] = text;
  }
  return found;
}

/** Fields that are still to be filled in. */
export function missingFields(fields: readonly FieldInfo[], texts: Readonly<Record<string, string>>, known: Readonly<Record<string, string>>): string[] {
  return fields.filter(({ name, required, secret }) => required && !(texts[name] ?? '').trim() && !(secret && known[name])).map(({ name }) => name);
}

/** The field that a refusal is about: the one that it names, else the credential that was given; null: none of them. */
export function faultyField(message: string, fields: readonly FieldInfo[], texts: Readonly<Record<string, string>>): string | null {
  const named = [...message.matchAll(/`([\w-]+)`/g)].map((match) => match[1]);
  const found = fields.find(({ name }) => named.includes(name)) ?? fields.find(({ name, secret }) => secret && (texts[name] ?? '').trim());
  return found?.name ?? null;
}

/** A list with one of its things at another place. */
export function moved<T>(list: readonly T[], from: number, to: number): T[] {
  const rest = [...list];
  const [one] = rest.splice(from, 1);
  if (one === undefined || to < 0 || to > rest.length) return [...list];
  rest.splice(to, 0, one);
  return rest;
}

/** What a person may do, in the order in which it grows. */
export const SCOPES = ['read', 'steer', 'start'] as const;

/** Scopes after one was given or taken; everybody reads. */
export function withScope(scopes: readonly string[], scope: string, given: boolean): string[] {
  return SCOPES.filter((one) => one === 'read' || (one === scope ? given : scopes.includes(one)));
}

/** Who has been paired since `before`: a person and the channel that now knows them. */
export function newlyPaired(before: readonly PersonInfo[], after: readonly PersonInfo[]): { person: PersonInfo; channel: string; isNew: boolean } | null {
  for (const person of after) {
    const old = before.find((one) => one.no === person.no);
    const known = new Set(old?.identities.map((one) => `${one.channel}/${one.user_name}/${one.paired_ms}`));
    const fresh = person.identities.find((one) => !known.has(`${one.channel}/${one.user_name}/${one.paired_ms}`));
    if (fresh) return { person, channel: fresh.channel, isNew: !old };
  }
  return null;
}

/** What is left of a time, as `9:05`. */
export function countdown(ms: number): string {
  const left = Math.max(0, Math.ceil(ms / 1000));
  return `${Math.floor(left / 60)}:${String(left % 60).padStart(2, '0')}`;
}

/** A time of day, with seconds where they count; with the day before it where that is not today. */
export function timeText(ms: number, nowMs: number, seconds = true): string {
  const when = new Date(ms);
  const time = when.toLocaleTimeString(undefined, { hour: '2-digit', minute: '2-digit', ...(seconds ? { second: '2-digit' } : {}), hourCycle: 'h23' });
  return when.toDateString() === new Date(nowMs).toDateString() ? time : `${when.toLocaleDateString(undefined, { month: 'short', day: 'numeric' })} ${time}`;
}

/** What a delivery can be about. */
const ABOUTS = ['alert', 'run', 'progress', 'message', 'answer', 'test'] as const;

/** What a delivery was about. */
export function aboutOf(about: string): { kind: (typeof ABOUTS)[number] | 'other'; id: string } {
  const [kind, id = ''] = about.split('/');
  return { kind: ABOUTS.find((one) => one === kind) ?? 'other', id };
}

/** Whom an alert has reached: each once, with the chats that were tried, in the order of time. */
export function reachedBy(told: readonly Reached[]): { who: string; tries: Reached[] }[] {
  const found = new Map<string, Reached[]>();
  for (const one of told) found.set(one.who, [...(found.get(one.who) ?? []), one]);
  return [...found].map(([who, tries]) => ({ who, tries }));
}

/** How the address of a server can be reached: only from its own machine, in the clear, or encrypted. */
export function reachOf(url: string): 'local' | 'plain' | 'secure' {
  try {
    const { protocol, hostname } = new URL(url);
    if (/^(localhost|127(\.\d+){3}|\[::1\])$/.test(hostname)) return 'local';
    return protocol === 'https:' ? 'secure' : 'plain';
  } catch {
    return 'local';
  }
}

/** Quiet hours of a person; null for none. */
export interface Quiet {
  from: string;
  to: string;
  alarms: boolean;
}

export function quietOf(person: Pick<PersonInfo, 'settings'>): Quiet | null {
  const told = person.settings.quiet;
  if (!told || typeof told.from !== 'string' || typeof told.to !== 'string') return null;
  return { from: told.from, to: told.to, alarms: told.alarms !== false };
}

/** What is sent to a chat, with what holds where nothing was set. */
export interface Wanted {
  alarms: boolean;
  events: boolean;
  progress: boolean;
  minimal: boolean;
  projects: string[];
  mutedUntilMs: number;
}

export function wantedOf(chat: Pick<ChatInfo, 'settings'>): Wanted {
  const { alarms, events, progress, detail, projects, muted_until_ms: muted } = chat.settings;
  return {
    alarms: alarms !== false, events: events !== false, progress: progress !== 'off', minimal: detail === 'minimal',
    projects: Array.isArray(projects) ? projects.filter((one): one is string => typeof one === 'string') : [], mutedUntilMs: typeof muted === 'number' ? muted : 0,
  };
}

/** Whether an alarm to somebody would hang on services alone that may fall silent by themselves. */
export function hangsOnExperiment(person: Pick<PersonInfo, 'no'>, chats: readonly ChatInfo[], channels: readonly ChannelInfo[]): boolean {
  const mine = chats.filter((chat) => chat.person === person.no && chat.settings.alarms !== false);
  return mine.length > 0 && mine.every((chat) => channels.find((one) => one.name === chat.channel)?.experimental);
}

/** The deliveries of a page and the next, each once, newest first. */
export function joined(newer: readonly Delivery[], older: readonly Delivery[]): Delivery[] {
  const known = new Map([...older, ...newer].map((row) => [row.id, row]));
  return [...known.values()].sort((a, b) => b.id - a.id);
}

/** Dark squares of a grid as an SVG path, each square one unit wide. */
export function squaresPath(rows: readonly (readonly boolean[])[]): string {
  let path = '';
  for (const [y, row] of rows.entries())
    for (let from = 0; from < row.length; from += 1) {
      let to = from;
      while (row[to]) to += 1;
      if (to > from) path += `M${from} ${y}h${to - from}v1H${from}z`;
      from = to;
    }
  return path;
}
