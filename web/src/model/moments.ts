import type { Json } from '../api/types';

/** Datetimes and dates among the values of a run: `{"$datetime": "2026-11-30T20:15:00+01:00"}`, `{"$date": "2026-11-30"}`. */

const LOOKS = /^\d{4}-\d\d-\d\d/;

/** The text of a datetime or date, exact; null for any other value. */
export function momentText(value: Json | undefined): string | null {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return null;
  const [key, ...more] = Object.keys(value);
  const text = key === '$datetime' || key === '$date' ? value[key] : null;
  return typeof text === 'string' && !more.length && LOOKS.test(text) ? text : null;
}

/** A datetime or date as people here read it: local time, or what the program's clock said where it named no offset; null for any other value. */
export function formatMoment(value: Json | undefined): string | null {
  const text = momentText(value);
  if (text === null) return null;
  const day = text.length === 10;
  const time = new Date(day ? `${text}T00:00` : text);
  if (Number.isNaN(time.getTime())) return text;
  return day ? time.toLocaleDateString(undefined, { dateStyle: 'medium' }) : time.toLocaleString(undefined, { dateStyle: 'medium', timeStyle: 'medium' });
}

/** A value with nothing rounded or cut, datetimes by their text. */
export function exactText(value: Json): string {
  const text = momentText(value);
  if (text !== null) return text;
  return typeof value === 'object' && value !== null ? JSON.stringify(value, (_, inner: Json) => momentText(inner) ?? inner) : String(value);
}
