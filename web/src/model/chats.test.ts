import { describe, expect, it } from 'vitest';
import type { ChannelInfo, ChatInfo, FieldInfo, PersonInfo, Reached } from '../api/types';
import * as chats from './chats';

const field = (name: string, more: Partial<FieldInfo> = {}): FieldInfo => ({ name, text: '', secret: false, required: false, default: '', env: '', ...more });
const TELEGRAM = [field('token', { secret: true, required: true }), field('chat'), field('url', { default: 'https://api.telegram.org' })];
const person = (no: number, name: string, channels: string[] = []): PersonInfo => ({
  no, name, scopes: ['read'], settings: { lang: null, zone: null, quiet: null }, chats: [], identities: channels.map((channel, k) => ({ channel, user_name: name, paired_ms: 100 + k })),
});
const chat = (no: number, channel: string, owner: number | null, settings: ChatInfo['settings'] = {}): ChatInfo => ({ no, channel, address: `${channel}-${no}`, person: owner, title: '', settings, created_ms: 1, last: null });
const channel = (name: string, more: Partial<ChannelInfo> = {}): ChannelInfo => ({
  name, kind: name, title: name, lasting: true, values: {}, created_ms: 1, ok: true, code: 'ok', text: '', facts: {}, two_way: true, groups: true, push_first: true, experimental: false, ...more,
});

describe('channels', () => {
  it('show how they are by a glyph and a colour, also in a state that is not known here', () => {
    expect(chats.conditionLook({ ok: true, code: 'ok' })).toEqual({ glyph: '✓', tone: 'good' });
    expect(chats.conditionLook({ ok: false, code: 'no-contact' }).tone).toBe('warn');
    expect(chats.conditionLook({ ok: false, code: 'of-next-year' }).tone).toBe('bad');
    expect(chats.conditionLook({ ok: true, code: 'of-next-year' }).tone).toBe('good');
    expect(chats.conditionOf({ ok: false, code: 'ok' })).toBe('closed');
  });

  it('are called as people call them', () => {
    expect(['telegram', 'telegram-2', 'wecom-webhook', 'wecom-webhook-3', 'lab-chat'].map(chats.channelTitle)).toEqual(['Telegram', 'Telegram 2', 'WeCom webhook', 'WeCom webhook 3', 'lab-chat']);
    expect([chats.botOf({ facts: { username: 'my_bot' } }), chats.botOf({ facts: {} })]).toEqual(['@my_bot', '']);
    expect(chats.freeName('telegram', [])).toBe('telegram');
    expect(chats.freeName('telegram', ['telegram', 'telegram-2'])).toBe('telegram-3');
  });

  it('come in the order of how dependable they are, experiments last', () => {
    const kinds = ['wechat', 'webhook', 'of-others', 'wecom', 'telegram'].map((name) => ({ name, experimental: name === 'wechat' }));
    expect(kinds.sort(chats.byDependability).map(({ name }) => name)).toEqual(['telegram', 'wecom', 'webhook', 'of-others', 'wechat']);
  });

  it('say how many messages are left, and for whom', () => {
    const facts = { people: { 'wechat-1': { left: 6, until_ms: 9000, safe_until_ms: 5000 }, stranger: { left: 1 }, broken: 'x' } };
    const people = { people: [person(1, 'Ann')], chats: [chat(1, 'wechat', 1)] };
    expect(chats.creditsOf({ name: 'wechat', facts }, people)).toEqual([{ who: 'Ann', left: 6, untilMs: 5000 }, { who: '', left: 1, untilMs: 0 }]);
    expect(chats.creditsOf({ name: 'wechat', facts: {} }, people)).toEqual([]);
  });
});

describe('credentials', () => {
  it('are sent where they are new; a secret that is left empty stays', () => {
    const known = { token: '•••LDsaw', chat: '12', url: 'http://relay' };
    expect(chats.typedValues(TELEGRAM, { token: '', chat: '12', url: '' }, known)).toEqual({ url: '' });
    expect(chats.typedValues(TELEGRAM, { token: ' new ', chat: '12,13', url: 'http://relay' }, known)).toEqual({ token: 'new', chat: '12,13' });
    expect(chats.typedValues(TELEGRAM, { token: 'new' }, {})).toEqual({ token: 'new' });
  });

  it('are asked for where they lack', () => {
    expect(chats.missingFields(TELEGRAM, { token: ' ' }, {})).toEqual(['token']);
    expect(chats.missingFields(TELEGRAM, {}, { token: '•••' })).toEqual([]);
    expect(TELEGRAM.map(chats.isMinor)).toEqual([false, false, true]);
  });

  it('have what is wrong beside them', () => {
    expect(chats.faultyField('Telegram needs `chat`: where', TELEGRAM, {})).toBe('chat');
    expect(chats.faultyField('Telegram does not know this token', TELEGRAM, { token: 'x' })).toBe('token');
    expect(chats.faultyField('the service has not answered within 60 s', TELEGRAM, {})).toBeNull();
  });
});

