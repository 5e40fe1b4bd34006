import { describe, expect, it } from 'vitest';
import { STATES } from '../api/types';
import { TABS } from './route';
import { DICTIONARIES, chooseLanguage, translate, type StringKey } from './strings';

describe('strings', () => {
  it('have the same places to fill in both languages', () => {
    const places = (text: string): string[] => (text.match(/\{\w+\}/g) ?? []).sort();
    for (const key of Object.keys(DICTIONARIES.en) as StringKey[]) expect([key, places(DICTIONARIES.zh[key])]).toEqual([key, places(DICTIONARIES.en[key])]);
  });

  it('name every state and tab', () => {
    for (const key of [...STATES.map((state) => `state.${state}`), ...TABS.map((tab) => `tab.${tab}`)]) expect(DICTIONARIES.zh).toHaveProperty([key]);
  });

  it('are filled in', () => {
    expect(translate('en', 'find.unknown', { ref: 'k3' })).toBe('No run with id: k3');
    expect([['zh-Hans-CN', 'en'], ['fr', 'en-US'], ['fr']].map(chooseLanguage)).toEqual(['zh', 'en', 'en']);
  });
});
