import { ApiError } from '../api/client';
import { refusalText, said } from './prefs.svelte';

/** What went wrong, with the way out if there is one. */
export function troubleOf(error: unknown): string {
  if (!(error instanceof ApiError)) return error instanceof Error ? error.message : String(error);
  const text = refusalText(error.code, error.message);
  return error.hint ? `${text} (${said(error.hint)})` : text;
}
