/** Shapes of `/api/v1`, as the server's document describes them. Times are milliseconds since 1970, UTC. */

/** JSON has no word for these, so they travel as text. */
export type Num = number | 'NaN' | 'Infinity' | '-Infinity';
export type Cell = Num | string | boolean | null;

export const STATES = [
  'queued', 'running', 'paused', 'idle', 'stalled', 'lost', 'finishing', 'finished', 'stopped', 'failed', 'preempted',
] as const;
export type StateName = (typeof STATES)[number];

export interface ServerInfo {
  version: string;
  server_id: string;
  epoch: string;
  url: string | null;
  disk?: { free_bytes: number; total_bytes: number };
  readonly?: boolean;
  now_ms: number;
}

export interface ProjectRow {
  name: string;
  runs: number;
  running: number;
  points: number;
  bytes: number;
  modified_ms: number | null;
}

export interface RunRow {
  id: string;
  short: string;
  number: number;
  name: string;
  project: string;
  state: StateName;
  reason: string | null;
  created_ms: number;
  modified_ms: number;
  started_ms: number | null;
  ended_ms: number | null;
  duration_ms: number | null;
  contact_ms: number | null;
  owner: string | null;
  host: string | null;
  attempt: number;
  group: string | null;
  tags: string[];
  notes: string | null;
  archived: boolean;
  deleted_ms: number | null;
  step: number | null;
  total_steps: number | null;
  progress: { n: number; total: number | null } | null;
  points: number;
  bytes: number;
  world_size: number;
  main_metric: string | null;
  main_last: Num | null;
}

export interface ListedRun extends RunRow {
  cells: Cell[];
}

export interface RunList {
  runs: ListedRun[];
  columns: string[];
  total: number;
  next: string | null;
  seq: number;
  epoch: string;
}

export interface Attempt {
  attempt: number;
  started_ms: number | null;
  ended_ms: number | null;
  state: StateName;
  reason: string | null;
  first_step: number | null;
  host: string | null;
}

export interface Meter {
  calls: number;
  total_ns: number;
  worst_ns: number;
  dropped: number;
  wall_ns: number;
}

export type Json = string | number | boolean | null | Json[] | { [key: string]: Json };
export type Tree = { [key: string]: Json };

export interface RunDetail extends RunRow {
  config: Tree;
  attempts: Attempt[];
  ranks: { rank: number; host: string | null; writers: string[] }[];
  definitions: Json[];
  capture: Tree | null;
  meter: Meter | null;
  gaps: { writer: string; first: number; count: number; reason: string | null }[];
  lag: { records: number; bytes: number } | null;
  traceback: string | null;
  argv: string[] | null;
  python: string | null;
  url: string | null;
}

export interface MetricInfo {
  name: string;
  kind: string | null;
  count: number;
  nonfinite: number;
  last: Num | null;
  last_step: number | null;
  min: Num | null;
  min_step: number | null;
  max: Num | null;
  max_step: number | null;
  mean: Num | null;
  ranks: number[];
  attempts: number[];
  x: string | null;
  summary: string | null;
  goal: 'min' | 'max' | null;
  unit: string | null;
}

export interface MetricList {
  metrics: MetricInfo[];
  total: number;
  groups: { prefix: string; count: number }[];
}

export interface LineRef {
  run: string;
  name: string;
  rank?: number;
  attempt?: 'latest' | 'all' | number;
}

export interface ChartRequest {
  lines: LineRef[];
  x: string;
  lo: number | null;
  hi: number | null;
  buckets: number;
  ranks?: string;
}

export interface ChartLineMeta {
  run: string;
  name: string;
  rank: number;
  attempt: number;
  pale: boolean;
  exact: boolean;
  approximate: boolean;
  start: number;
  length: number;
  count: number;
  nonfinite: number;
  last: Num | null;
  last_step: number | null;
  /** What the line's values are differences to; absent where they are sent as they are. */
  base?: number;
  /** Over how many ranks a mean was taken. */
  ranks?: number;
}

export interface ChartMeta {
  seq: number;
  epoch: string;
  x: string;
  lines: ChartLineMeta[];
}

export interface SeriesMeta {
  lines: { run: string; name: string; rank: number; attempt: number; start: number; length: number }[];
}

export interface ConsoleLine {
  n: number;
  stream: string;
  time_ms: number | null;
  text: string;
  rank?: number;
}

export interface MediaItem {
  name: string;
  type: string;
  step: number | null;
  time_ms: number | null;
  rank: number;
  attempt: number;
  caption: string | null;
  /** What its library says about it. */
  note?: string | null;
  media_type: string | null;
  width: number | null;
  height: number | null;
  size: number | null;
  sha256?: string | null;
  url: string | null;
  /** Where a document shows itself with its scripts, in a frame that reaches nothing. */
  frame: string | null;
  text: string | null;
  counts: number[] | null;
  edges: number[] | null;
  columns: string[] | null;
  rows: Json[][] | null;
  index: number | null;
}

export interface MediaList {
  names: { name: string; type: string; count: number; step_min: number | null; step_max: number | null }[];
  items: MediaItem[];
}

export interface FileRow {
  path: string;
  size: number;
  sha256: string | null;
  mtime_ms: number | null;
  media_type: string | null;
}

/** What one tab wants to hear about. */
export interface Interest {
  project: string | null;
  runs: string[];
  series: { run: string; name: string }[];
  console: string[];
}

export interface LivePoints {
  run: string;
  name: string;
  rank: number;
  attempt: number;
  steps: Num[];
  times_ms: number[];
  values: Num[];
  more: boolean;
}

export interface LiveAnswer {
  cursor: string;
  reset: boolean;
  runs: RunRow[];
  removed: string[];
  points: LivePoints[];
  console: { run: string; rank: number; lines: ConsoleLine[] }[];
  new_metrics: Record<string, string[]>;
  media: Record<string, string[]>;
  now_ms: number;
}
