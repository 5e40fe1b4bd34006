import uPlot from 'uplot';
import 'uplot/dist/uPlot.min.css';
import { axisWords } from '../model/units';
import { barWidth } from '../model/bars';
import { based, padded, xExtent, yExtent } from '../model/lines';
import { logTicks, niceTicks, xLabels, xTicks } from '../model/ticks';
import type { Inks } from '../state/prefs.svelte';
import type { Spot } from '../model/marks';
import { drawMarks } from './marks';
import { drawLines, type DrawnLine, type Frame, type Writer } from './draw';
import { bindGestures } from './gestures';

export interface PlotView {
  x: string;
  zoom: readonly [number, number] | null;
  log: boolean;
  smooth: number;
  unit: string | null;
  /** Range of y that is always seen: shares from 0 to 100 %, bytes from 0; null where the values decide. */
  base?: readonly [number, number | null] | null;
}

export interface PlotEvents {
  hover(x: number | null): void;
  zoom(range: [number, number] | null): void;
  pan(range: [number, number]): void;
  /** What stands over the plot for its present range, as it is drawn: `place` gives pixels within it, null beyond its edges. */
  marks?(place: (x: number) => number | null): readonly Spot[];
}

const EMPTY: [number, number] = [0, 1];
const GUTTER = 44;

/** One chart: axes, cursor and selection are uPlot's; the lines, each with an x of its own, are drawn by `drawLines`. */
export class Plot {
  #u: uPlot;
  #lines: readonly DrawnLine[] = [];
  #view: PlotView;
  #inks: Inks;
  #range: [number, number] = EMPTY;
  #quiet = false;
  #spots: readonly Spot[] = [];
  #events: PlotEvents;
  #release: () => void;

