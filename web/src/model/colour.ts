/** Line colours, in order, for both papers; `tokens.css` holds everything else and a test keeps the two together. */
export const LINES = {
  light: ['#4269D0', '#DE3001', '#009598', '#D85A85', '#4F7C17', '#AD66FF', '#AD6B4F', '#727ED4', '#6B6282', '#C2800D'],
  dark: ['#6F92F0', '#FA5A5B', '#33C2A1', '#FF99CE', '#2A9A38', '#C099EC', '#C7837D', '#AEBBEF', '#8291A6', '#D9A60A'],
} as const;

export type Theme = keyof typeof LINES;
const COUNT = LINES.light.length;

/** The colour that a run keeps everywhere: its number in its project decides, so neighbours differ. */
export function colourIndex(number: number): number {
  return (((number - 1) % COUNT) + COUNT) % COUNT;
}

/** Colours of the runs shown together: each its own; where two collide, the later takes the next free one. */
export function assignColours(runs: readonly { id: string; number: number }[]): Map<string, number> {
  const taken = new Set<number>();
  const colours = new Map<string, number>();
  for (const run of runs) {
    let index = colourIndex(run.number);
    if (taken.size < COUNT) while (taken.has(index)) index = (index + 1) % COUNT;
    taken.add(index);
    colours.set(run.id, index);
  }
  return colours;
}

export type Rgb = readonly [number, number, number];

export function parseHex(hex: string): Rgb {
  const value = Number.parseInt(hex.slice(1), 16);
  return [(value >> 16) & 255, (value >> 8) & 255, value & 255];
}

function linear(channel: number): number {
  const share = channel / 255;
  return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
}

function luminance([red, green, blue]: Rgb): number {
  return 0.2126 * linear(red) + 0.7152 * linear(green) + 0.0722 * linear(blue);
}

/** Contrast of two colours, 1 to 21 (WCAG 2.2). */
export function contrast(one: Rgb, other: Rgb): number {
  const [low = 0, high = 0] = [luminance(one), luminance(other)].sort((a, b) => a - b);
  return (high + 0.05) / (low + 0.05);
}
