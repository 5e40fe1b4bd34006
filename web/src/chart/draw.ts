import { barWidth } from '../model/bars';
import { lowerBound, smooth, type Line } from '../model/lines';

/** What drawing needs of a canvas; an SVG document offers the same, so both pictures come from one hand. */
export interface Pen {
  strokeStyle: string | CanvasGradient | CanvasPattern;
  fillStyle: string | CanvasGradient | CanvasPattern;
  lineWidth: number;
  globalAlpha: number;
  lineJoin: CanvasLineJoin;
  lineCap: CanvasLineCap;
  beginPath(): void;
  moveTo(x: number, y: number): void;
  lineTo(x: number, y: number): void;
  closePath(): void;
  rect(x: number, y: number, width: number, height: number): void;
  arc(x: number, y: number, radius: number, from: number, to: number): void;
  stroke(): void;
  fill(): void;
  save(): void;
  restore(): void;
  clip(): void;
  setLineDash(pattern: number[]): void;
}

/** Where on the pen's surface which numbers are. */
export interface Frame {
  left: number;
  top: number;
  width: number;
  height: number;
  xMin: number;
  xMax: number;
  yMin: number;
  yMax: number;
  log: boolean;
  /** Pixels of the surface for one of the page. */
  ratio: number;
}

export interface DrawnLine {
  line: Line;
  colour: string;
  dash: 'solid' | 'dashed' | 'dotted';
  /** Drawn back because another line has the attention. */
  faint: boolean;
  label: string;
  run: string;
  name: string;
  /** Which entry of the legend it belongs to. */
  entry: string;
  /** Drawn as bars: this line's place among those that stand side by side, and the labels of its values. */
  bars?: { place: number; of: number; label: (value: number) => string } | null;
}

/** Writes words centred above a place; sizes in pixels of the page. */
export type Writer = (x: number, y: number, words: string, size: number) => void;

const DASHES = { solid: [], dashed: [4, 3], dotted: [1, 3] } as const;
const BAND = 0.14;

export function xPosition(frame: Frame): (x: number) => number {
  const scale = frame.width / (frame.xMax - frame.xMin);
  return (x) => frame.left + (x - frame.xMin) * scale;
}

export function yPosition(frame: Frame): (y: number) => number {
  if (!frame.log) {
    const scale = frame.height / (frame.yMax - frame.yMin);
    return (y) => frame.top + (frame.yMax - y) * scale;
  }
  const top = Math.log10(frame.yMax);
  const scale = frame.height / (top - Math.log10(frame.yMin));
  return (y) => (y > 0 ? frame.top + (top - Math.log10(y)) * scale : NaN);
}

/** Draw every line: bands below, pale remains, raw behind smoothed, and a mark at the axis for what is not a number. */
export function drawLines(pen: Pen, frame: Frame, lines: readonly DrawnLine[], strength: number, badColour: string, write: Writer): void {
  pen.save();
  pen.beginPath();
  pen.rect(frame.left, frame.top - 2 * frame.ratio, frame.width, frame.height + 3 * frame.ratio);
  pen.clip();
  pen.lineJoin = 'round';
  pen.lineCap = 'round';
  bars(pen, frame, lines.filter((drawn) => drawn.bars && !drawn.line.meta.pale), write);
  const seen = lines.filter((drawn) => !drawn.bars).map((drawn) => ({ ...drawn, from: visible(drawn.line, frame) }));
  for (const drawn of seen) if (!drawn.line.meta.pale) band(pen, frame, drawn.line, drawn.from, drawn.colour, drawn.faint ? 0.04 : BAND);
  // faint ones first, so that what has the attention lies on top
  for (const drawn of [...seen].sort((a, b) => Number(b.faint) - Number(a.faint))) curve(pen, frame, drawn, drawn.from, strength);
  for (const drawn of lines) if (!drawn.line.meta.pale) marks(pen, frame, drawn.line, badColour);
  pen.restore();
}

const LABEL = 10;
const LETTER = 5.8; // of a label of that size, wide

/** A bar for every place, from zero to its value, lines side by side; labels where there is room for all of them. */
function bars(pen: Pen, frame: Frame, lines: readonly DrawnLine[], write: Writer): void {
  if (!lines.length) return;
  const px = xPosition(frame);
  const py = yPosition(frame);
  const width = (barWidth(lines.map((drawn) => drawn.line)) * frame.width) / (frame.xMax - frame.xMin);
  const foot = Math.min(frame.top + frame.height, frame.log ? Infinity : py(0));
  const labels: [number, number, string][] = [];
  let longest = 0;
  for (const { line, colour, faint, bars } of lines) {
    if (!bars) continue;
    const own = (width * 0.8) / bars.of;
    pen.globalAlpha = faint ? 0.2 : 1;
    pen.fillStyle = colour;
    for (let k = 0; k < line.x.length; k++) {
      const top = py(line.y[k]!);
      const left = px(line.x[k]!) - width * 0.4 + own * bars.place;
      if (!Number.isFinite(top) || left + own < frame.left || left > frame.left + frame.width) continue;
      pen.beginPath();
      pen.rect(left, Math.min(top, foot), Math.max(own, frame.ratio), Math.max(Math.abs(foot - top), frame.ratio));
      pen.fill();
      const words = bars.label(line.y[k]!);
      longest = Math.max(longest, words.length);
      labels.push([left + own / 2, Math.min(top, foot) - 3 * frame.ratio, words]);
    }
  }
  pen.globalAlpha = 1;
  const room = (width * 0.96) / (lines[0]!.bars?.of ?? 1);
  if (longest * LETTER * frame.ratio <= room) for (const [x, y, words] of labels) write(x, y, words, LABEL * frame.ratio);
}

