import type { Pen } from './draw';

const escape = (text: string): string => text.replace(/[&<>"]/g, (letter) => `&#${letter.charCodeAt(0)};`);
const short = (value: number): string => String(Math.round(value * 100) / 100);

/** A pen that writes an SVG document instead of pixels. */
export class SvgPen implements Pen {
  strokeStyle: string = '#000';
  fillStyle: string = '#000';
  lineWidth = 1;
  globalAlpha = 1;
  lineJoin: CanvasLineJoin = 'round';
  lineCap: CanvasLineCap = 'round';
  #path = '';
  #dash: number[] = [];
  #body: string[] = [];
  #clips = 0;
  #open = 0;
  #levels: number[] = [];

  beginPath(): void {
    this.#path = '';
  }
  moveTo(x: number, y: number): void {
    this.#path += `M${short(x)} ${short(y)}`;
  }
  lineTo(x: number, y: number): void {
    this.#path += `${this.#path ? 'L' : 'M'}${short(x)} ${short(y)}`;
  }
  closePath(): void {
    this.#path += 'Z';
  }
  rect(x: number, y: number, width: number, height: number): void {
    this.#path += `M${short(x)} ${short(y)}h${short(width)}v${short(height)}h${short(-width)}Z`;
  }
  arc(x: number, y: number, radius: number): void {
    const r = short(radius);
    this.#path += `M${short(x - radius)} ${short(y)}a${r} ${r} 0 1 0 ${short(2 * radius)} 0a${r} ${r} 0 1 0 ${short(-2 * radius)} 0`;
  }
  stroke(): void {
    if (!this.#path) return;
    const dash = this.#dash.length ? ` stroke-dasharray="${this.#dash.map(short).join(' ')}"` : '';
    this.#body.push(
      `<path d="${this.#path}" fill="none" stroke="${escape(this.strokeStyle)}" stroke-width="${short(this.lineWidth)}" stroke-opacity="${short(this.globalAlpha)}" stroke-linejoin="round"${dash}/>`,
    );
  }
  fill(): void {
    if (this.#path) this.#body.push(`<path d="${this.#path}" fill="${escape(this.fillStyle)}" fill-opacity="${short(this.globalAlpha)}"/>`);
  }
  save(): void {
    this.#levels.push(this.#open);
  }
  restore(): void {
    const level = this.#levels.pop() ?? 0;
    while (this.#open > level) {
      this.#body.push('</g>');
      this.#open -= 1;
    }
  }
  clip(): void {
    this.#clips += 1;
    this.#body.push(`<clipPath id="c${this.#clips}"><path d="${this.#path}"/></clipPath><g clip-path="url(#c${this.#clips})">`);
    this.#open += 1;
  }
  setLineDash(pattern: number[]): void {
    this.#dash = pattern;
  }

  text(x: number, y: number, words: string, colour: string, size: number, anchor: 'start' | 'middle' | 'end' = 'start', weight = 400): void {
    this.#body.push(
      `<text x="${short(x)}" y="${short(y)}" fill="${escape(colour)}" font-size="${size}" font-weight="${weight}" text-anchor="${anchor}">${escape(words)}</text>`,
    );
  }

  /** The document of this size on this paper. */
  document(width: number, height: number, paper: string, family: string): string {
    return (
      `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" font-family="${escape(family)}">` +
      `<rect width="100%" height="100%" fill="${escape(paper)}"/>${this.#body.join('')}</svg>\n`
    );
  }
}
