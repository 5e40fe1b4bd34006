import { describe, expect, it } from 'vitest';
import { LINES, assignColours, colourIndex, contrast, parseHex, type Rgb, type Theme } from './colour';

import css from '../tokens.css?raw';

const token = (theme: Theme, name: string): string => {
  const match = new RegExp(`--${name}: light-dark\\((#[0-9A-Fa-f]{6}), (#[0-9A-Fa-f]{6})\\)`).exec(css);
  return (theme === 'light' ? match?.[1] : match?.[2]) ?? 'missing';
};

/** Machado, Oliveira and Fernandes 2009, severity 1, on linear light. */
const DEFICIENCIES: Record<string, number[][]> = {
  protan: [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
  deutan: [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
  tritan: [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]],
};

const toLinear = (channel: number): number => (channel / 255 <= 0.04045 ? channel / 255 / 12.92 : ((channel / 255 + 0.055) / 1.055) ** 2.4);

/** Lightness, green-red, blue-yellow in OKLab (Ottosson 2020), as somebody with this deficiency sees the colour. */
function seen(rgb: Rgb, matrix: number[][] | undefined): number[] {
  const raw = rgb.map(toLinear);
  const [r = 0, g = 0, b = 0] = matrix
    ? matrix.map((row) => Math.min(1, Math.max(0, row.reduce((sum, factor, k) => sum + factor * (raw[k] ?? 0), 0))))
    : raw;
  const l = Math.cbrt(0.4122214708 * r + 0.5363325363 * g + 0.0514459929 * b);
  const m = Math.cbrt(0.2119034982 * r + 0.6806995451 * g + 0.1073969566 * b);
  const s = Math.cbrt(0.0883024619 * r + 0.2817188376 * g + 0.6299787005 * b);
  return [
    0.2104542553 * l + 0.793617785 * m - 0.0040720468 * s,
    1.9779984951 * l - 2.428592205 * m + 0.4505937099 * s,
    0.0259040371 * l + 0.7827717662 * m - 0.808675766 * s,
  ];
}

const distance = (one: number[], other: number[]): number => Math.hypot(...one.map((value, k) => value - (other[k] ?? 0)));

describe.each(['light', 'dark'] as const)('%s paper', (theme) => {
  const paper = parseHex(token(theme, 'paper'));

  it.each(LINES[theme].map((hex, k) => [k + 1, hex] as const))('line %d (%s) is a token and stands out', (index, hex) => {
    expect(token(theme, `line-${index}`)).toBe(hex);
    expect(contrast(parseHex(hex), paper)).toBeGreaterThanOrEqual(3);
  });

  it.each(['ink', 'ink-2', 'lamp', 'good', 'bad', 'warn', 'lost'])('%s is legible as text', (name) => {
    expect(contrast(parseHex(token(theme, name)), paper)).toBeGreaterThanOrEqual(4.5);
  });

  it.each(['none', ...Object.keys(DEFICIENCIES)])('no two lines look alike with deficiency: %s', (deficiency) => {
    const lines = LINES[theme].map((hex) => seen(parseHex(hex), DEFICIENCIES[deficiency]));
    const nearest = (count: number): number =>
      Math.min(...lines.slice(0, count).flatMap((one, k) => lines.slice(k + 1, count).map((other) => distance(one, other))));

    expect(nearest(10)).toBeGreaterThan(0.05);
    expect(nearest(5)).toBeGreaterThan(0.065);
  });
});

describe('colours of runs', () => {
  it('stay with the number and wrap after ten', () => {
    expect([1, 2, 10, 11, 0].map(colourIndex)).toEqual([0, 1, 9, 0, 9]);
  });

  it('give the later of two colliding runs the next free colour', () => {
    const colours = assignColours([{ id: 'a', number: 1 }, { id: 'b', number: 11 }, { id: 'c', number: 2 }]);

    expect([...colours.values()]).toEqual([0, 1, 2]);
  });

  it('repeat once all are taken', () => {
    const runs = Array.from({ length: 12 }, (_, k) => ({ id: String(k), number: k + 1 }));

    expect([...assignColours(runs).values()].slice(9)).toEqual([9, 0, 1]);
  });
});