describe('people', () => {
  it('keep their chats in an order', () => {
    expect(chats.moved([1, 2, 3], 2, 0)).toEqual([3, 1, 2]);
    expect(chats.moved([1, 2, 3], 0, 1)).toEqual([2, 1, 3]);
    expect(chats.moved([1, 2, 3], 0, 3)).toEqual([1, 2, 3]);
    expect(chats.moved([1, 2, 3], 0, -1)).toEqual([1, 2, 3]);
  });

  it('always read', () => {
    expect(chats.withScope(['read'], 'start', true)).toEqual(['read', 'start']);
    expect(chats.withScope(['read', 'steer', 'start'], 'steer', false)).toEqual(['read', 'start']);
    expect(chats.withScope([], 'steer', true)).toEqual(['read', 'steer']);
  });

  it('are noticed when they have sent their code', () => {
    const before = [person(1, 'Ann', ['telegram'])];
    expect(chats.newlyPaired(before, before)).toBeNull();
    expect(chats.newlyPaired(before, [...before, person(2, 'Bo', ['wecom'])])).toMatchObject({ person: { name: 'Bo' }, channel: 'wecom', isNew: true });
    expect(chats.newlyPaired(before, [person(1, 'Ann', ['telegram', 'wecom'])])).toMatchObject({ person: { name: 'Ann' }, channel: 'wecom', isNew: false });
  });

  it('have quiet hours, with alarms unless they said so', () => {
    const asked = (quiet: PersonInfo['settings']['quiet']): chats.Quiet | null => chats.quietOf({ settings: { lang: null, zone: null, quiet } });
    expect([asked(null), asked({ from: '23:00', to: '08:00' }), asked({ from: '23:00', to: '08:00', alarms: false })]).toEqual([null, { from: '23:00', to: '08:00', alarms: true }, { from: '23:00', to: '08:00', alarms: false }]);
  });

  it('are warned while an alarm hangs on an experiment alone', () => {
    const channels = [channel('wechat', { experimental: true }), channel('telegram')];
    expect(chats.hangsOnExperiment({ no: 1 }, [chat(1, 'wechat', 1), chat(2, 'telegram', 2)], channels)).toBe(true);
    expect(chats.hangsOnExperiment({ no: 1 }, [chat(1, 'wechat', 1), chat(2, 'telegram', 1)], channels)).toBe(false);
    expect(chats.hangsOnExperiment({ no: 1 }, [chat(1, 'wechat', 1), chat(2, 'telegram', 1, { alarms: false })], channels)).toBe(true);
    expect(chats.hangsOnExperiment({ no: 1 }, [], channels)).toBe(false);
  });

  it('read how long a code is good', () => {
    expect([600_000, 599_001, 65_000, 0, -5].map(chats.countdown)).toEqual(['10:00', '10:00', '1:05', '0:00', '0:00']);
  });
});

describe('deliveries', () => {
  it('have arrived, wait, or missed somebody', () => {
    expect(chats.OUTCOMES.filter(chats.arrived)).toEqual(['sent', 'unchanged']);
    expect(chats.OUTCOMES.filter(chats.missed)).toEqual(['asleep', 'gone', 'refused', 'revoked', 'failed', 'unsure']);
    expect(['sent', 'held', 'asleep', 'unsure', 'gone', 'of-next-year'].map((one) => chats.outcomeLook(one).glyph)).toEqual(['✓', '◌', '☾', '?', '✕', '✕']);
  });

  it('are about something', () => {
    expect(['alert/12', 'run/5', 'progress/ab.1', 'test', 'digest'].map(chats.aboutOf)).toEqual([{ kind: 'alert', id: '12' }, { kind: 'run', id: '5' }, { kind: 'progress', id: 'ab.1' }, { kind: 'test', id: '' }, { kind: 'other', id: '' }]);
  });

  it('are told by person, with every chat that was tried', () => {
    const told: Reached[] = [{ who: 'Ann', channel: 'wechat', outcome: 'asleep', at_ms: 1 }, { who: 'Bo', channel: 'slack', outcome: 'sent', at_ms: 2 }, { who: 'Ann', channel: 'telegram', outcome: 'sent', at_ms: 3 }];
    expect(chats.reachedBy(told).map(({ who, tries }) => [who, tries.map((one) => one.channel)])).toEqual([['Ann', ['wechat', 'telegram']], ['Bo', ['slack']]]);
  });

  it('are wanted unless somebody said no', () => {
    expect(chats.wantedOf({ settings: {} })).toEqual({ alarms: true, events: true, progress: true, minimal: false, projects: [], mutedUntilMs: 0 });
    expect(chats.wantedOf({ settings: { alarms: false, events: false, progress: 'off', detail: 'minimal', projects: ['digits'], muted_until_ms: 5 } })).toEqual({ alarms: false, events: false, progress: false, minimal: true, projects: ['digits'], mutedUntilMs: 5 });
  });
});

describe('an address', () => {
  it('is of this machine, plain or encrypted', () => {
    expect(['http://127.0.0.1:8700', 'http://localhost', 'http://[::1]:1', 'http://192.168.1.4:8700', 'https://lab.example', ''].map(chats.reachOf)).toEqual(['local', 'local', 'local', 'plain', 'secure', 'local']);
  });
});

describe('a code to scan', () => {
  it('is drawn as runs of squares', () => {
    expect(chats.squaresPath([[true, true, false, true], [false, false, false, false], [false, true, true, true]])).toBe('M0 0h2v1H0zM3 0h1v1H3zM1 2h3v1H1z');
  });
});
