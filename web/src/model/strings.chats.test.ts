import { describe, expect, it } from 'vitest';
import { KINDS_ZH } from '../chats/kinds.zh';
import { CONDITIONS, OUTCOMES, SCOPES } from './chats';
import { SETTINGS_TABS } from './route';
import { en } from './strings';
import { CHATS, type ChatKey } from './strings.chats';
import { CHATS_ZH } from './strings.chats.zh';

describe('words of the settings', () => {
  it('have the same places to fill in both languages', () => {
    const places = (text: string): string[] => (text.match(/\{\w+\}/g) ?? []).sort();
    for (const key of Object.keys(CHATS) as ChatKey[]) expect([key, places(CHATS_ZH[key])]).toEqual([key, places(CHATS[key])]);
  });

  it('name every condition with what to do, outcome, scope and tab', () => {
    for (const key of [...CONDITIONS.map((one) => `is.${one}`), ...CONDITIONS.filter((one) => one !== 'ok' && one !== 'connecting').map((one) => `do.${one}`), ...SCOPES.map((one) => `scope.${one}`), ...SETTINGS_TABS.map((one) => `tab.${one}`)]) expect(CHATS).toHaveProperty([key]);
    for (const outcome of OUTCOMES) expect(en).toHaveProperty([`told.${outcome}`]);
  });

  it('translate what services say word for word, so that what is said no more is not kept', () => {
    const sources = import.meta.glob<string>('../../../src/farwatch/bridges/**/*.py', { query: '?raw', import: 'default', eager: true });
    // Python joins texts that stand beside each other, and an example at the end may be a name there
    const text = Object.values(sources).join('\n').replace(/"\s*\n\s*"/g, '');
    expect(Object.keys(KINDS_ZH).filter((said) => !text.includes(said) && !text.includes(said.replace(/: \w+:\/\/.*/, '')))).toEqual([]);
  });
});
