import { unpackRuns } from './cells';
import { decodeColumns, type Columns } from './columns';
import type { Delete, Get, Patch, Post, Problem, Put, RunList } from './types';

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
const COLUMNS = 'application/x-farwatch-columns';

type Ask = Record<string, string | number | boolean | null | undefined>;
type Body<R> = R extends { body: infer B } ? B : null;
type Drawn = 'charts' | 'series';

/** The address of an API path. Relative to the page's base, so that it works behind any sub-path. */
export function apiUrl(path: string): string {
  return new URL(`api/v1/${path}`, document.baseURI).href;
}

/** Query string of the values that are there, with its question mark, or nothing. */
function query(values: Ask): string {
  const search = new URLSearchParams();
  for (const [name, value] of Object.entries(values))
    if (value !== null && value !== undefined && value !== '') search.set(name, String(value));
  const text = search.toString();
  return text ? `?${text}` : '';
}

/** An address below the API: what stands in braces is filled, the rest goes behind the question mark. */
export function apiPath<P extends keyof Get | keyof Delete>(path: P, ask: P extends keyof Get ? Get[P]['ask'] : P extends keyof Delete ? Delete[P]['ask'] : never): string {
  return filled(path, ask);
}

function filled(path: string, ask: Ask): string {
  const rest = { ...ask };
  const address = path.replace(/\{(\w+)\}/g, (_, name: string) => {
    const value = String(ask[name]);
    delete rest[name];
    return name === 'path' ? value.split('/').map(encodeURIComponent).join('/') : encodeURIComponent(value);
  });
  return address + query(rest);
}

export function storedKey(): string | null {
  try {
    return localStorage.getItem(KEY);
  } catch {
    return null; // storage may be switched off; local mode needs no key
  }
}

async function send(method: string, path: string, body?: unknown, signal?: AbortSignal, accept?: string): Promise<Response> {
  const headers: Record<string, string> = {};
  const key = storedKey();
  if (key) headers['X-Farwatch-Key'] = key;
  if (body !== undefined) headers['Content-Type'] = 'application/json';
  if (accept) headers['Accept'] = accept;
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
    const { error } = (await response.json()) as Partial<Problem>; // a proxy may have said something else
    return new ApiError(response.status, error?.code ?? 'refused', error?.message ?? response.statusText, error?.hint ?? null);
  } catch {
    return new ApiError(response.status, 'refused', response.statusText || `status ${response.status}`);
  }
}

export async function getJson<P extends keyof Get>(path: P, ask: Get[P]['ask'], signal?: AbortSignal): Promise<Get[P]['answer']> {
  return (await send('GET', filled(path, ask), undefined, signal)).json();
}

export async function postJson<P extends keyof Post>(path: P, ask: Post[P]['ask'], body: Body<Post[P]>, signal?: AbortSignal): Promise<Post[P]['answer']> {
  return (await send('POST', filled(path, ask), body ?? {}, signal)).json();
}

export async function putJson<P extends keyof Put>(path: P, ask: Put[P]['ask'], body: Body<Put[P]>): Promise<Put[P]['answer']> {
  return (await send('PUT', filled(path, ask), body)).json();
}

export async function patchJson<P extends keyof Patch>(path: P, ask: Patch[P]['ask'], body: Body<Patch[P]>): Promise<Patch[P]['answer']> {
  return (await send('PATCH', filled(path, ask), body)).json();
}

export async function remove<P extends keyof Delete>(path: P, ask: Delete[P]['ask']): Promise<void> {
  await send('DELETE', filled(path, ask));
}

/** As `postJson`, in the form that needs no parsing. */
export async function postColumns<P extends Drawn>(path: P, body: Body<Post[P]>, signal?: AbortSignal): Promise<Columns<Post[P]['answer']>> {
  return decodeColumns(await (await send('POST', path, body, signal)).arrayBuffer());
}

/** A list of runs, with many columns in the form that is smaller. */
export async function getRuns(ask: Get['runs']['ask']): Promise<RunList> {
  const response = await send('GET', filled('runs', ask), undefined, undefined, `${COLUMNS}, application/json`);
  return response.headers.get('Content-Type') === COLUMNS ? unpackRuns(decodeColumns(await response.arrayBuffer())) : response.json();
}

export async function getBlob(path: string, signal?: AbortSignal): Promise<Blob> {
  return (await send('GET', path, undefined, signal)).blob();
}

/** Change the one-time code of the address, if there is one, for a session, and take it out of the address. */
export async function exchangeOnce(): Promise<void> {
  const code = new URLSearchParams(location.hash.slice(1)).get('once');
  if (!code) return;
  history.replaceState(history.state, '', location.pathname + location.search);
  const { key } = await postJson('session', {}, { once: code });
  if (key) localStorage.setItem(KEY, key);
}