function visible({ x }: Line, frame: Frame): [number, number] {
  return [Math.max(0, lowerBound(x, frame.xMin) - 1), Math.min(x.length, lowerBound(x, frame.xMax) + 1)];
}

function band(pen: Pen, frame: Frame, { x, low, high }: Line, [from, to]: [number, number], colour: string, alpha: number): void {
  if (!low || !high) return;
  const px = xPosition(frame);
  const py = yPosition(frame);
  const floor = frame.top + frame.height;
  pen.globalAlpha = alpha;
  pen.fillStyle = colour;
  for (let start = from; start < to; ) {
    if (!Number.isFinite(py(high[start]!))) {
      start += 1;
      continue;
    }
    let end = start;
    while (end < to && Number.isFinite(py(high[end]!))) end += 1;
    pen.beginPath();
    for (let k = start; k < end; k++) pen.lineTo(px(x[k]!), py(high[k]!));
    for (let k = end - 1; k >= start; k--) {
      const y = py(low[k]!);
      pen.lineTo(px(x[k]!), Number.isFinite(y) ? y : floor); // below zero on a logarithmic axis: down to its foot
    }
    pen.closePath();
    pen.fill();
    start = end;
  }
  spikes(pen, px, py, { x, low, high }, [from, to], frame.ratio, colour, alpha);
  pen.globalAlpha = 1;
}

/** A place whose band is far taller than others' is narrow and would be lost at the band's strength: it gets a stroke of its own. */
function spikes(
  pen: Pen,
  px: (x: number) => number,
  py: (y: number) => number,
  { x, low, high }: { x: Float64Array; low: Float64Array; high: Float64Array },
  [from, to]: [number, number],
  ratio: number,
  colour: string,
  alpha: number,
): void {
  const heights: number[] = [];
  for (let k = from; k < to; k++) heights.push(py(low[k]!) - py(high[k]!));
  const usual = [...heights].filter(Number.isFinite).sort((a, b) => a - b)[heights.length >> 1] ?? 0;
  const limit = Math.max(5 * usual, 8 * ratio);
  pen.globalAlpha = Math.min(1, alpha * 3);
  pen.strokeStyle = colour;
  pen.lineWidth = ratio;
  pen.beginPath();
  heights.forEach((height, k) => {
    if (!(height > limit)) return;
    pen.moveTo(px(x[from + k]!), py(low[from + k]!));
    pen.lineTo(px(x[from + k]!), py(high[from + k]!));
  });
  pen.stroke();
}

function curve(pen: Pen, frame: Frame, drawn: DrawnLine, range: [number, number], strength: number): void {
  const { line, faint } = drawn;
  const pale = line.meta.pale;
  const smoothed = pale ? line.y : smooth(line.x, line.y, strength, frame.xMax - frame.xMin);
  pen.strokeStyle = drawn.colour;
  if (smoothed !== line.y) {
    pen.globalAlpha = faint ? 0.06 : 0.22;
    trace(pen, frame, line.x, line.y, range, 1, []);
  }
  pen.globalAlpha = faint ? 0.16 : pale ? 0.38 : 1;
  trace(pen, frame, line.x, smoothed, range, pale ? 1 : 1.5, DASHES[drawn.dash]);
  pen.globalAlpha = 1;
}

function trace(pen: Pen, frame: Frame, x: Float64Array, y: Float64Array, [from, to]: [number, number], width: number, dash: readonly number[]): void {
  const px = xPosition(frame);
  const py = yPosition(frame);
  const lonely: number[] = [];
  pen.lineWidth = width * frame.ratio;
  pen.setLineDash(dash.map((length) => length * frame.ratio));
  pen.beginPath();
  let open = false;
  for (let k = from; k < to; k++) {
    const top = py(y[k]!);
    if (!Number.isFinite(top)) {
      open = false;
      continue;
    }
    if (open) pen.lineTo(px(x[k]!), top);
    else {
      pen.moveTo(px(x[k]!), top);
      if (k + 1 >= to || !Number.isFinite(py(y[k + 1]!))) lonely.push(k);
      open = true;
    }
  }
  pen.stroke();
  pen.setLineDash([]);
  // a single point between gaps has no line to be seen by
  pen.fillStyle = pen.strokeStyle;
  for (const k of lonely) {
    pen.beginPath();
    pen.arc(px(x[k]!), py(y[k]!), (width + 0.75) * frame.ratio, 0, Math.PI * 2);
    pen.fill();
  }
}

function marks(pen: Pen, frame: Frame, { bad }: Line, colour: string): void {
  const px = xPosition(frame);
  const foot = frame.top + frame.height;
  const size = 3.5 * frame.ratio;
  pen.fillStyle = colour;
  let before = -Infinity;
  for (let k = lowerBound(bad, frame.xMin); k < bad.length && bad[k]! <= frame.xMax; k++) {
    const x = px(bad[k]!);
    if (x - before < size * 0.75) continue; // a run of NaN is a row of marks, not a thousand on one another
    before = x;
    pen.beginPath();
    pen.moveTo(x - size, foot);
    pen.lineTo(x, foot - size * 1.7);
    pen.lineTo(x + size, foot);
    pen.closePath();
    pen.fill();
  }
}
