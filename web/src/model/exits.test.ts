import { describe, expect, it } from 'vitest';
import { ansiSpans, ansiText } from './ansi';
import { csvField, seriesCsv } from './csv';

describe('terminal text', () => {
  it('keeps colours and weight', () => {
    const spans = ansiSpans('a \u001b[1;31mbad\u001b[0m \u001b[38;5;208mwarm\u001b[39m.');

    expect(spans.map((span) => [span.text, span.fg, span.bold])).toEqual([
      ['a ', null, false], ['bad', 1, true], [' ', null, false], ['warm', 'rgb(255 135 0)', false], ['.', null, false],
    ]);
  });

  it('drops every other sequence', () => {
    expect(ansiText('\u001b[2K\u001b]0;title\u0007x\u001b[?25l\u0008y\u001b(')).toBe('xy(');
    expect(ansiText('\u001b]8;;javascript:alert(1)\u001b\\click\u001b]8;;\u001b\\')).toBe('click');
  });

  it('shows what a carriage return left', () => {
    expect(ansiText(' 10%\r 20%\r')).toBe(' 20%');
    expect(ansiText('<b>text</b>')).toBe('<b>text</b>');
  });
});

describe('CSV', () => {
  it('quotes, and never starts a formula', () => {
    expect([csvField('a,"b"'), csvField('=1+1'), csvField(-1), csvField(NaN), csvField('@x')]).toEqual(['"a,""b"""', "'=1+1", '-1', 'NaN', "'@x"]);
  });

  it('has every point exactly', () => {
    const csv = seriesCsv([{ run: 'k3', name: 'loss', rank: 0, attempt: 1, steps: [1, 2], times: [1_000_500n, 2_000_000n], values: [0.1, Infinity] }], new Map([['k3', 'calm']]));

    expect(csv).toBe('run,name,metric,rank,attempt,step,time_ms,value\nk3,calm,loss,0,1,1,1000,0.1\nk3,calm,loss,0,1,2,2000,Infinity\n');
  });
});
