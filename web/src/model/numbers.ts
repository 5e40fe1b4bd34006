import type { Num } from '../api/types';

/** A number of the API, where what JSON cannot say travels as text. */
export function toNumber(value: Num | null | undefined): number {
  if (typeof value === 'number') return value;
  if (value === 'Infinity') return Infinity;
  if (value === '-Infinity') return -Infinity;
  return NaN;
}

const THIN = '\u2009'; // thin space: digits stay together, units stay apart
const MINUS = '\u2212';

function group(digits: string): string {
  const [whole = '', fraction] = digits.split('.');
  const grouped = whole.replace(/\B(?=(\d{3})+(?!\d))/g, ',');
  return fraction === undefined ? grouped : `${grouped}.${fraction}`;
}

function exponent(text: string): string {
  const [mantissa = '', power = '0'] = text.split('e');
  const clean = mantissa.includes('.') ? mantissa.replace(/\.?0+$/, '') : mantissa;
  return `${clean}e${power.replace('+', '').replace('-', MINUS)}`;
}

/**
 * A number for reading: `digits` significant ones, grouped thousands, an exponent only where zeros would be counted.
 * Whole numbers below a billion are never rounded.
 */
export function formatNumber(value: number, digits = 4): string {
  if (Number.isNaN(value)) return 'NaN';
  if (!Number.isFinite(value)) return value > 0 ? '∞' : `${MINUS}∞`;
  if (value === 0) return '0';
  const sign = value < 0 ? MINUS : '';
  const size = Math.abs(value);
  if (Number.isInteger(size) && size < 1e9) return sign + group(String(size));
  if (size >= 1e9 || size < 1e-4) return sign + exponent(size.toExponential(digits - 1));
  const rounded = Number(size.toPrecision(digits));
  const decimals = Math.max(0, digits - 1 - Math.floor(Math.log10(rounded)));
  return sign + group(rounded.toFixed(Math.min(decimals, 12)).replace(/(\.\d*?)0+$/, '$1').replace(/\.$/, ''));
}

/** Every digit that a double has, for copying and for exact points. */
export function formatExact(value: number): string {
  const size = Math.abs(value);
  if (size >= 1e9 && size < 1e15) return (value < 0 ? MINUS : '') + group(String(Number(size.toPrecision(14))));
  return size < 1e15 ? formatNumber(value, 9) : formatNumber(value, 12);
}

/** A number for an axis or a narrow column: 1.2k, 3M. */
export function formatShort(value: number, digits = 3): string {
  if (!Number.isFinite(value)) return formatNumber(value);
  if (digits > 6) return formatNumber(value, digits);
  const size = Math.abs(value);
  if (size >= 1e15) return formatNumber(value, digits); // zeros before a letter would have to be counted
  for (const [limit, unit] of [[1e12, 'T'], [1e9, 'G'], [1e6, 'M'], [1e4, 'k']] as const)
    if (size >= limit) return `${formatNumber(value / (limit === 1e4 ? 1e3 : limit), digits)}${unit}`;
  return formatNumber(value, digits);
}

/** How long in one unit, for a narrow column: `42 s`, `19 h`. */
export function formatAge(ms: number, units: Units = UNITS): string {
  return formatDuration(ms, units).split(' ')[0]!;
}

export function formatBytes(bytes: number, digits = 3): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  let size = bytes;
  let unit = 0;
  while (size >= 999.5 && unit < units.length - 1) {
    size /= 1000;
    unit += 1;
  }
  return `${unit === 0 ? size : formatNumber(size, digits)}${THIN}${units[unit]}`;
}

/** Words for seconds, minutes, hours and days. */
export type Units = readonly [string, string, string, string];
const UNITS: Units = ['s', 'min', 'h', 'd'];

/** How long: `42 s`, `4 min`, `3 h 12 min`, `2 d 4 h`: two units at most. */
export function formatDuration(ms: number, [s, min, h, d]: Units = UNITS): string {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  if (seconds < 60) return `${seconds}${THIN}${s}`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes}${THIN}${min}`;
  const hours = Math.floor(minutes / 60);
  if (hours < 24) return minutes % 60 ? `${hours}${THIN}${h} ${minutes % 60}${THIN}${min}` : `${hours}${THIN}${h}`;
  const days = Math.floor(hours / 24);
  return hours % 24 ? `${days}${THIN}${d} ${hours % 24}${THIN}${h}` : `${days}${THIN}${d}`;
}

/** How long, as a progress bar writes it: `04:05`, `3:12:05`. */
export function formatClock(ms: number): string {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  const two = (value: number): string => String(value).padStart(2, '0');
  const hours = Math.floor(seconds / 3600);
  return `${hours ? `${hours}:` : ''}${two(Math.floor(seconds / 60) % 60)}:${two(seconds % 60)}`;
}

/** A rate as a progress bar writes it: `1.64 it/s`, and seconds for one where that is more than a second. */
export function formatPace(perSecond: number, unit: string): string {
  return perSecond < 1 ? `${formatNumber(1 / perSecond, 3)} s/${unit}` : `${formatNumber(perSecond, 3)} ${unit}/s`;
}

/** A share as a percentage with two significant digits: `0.02 %`, `61 %`. */
export function formatShare(share: number): string {
  if (!Number.isFinite(share)) return '–';
  const percent = share * 100;
  if (percent > 0 && percent < 0.01) return `<0.01${THIN}%`;
  return `${percent >= 10 ? Math.round(percent) : formatNumber(percent, 2)}${THIN}%`;
}

/** A rate per second: `98/s`, `0.42/s`. */
export function formatRate(perSecond: number): string {
  if (!Number.isFinite(perSecond)) return '';
  return perSecond >= 10 ? `${formatShort(Math.round(perSecond))}/s` : `${formatNumber(perSecond, 2)}/s`;
}
