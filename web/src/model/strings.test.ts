import { describe, expect, it } from 'vitest';
import { STATES } from '../api/types';
import { TABS } from './route';
import { chooseLanguage, en, loadWords, translate, type StringKey } from './strings';
import { zh } from './strings.zh';

describe('strings', () => {
  it('have the same places to fill in both languages', () => {
    const places = (text: string): string[] => (text.match(/\{\w+\}/g) ?? []).sort();
    for (const key of Object.keys(en) as StringKey[]) expect([key, places(zh[key])]).toEqual([key, places(en[key])]);
  });

  it('name every state and tab', () => {
    for (const key of [...STATES.map((state) => `state.${state}`), ...TABS.map((tab) => `tab.${tab}`)]) expect(zh).toHaveProperty([key]);
  });

  it('are English until those of another language are here', async () => {
    expect(translate('zh', 'save')).toBe('Save');
    await loadWords('zh');
    expect(translate('zh', 'save')).toBe('保存');
  });

  it('are filled in', () => {
    expect(translate('en', 'find.unknown', { ref: 'k3' })).toBe('No run with id: k3');
    expect([['zh-Hans-CN', 'en'], ['fr', 'en-US'], ['fr']].map(chooseLanguage)).toEqual(['zh', 'en', 'en']);
  });
});
