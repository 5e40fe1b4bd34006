import type { Json } from '../api/types';
import { exactText, formatMoment } from './moments';
import { formatNumber, toNumber } from './numbers';

/** One cell of a table: five significant digits at most. */
export function formatCell(value: Json | undefined): string {
  if (value === null || value === undefined || value === '') return '–';
  if (typeof value === 'number') return formatNumber(value, 4);
  if (value === 'Infinity' || value === '-Infinity') return formatNumber(toNumber(value));
  return formatMoment(value) ?? exactText(value);
}
