import type { Spot } from '../model/marks';
import type { Inks } from '../state/prefs.svelte';
import type { Frame, Pen } from './draw';

const SIZE = 4;

/** A quiet line at every mark, unless there are several runs, and at its head a ◆ for a command or a ▲ for an alert. `left`: pixels of the page within the plot. */
export function drawMarks(pen: Pen, frame: Frame, spots: readonly Spot[], inks: Inks): void {
  const size = SIZE * frame.ratio;
  const middle = frame.top + size * 0.25;
  pen.save();
  for (const { left, kind, marks, colour: run } of spots) {
    const x = Math.round(frame.left + left * frame.ratio);
    const colour = kind === 'ring' ? inks.bad : kind === 'hint' ? inks.warn : run === undefined ? inks.ink2 : inks.lines[run]!;
    pen.strokeStyle = colour;
    pen.fillStyle = colour;
    pen.lineWidth = frame.ratio;
    pen.globalAlpha = 0.35;
    pen.setLineDash([2 * frame.ratio, 3 * frame.ratio]);
    pen.beginPath();
    pen.moveTo(x, middle + size);
    if (marks[0]?.colour === undefined) pen.lineTo(x, frame.top + frame.height);
    pen.stroke();
    pen.setLineDash([]);
    pen.globalAlpha = 1;
    pen.beginPath();
    pen.moveTo(x, middle - size);
    if (kind === 'command') {
      pen.lineTo(x + size, middle);
      pen.lineTo(x, middle + size);
      pen.lineTo(x - size, middle);
    } else {
      pen.lineTo(x + size, middle + size);
      pen.lineTo(x - size, middle + size);
    }
    pen.closePath();
    pen.fill();
  }
  pen.restore();
}
