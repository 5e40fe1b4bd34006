import { postColumns } from '../api/client';
import type { LineRef } from '../api/types';
import { seriesCsv } from '../model/csv';
import { axisWords } from '../model/units';
import { logTicks, niceTicks, xLabels, xTicks } from '../model/ticks';
import { drawMarks } from './marks';
import { drawLines, xPosition, yPosition } from './draw';
import type { Plot } from './plot';
import { SvgPen } from './svg';

const HEAD = 40;

/** Hand a file to the browser. */
export function saveAs(name: string, content: BlobPart | Blob, type = 'text/plain'): void {
  const blob = content instanceof Blob ? content : new Blob([content], { type });
  const link = document.createElement('a');
  link.href = URL.createObjectURL(blob);
  link.download = name.replace(/[^\p{L}\p{N}._ -]+/gu, '_');
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

/** The chart as an SVG document, with title, axes and legend. */
export function plotSvg(plot: Plot, title: string): string {
  const { words: most, frame, spots, lines, view, inks, width, height } = plot.picture();
  const pen = new SvgPen();
  const moved = { ...frame, top: frame.top + HEAD };
  pen.text(12, 18, title, inks.ink, 13, 'start', 600);
  const shown = [...new Map(lines.map((drawn) => [drawn.entry, drawn])).values()];
  let left = 12;
  for (const drawn of shown) {
    if (left > width - 60) break;
    pen.strokeStyle = drawn.colour;
    pen.lineWidth = 2;
    pen.beginPath();
    pen.moveTo(left, 31);
    pen.lineTo(left + 12, 31);
    pen.stroke();
    pen.text(left + 17, 35, drawn.label, inks.ink2, 11);
    left += 32 + drawn.label.length * 6.2;
  }
  const x = xPosition(moved);
  const y = yPosition(moved);
  const rows = Math.max(2, Math.floor(frame.height / 36));
  pen.strokeStyle = inks.hairline;
  pen.lineWidth = 1;
  const ticks = view.log ? logTicks(frame.yMin, frame.yMax, rows) : niceTicks(frame.yMin, frame.yMax, rows);
  const words = axisWords(ticks, view.unit);
  ticks.forEach((tick, k) => {
    pen.beginPath();
    pen.moveTo(moved.left, y(tick));
    pen.lineTo(moved.left + moved.width, y(tick));
    pen.stroke();
    pen.text(moved.left - 6, y(tick) + 4, words[k]!, inks.ink2, 11, 'end');
  });
  const places = xTicks(view.x, frame.xMin, frame.xMax, most);
  const labels = xLabels(view.x, places, frame.xMax - frame.xMin);
  places.forEach((place, k) => pen.text(x(place), moved.top + moved.height + 16, labels[k]!, inks.ink2, 11, 'middle'));
  drawLines(pen, moved, lines, view.smooth, inks.bad, (x, y, words, size) => pen.text(x, y, words, inks.ink2, size, 'middle'));
  drawMarks(pen, moved, spots, inks);
  return pen.document(width, height + HEAD, inks.paper, inks.sans);
}

/** The chart as PNG, twice as fine as it is on the page. */
export async function plotPng(plot: Plot, title: string): Promise<Blob> {
  const { width, height } = plot.picture();
  const image = new Image();
  image.src = URL.createObjectURL(new Blob([plotSvg(plot, title)], { type: 'image/svg+xml' }));
  await image.decode();
  const canvas = document.createElement('canvas');
  canvas.width = width * 2;
  canvas.height = (height + HEAD) * 2;
  canvas.getContext('2d')?.drawImage(image, 0, 0, canvas.width, canvas.height);
  URL.revokeObjectURL(image.src);
  return new Promise((resolve, reject) => canvas.toBlob((blob) => (blob ? resolve(blob) : reject(new Error('no picture'))), 'image/png'));
}

/** Every point of these series, exact, as CSV. */
export async function exactCsv(refs: readonly LineRef[], runNames: ReadonlyMap<string, string>): Promise<string> {
  const { meta, arrays } = await postColumns('series', { lines: [...refs], lo: null, hi: null });
  const steps = arrays.steps as Float64Array;
  const times = arrays.times as BigInt64Array;
  const values = arrays.values as Float64Array;
  const cut = <T extends { subarray(from: number, to: number): T }>(array: T, line: { start: number; length: number }): T =>
    array.subarray(line.start, line.start + line.length);
  return seriesCsv(
    meta.lines.map((line) => ({ ...line, steps: cut(steps, line), times: cut(times, line), values: cut(values, line) })),
    runNames,
  );
}
