import { describe, expect, it } from 'vitest';
import { chartsOf, matcher, naturalOrder, sectionsOf, splitRole, varying } from './grouping';

const drawn = (names: string[]): Record<string, string[]> =>
  Object.fromEntries(chartsOf(names).map((chart) => [chart.key, chart.metrics.map((metric) => metric.name)]));

describe('chartsOf', () => {
  it.each([
    [['train/loss', 'val/loss'], { 'train/loss': ['train/loss', 'val/loss'] }],
    [['val_loss', 'loss', 'acc'], { loss: ['loss', 'val_loss'], acc: ['acc'] }],
    [['train_loss', 'test_loss', 'val_loss'], { train_loss: ['train_loss', 'val_loss', 'test_loss'] }],
    [['train/loss', 'eval/loss', 'eval/acc'], { 'train/loss': ['train/loss', 'eval/loss'], 'eval/acc': ['eval/acc'] }],
    [['evaluation', 'values/x', 'training'], { evaluation: ['evaluation'], 'values/x': ['values/x'], training: ['training'] }],
  ])('%j', (names, charts) => expect(drawn(names)).toEqual(charts));

  it('tells the role, so that validation can be dashed', () => {
    expect(chartsOf(['loss', 'val_loss'])[0]?.metrics.map((metric) => metric.role)).toEqual(['train', 'val']);
    expect(splitRole('model/val/loss')).toEqual({ role: 'train', root: null });
  });
});

describe('sectionsOf', () => {
  it('makes one page without headings of few charts, main metric first', () => {
    const sections = sectionsOf(chartsOf(['lr', 'train/acc', 'train/loss', 'val/loss', 'grad/norm']), 'val/loss');

    expect(sections.map((section) => section.name)).toEqual(['']);
    expect(sections[0]?.charts.map((chart) => chart.title)).toEqual(['loss', 'train/acc', 'lr', 'grad/norm']);
  });

  it('makes sections by prefix of many, and gathers the small ones', () => {
    const names = [...Array.from({ length: 30 }, (_, k) => `grad/layer.${k}`), 'loss', 'acc', 'opt/lr', 'train/a', 'train/b', 'train/c'];

    const sections = sectionsOf(chartsOf(names), 'loss');

    expect(sections.map((section) => [section.name, section.charts.length])).toEqual([['', 3], ['train', 3], ['grad', 30]]);
    expect(sections[0]?.charts.map((chart) => chart.title)).toEqual(['loss', 'acc', 'opt/lr']);
    expect(sections[2]?.charts[10]?.title).toBe('layer.10');
  });

  it('puts what others are drawn over last, in a section of its own', () => {
    const sections = sectionsOf(chartsOf(['epoch', 'train/epoch', 'loss', 'tokens']), 'loss', new Set(['tokens']));

    expect(sections.map((section) => [section.axes ?? false, section.charts.map((chart) => chart.key)])).toEqual([[false, ['loss']], [true, ['epoch', 'train/epoch', 'tokens']]]);
    expect(sectionsOf(chartsOf(['epoch']), null).map((section) => section.axes ?? false)).toEqual([false]);
  });

  it('is empty without metrics', () => expect(sectionsOf([], null)).toEqual([]));
});

describe('names', () => {
  it('are sorted as people count', () => {
    expect(['l.10', 'l.2', 'l.1'].sort(naturalOrder)).toEqual(['l.1', 'l.2', 'l.10']);
  });

  it('are found by expression, or by text that is none', () => {
    expect(['grad/a', 'loss'].filter(matcher('^gr.*a$'))).toEqual(['grad/a']);
    expect(['a(b', 'loss'].filter(matcher('a('))).toEqual(['a(b']);
    expect(['a', 'b'].filter(matcher(' '))).toEqual(['a', 'b']);
  });

  it('are worth a column where values differ', () => {
    expect(varying(['lr', 'seed', 'bs'], [[1e-3, 1, null], [1e-2, 1, 64]])).toEqual(['lr']);
    expect(varying(['at', 'widths'], [[{ $date: '2026-11-30' }, [1, 2]], [{ $date: '2026-11-30' }, [1, 3]]])).toEqual(['widths']);
  });
});
