/** Terminal text as spans. Colours and weight are kept; every other escape sequence is dropped; text stays text. */

export interface Span {
  text: string;
  /** 0 to 15, or a CSS colour for the larger palettes. */
  fg: number | string | null;
  bold: boolean;
  dim: boolean;
  italic: boolean;
  underline: boolean;
}

type Style = Omit<Span, 'text'>;
const PLAIN: Style = { fg: null, bold: false, dim: false, italic: false, underline: false };
// CSI … letter, OSC … BEL or ST, two-letter escapes, and control characters that are neither tab nor line end
// eslint-disable-next-line no-control-regex
const ESCAPES = /\u001b\[([0-9;:?<=>]*)[ -/]*([@-~])|\u001b\][^\u0007\u001b]*(?:\u0007|\u001b\\)?|\u001b[@-Z\\-_]|\u001b|[\u0000-\u0008\u000b-\u001a\u001c-\u001f\u007f]/g;

function cube(index: number): string {
  if (index >= 232) {
    const grey = 8 + (index - 232) * 10;
    return `rgb(${grey} ${grey} ${grey})`;
  }
  const level = (n: number): number => (n === 0 ? 0 : 55 + n * 40);
  const k = index - 16;
  return `rgb(${level(Math.floor(k / 36))} ${level(Math.floor(k / 6) % 6)} ${level(k % 6)})`;
}

function apply(style: Style, codes: number[]): Style {
  let next = { ...style };
  for (let k = 0; k < codes.length; k++) {
    const code = codes[k]!;
    if (code === 0) next = { ...PLAIN };
    else if (code === 1) next.bold = true;
    else if (code === 2) next.dim = true;
    else if (code === 3) next.italic = true;
    else if (code === 4) next.underline = true;
    else if (code === 22) next.bold = next.dim = false;
    else if (code === 23) next.italic = false;
    else if (code === 24) next.underline = false;
    else if (code >= 30 && code <= 37) next.fg = code - 30;
    else if (code >= 90 && code <= 97) next.fg = code - 82;
    else if (code === 39) next.fg = null;
    else if (code === 38 || code === 48) {
      const indexed = codes[k + 1] === 5;
      if (code === 38 && indexed) {
        const index = codes[k + 2] ?? 0;
        next.fg = index < 16 ? index : index < 256 ? cube(index) : null;
      } else if (code === 38 && codes[k + 1] === 2) next.fg = `rgb(${codes.slice(k + 2, k + 5).map((n) => Math.min(255, n)).join(' ')})`;
      k += indexed ? 2 : 4;
    }
  }
  return next;
}

/** Split a line into spans; a carriage return starts over, as it does on a terminal. */
export function ansiSpans(line: string): Span[] {
  const shown = line.slice(line.replace(/\r+$/, '').lastIndexOf('\r') + 1);
  if (!/[\u0000-\u0008\u000b-\u001f\u007f]/.test(shown)) return [{ text: shown, ...PLAIN }]; // eslint-disable-line no-control-regex
  const spans: Span[] = [];
  let style = { ...PLAIN };
  let from = 0;
  for (const match of shown.matchAll(ESCAPES)) {
    if (match.index > from) spans.push({ text: shown.slice(from, match.index), ...style });
    from = match.index + match[0].length;
    if (match[2] === 'm') style = apply(style, (match[1] || '0').split(/[;:]/).map(Number));
  }
  if (from < shown.length) spans.push({ text: shown.slice(from), ...style });
  return spans;
}

/** The text alone. */
export function ansiText(line: string): string {
  return ansiSpans(line).map((span) => span.text).join('');
}
