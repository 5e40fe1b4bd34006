import { decodeColumns, type Columns } from './columns';

/** What the server said when it refused, or `unreachable` when it said nothing. */
export class ApiError extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
    readonly hint: string | null = null,
  ) {
    super(message);
  }
}

const KEY = 'farwatch.key';

/** The address of an API path. Relative to the page's base, so that it works behind any sub-path. */
export function apiUrl(path: string): string {
  return new URL(`api/v1/${path}`, document.baseURI).href;
}

/** Query string of the values that are there, with its question mark, or nothing. */
export function query(values: Record<string, string | number | boolean | null | undefined>): string {
  const search = new URLSearchParams();
  for (const [name, value] of Object.entries(values))
    if (value !== null && value !== undefined && value !== '') search.set(name, String(value));
  const text = search.toString();
  return text ? `?${text}` : '';
}

export function storedKey(): string | null {
  try {
    return localStorage.getItem(KEY);
  } catch {
    return null; // storage may be switched off; local mode needs no key
  }
}

async function send(method: string, path: string, body?: unknown, signal?: AbortSignal): Promise<Response> {
  const headers: Record<string, string> = {};
  const key = storedKey();
  if (key) headers['X-Farwatch-Key'] = key;
  if (body !== undefined) headers['Content-Type'] = 'application/json';
  let response: Response;
  try {
    response = await fetch(apiUrl(path), {
      method,
      headers,
      credentials: 'same-origin',
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      ...(signal ? { signal } : {}),
    });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new ApiError(0, 'unreachable', 'the server does not answer');
  }
  if (!response.ok) throw await refusal(response);
  return response;
}

async function refusal(response: Response): Promise<ApiError> {
  try {
    const { error } = (await response.json()) as { error?: { code?: string; message?: string; hint?: string | null } };
    return new ApiError(response.status, error?.code ?? 'refused', error?.message ?? response.statusText, error?.hint ?? null);
  } catch {
    return new ApiError(response.status, 'refused', response.statusText || `status ${response.status}`);
  }
}

export async function getJson<T>(path: string, signal?: AbortSignal): Promise<T> {
  return (await (await send('GET', path, undefined, signal)).json()) as T;
}

export async function postJson<T>(path: string, body: unknown, signal?: AbortSignal): Promise<T> {
  return (await (await send('POST', path, body, signal)).json()) as T;
}

export async function patchJson<T>(path: string, body: unknown): Promise<T> {
  return (await (await send('PATCH', path, body)).json()) as T;
}

export async function remove(path: string): Promise<void> {
  await send('DELETE', path);
}

export async function postColumns<M>(path: string, body: unknown, signal?: AbortSignal): Promise<Columns<M>> {
  return decodeColumns<M>(await (await send('POST', path, body, signal)).arrayBuffer());
}

export async function getBlob(path: string, signal?: AbortSignal): Promise<Blob> {
  return (await send('GET', path, undefined, signal)).blob();
}

/** Change the one-time code of the address, if there is one, for a session, and take it out of the address. */
export async function exchangeOnce(): Promise<void> {
  const code = new URLSearchParams(location.hash.slice(1)).get('once');
  if (!code) return;
  history.replaceState(history.state, '', location.pathname + location.search);
  const { key } = await postJson<{ key?: string | null }>('session', { once: code });
  if (key) localStorage.setItem(KEY, key);
}
