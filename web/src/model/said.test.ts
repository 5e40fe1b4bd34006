import { describe, expect, it } from 'vitest';
import { alertTitleZh, type TitledAlert } from './alert-title.zh';
import client from '../api/client.ts?raw';
import { PLACE, readerOf } from './said';
import { PROBLEMS_ZH, SAID_ZH } from './said.zh';
import { ZH } from './tongue.zh';

const SOURCES = import.meta.glob<string>('../../../src/farwatch/**/*.py', { query: '?raw', import: 'default', eager: true });
const source = (end: string): string => Object.entries(SOURCES).find(([path]) => path.endsWith(end))![1];

describe('what the server says', () => {
  const read = readerOf(SAID_ZH, (state) => `<${state}>`);

  it('keeps what changes in a sentence, and words of states', () => {
    expect(read('the run has ended: failed')).toBe('运行已结束：<failed>');
    expect(read('lr 0.001 → 0.1 is a change by a factor of 100')).toBe('lr 由 0.001 变为 0.1，变化了 100 倍');
    expect(read('61 points later it is at 3.204.')).toBe('61 个点之后为 3.204。');
    expect(read('exit code 0, without goodbye')).toBe('退出码 0，未正常告别');
    expect(read('RuntimeError: exit code 7 is odd')).toBe('RuntimeError: exit code 7 is odd');
    expect(ZH.said('the run has ended (stopped)')).toBe('运行已结束（已停止）');
  });

  it('is in the sources word for word, so that what is said no more is not kept', () => {
    const text = [...Object.values(SOURCES), client].join('\n');
    const gone = SAID_ZH.map(([said]) => said).filter((said) => said.split(/\{\w*\}/).map((part) => part.replace(/:\s*$/, '').trim()).some((part) => !text.includes(part) && !text.includes(part.replaceAll('"', '\\"'))));
    expect(gone).toEqual([]);
  });

  it('has a meaning whose places are its own', () => {
    for (const [said, means] of SAID_ZH) {
      const count = said.match(PLACE)?.length ?? 0;
      const places = [...means.matchAll(/\{(\d)\}/g)].map((match) => Number(match[1]));
      expect([said, places.filter((place) => place >= count), new Set(places).size]).toEqual([said, [], places.length]);
    }
  });

  it('is told by the code of a refusal at least', () => {
    const codes = [...source('farwatch/errors.py').matchAll(/^    code = "([\w-]+)"/gm)].map((match) => match[1]!);
    const machines = ['needs-confirmation', 'gap', 'fork', 'bad-body']; // asked back, or between agents and the server
    expect(codes.filter((code) => !(code in PROBLEMS_ZH) && !machines.includes(code))).toEqual([]);
  });
});

describe('the title of an alert', () => {
  const alert = (rule: string, more: Partial<TitledAlert>): TitledAlert => ({ rule, title: 'said', metric: 'train/loss', run: 'r', step: 214, value: 4.87, band: { low: 0.02, usual: 0.031, high: 0.04 }, time_ms: 0, fired_ms: 720_000, opened_ms: 720_000, ...more });
  const title = (rule: string, more: Partial<TitledAlert> = {}): string | null => alertTitleZh(alert(rule, more), ZH.said);

  it('comes from its rule and its facts', () => {
    expect([title('nan', { value: 'NaN' }), title('nan', { value: '-Infinity' })]).toEqual(['train/loss 从第 214 步起为 NaN', 'train/loss 从第 214 步起为 负无穷大']);
    expect(title('spike')).toBe('train/loss 在第 214 步从 0.031 升到 4.87');
    expect(title('overfitting')).toBe('train/loss 已从第 214 步的 0.031 升到 4.87');
    expect(title('plateau')).toBe('train/loss 从第 214 步起停在 4.87');
    expect(title('slow_step', { value: 1.5, band: { low: 0.4, usual: 0.5, high: 0.6 } })).toBe('每步耗时是平常的 3 倍：1.5 秒，平常 500 毫秒');
    expect(title('idle_gpu', { metric: 'system/gpu/1/utilization' })).toBe('GPU 1 已空闲 12\u2009分钟');
    expect([title('disk_full', { run: null, value: 3.2 }), title('disk_full', { value: 2 ** 30 })]).toEqual(['服务器磁盘剩余 3.2 %', '机器磁盘剩余 1 GiB']);
    expect(title('failed', { title: 'failed: exit code 3' })).toBe('失败：退出码 3');
    expect(title('lost', { title: 'lost: no contact since 03:12' })).toBe('失联：自 03:12 起失去联系');
    expect(title('program')).toBe(null);
  });

  it('has one for every rule that watches', () => {
    const rules = [...source('alerts/rules.py').matchAll(/"(\w+)", (?:RING|HINT), "/g)].map((match) => match[1]!);
    expect(rules.length).toBeGreaterThan(9);
    expect(rules.filter((rule) => title(rule) === null)).toEqual([]); // those of a program have the titles that it gives
  });
});