  constructor(host: HTMLElement, width: number, height: number, view: PlotView, inks: Inks, events: PlotEvents) {
    this.#view = view;
    this.#inks = inks;
    this.#events = events;
    const axis = { stroke: () => this.#inks.ink2, font: `11px ${inks.sans}`, ticks: { show: false } } satisfies uPlot.Axis;
    this.#u = new uPlot(
      {
        width,
        height,
        padding: [8, 8, 0, 0],
        legend: { show: false },
        series: [{}, {}],
        scales: {
          x: { time: false, range: () => this.#range },
          y: { range: () => this.#yRange(), distr: 1 },
        },
        axes: [
          {
            ...axis,
            size: 24,
            gap: 4,
            grid: { show: false },
            splits: (u, _index, low, high) => xTicks(this.#view.x, low, high, this.#most(Math.max(2, Math.round(u.bbox.width / uPlot.pxRatio / 60)))),
            values: (u, splits) => {
              const span = this.#range[1] - this.#range[0];
              return xLabels(this.#view.x, splits, span).map((word, k) => {
                const room = ((this.#range[1] - splits[k]!) / span) * (u.bbox.width / uPlot.pxRatio) + 8;
                return room < word.length * 3.2 ? '' : word; // half a number at the edge is worse than none
              });
            },
          },
          {
            ...axis,
            // as wide as its longest word, but the same for most charts, so that columns of charts line up
            size: (_u, values) => Math.max(GUTTER, ...(values ?? []).map((word) => word.length * 6.4 + 14)),
            gap: 6,
            grid: { stroke: () => this.#inks.hairline, width: 1 },
            splits: (u, _index, low, high) => {
              const count = Math.max(2, Math.round(u.bbox.height / uPlot.pxRatio / 52));
              return this.#view.log ? logTicks(10 ** low, 10 ** high, count).map(Math.log10) : niceTicks(low, high, count);
            },
            values: (_u, splits) => axisWords(splits.map((split) => (this.#view.log ? Number((10 ** split).toPrecision(6)) : split)), this.#view.unit),
          },
        ],
        cursor: {
          y: false,
          points: { show: false },
          drag: { x: true, y: false, setScale: false, dist: 4 },
          bind: {
            dblclick: () => () => {
              events.zoom(null);
              return null;
            },
          },
        },
        hooks: {
          draw: [(u) => this.#draw(u)],
          setCursor: [
            (u) => {
              if (this.#quiet) return;
              const left = u.cursor.left ?? -1;
              events.hover(left < 0 ? null : u.posToVal(left, 'x'));
            },
          ],
          setSelect: [
            (u) => {
              if (u.select.width < 4) return;
              const from = u.posToVal(u.select.left, 'x');
              const to = u.posToVal(u.select.left + u.select.width, 'x');
              u.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
              events.zoom([from, to]);
            },
          ],
        },
      },
      [EMPTY, [null, null]],
      host,
    );
    this.#release = bindGestures(this.#u, { range: () => this.#range, zoom: events.zoom, pan: events.pan });
  }

  destroy(): void {
    this.#release();
    this.#u.destroy();
  }

  resize(width: number, height: number): void {
    this.#u.setSize({ width, height });
  }

  set(lines: readonly DrawnLine[], view: PlotView, inks: Inks): void {
    this.#lines = lines;
    this.#view = view;
    this.#inks = inks;
    const extent = view.zoom ?? this.#whole() ?? EMPTY;
    this.#range = extent[0] < extent[1] ? [extent[0], extent[1]] : [extent[0] - 0.5, extent[1] + 0.5];
    this.#u.setData([this.#range, [null, null]], true);
  }

  /** Put the cross-hair at an x without telling anybody. */
  point(x: number | null): void {
    this.#quiet = true;
    const left = x === null ? -10 : this.#u.valToPos(x, 'x');
    const inside = left >= 0 && left <= this.#u.over.clientWidth;
    this.#u.setCursor({ left: inside ? left : -10, top: inside ? 0 : -10 }, false);
    this.#quiet = false;
  }

  /** Page pixels within the plot, for dots and labels that lie on it. */
  position(x: number, y: number): { left: number; top: number } {
    return { left: this.#u.valToPos(x, 'x'), top: this.#u.valToPos(this.#view.log ? Math.log10(y) : y, 'y') };
  }

  get range(): readonly [number, number] {
    return this.#range;
  }

  /** Draw again: what stands over the plot has changed. */
  redraw(): void {
    this.#u.redraw(false);
  }

  get over(): HTMLElement {
    return this.#u.over;
  }

  /** The plot for another surface: its frame in page pixels, what is drawn and where the axes have words. */
  picture(): { words: number; frame: Frame; spots: readonly Spot[]; lines: readonly DrawnLine[]; view: PlotView; inks: Inks; width: number; height: number; canvas: HTMLCanvasElement } {
    return { spots: this.#spots, words: this.#most(Math.max(2, Math.floor(this.#frame(1).width / 72))), frame: this.#frame(1), lines: this.#lines, view: this.#view, inks: this.#inks, width: this.#u.width, height: this.#u.height, canvas: this.#u.ctx.canvas };
  }

  /** All places of the lines; bars, which are wide, with all of their first and last. */
  #whole(): [number, number] | null {
    const extent = xExtent(this.#lines.map((drawn) => drawn.line));
    const bars = this.#lines.filter((drawn) => drawn.bars).map((drawn) => drawn.line);
    if (!extent || !bars.length) return extent;
    const half = barWidth(bars) / 2;
    return [extent[0] - half, extent[1] + half];
  }

  /** How many words an x axis may have: bars have one each at most. */
  #most(count: number): number {
    const bars = this.#lines.filter((drawn) => drawn.bars).map((drawn) => drawn.line);
    return bars.length ? Math.min(count, Math.max(1, Math.floor((this.#range[1] - this.#range[0]) / barWidth(bars)))) : count;
  }

  #draw(u: uPlot): void {
    const frame = this.#frame(uPlot.pxRatio);
    drawLines(u.ctx, frame, this.#lines, this.#view.smooth, this.#inks.bad, this.#writer(u.ctx));
    const scale = frame.width / uPlot.pxRatio / (frame.xMax - frame.xMin);
    this.#spots = this.#events.marks?.((x) => (x >= frame.xMin && x <= frame.xMax ? (x - frame.xMin) * scale : null)) ?? [];
    drawMarks(u.ctx, frame, this.#spots, this.#inks);
  }

  #writer(pen: CanvasRenderingContext2D): Writer {
    return (x, y, words, size) => {
      pen.font = `${size}px ${this.#inks.sans}`;
      pen.fillStyle = this.#inks.ink2;
      pen.textAlign = 'center';
      pen.textBaseline = 'alphabetic';
      pen.fillText(words, x, y);
    };
  }

  #yRange(): [number, number] {
    const { log } = this.#view;
    // a bar that does not begin at zero lies about how much more one is than the other
    const bars = this.#lines.some((drawn) => drawn.bars);
    const base = bars ? null : this.#view.base;
    const seen = yExtent(this.#lines.map((drawn) => drawn.line), this.#range[0], this.#range[1], log);
    const extent = seen && bars && !log ? ([Math.min(0, seen[0]), Math.max(0, seen[1]) * 1.06] as [number, number]) : seen;
    const [low, high] = !log && base ? based(extent ?? [base[0], base[1] ?? 1], base) : padded(extent ?? (log ? [1, 10] : EMPTY), log);
    // uPlot's own logarithmic scale insists on whole decades; a linear one over exponents does not
    return log ? [Math.log10(low), Math.log10(high)] : [low, high];
  }

  #frame(ratio: number): Frame {
    const { left, top, width, height } = this.#u.bbox;
    const scale = ratio / uPlot.pxRatio;
    const { min = 0, max = 1 } = this.#u.scales.y!;
    const ends = this.#view.log ? [10 ** (min ?? 0), 10 ** (max ?? 1)] : [min ?? 0, max ?? 1];
    return {
      left: left * scale, top: top * scale, width: width * scale, height: height * scale,
      xMin: this.#range[0], xMax: this.#range[1], yMin: ends[0]!, yMax: ends[1]!, log: this.#view.log, ratio,
    };
  }
}
