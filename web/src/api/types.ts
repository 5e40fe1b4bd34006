/**
 * What the server speaks. Made from its OpenAPI document by `make docs`: change the shapes in src/farwatch/server/shapes, not this file.
 * Names that end in `_ms` are milliseconds, of a moment since 1970 in UTC.
 */

/** Who asks, and what they may. */
export interface ActorName {
  name: string;
  scopes: string[];
}

/** Whether it is worth going on. */
export interface Advice {
  say: 'stop' | 'continue' | null;
  why: string;
}

/** What a person does with an alert. */
export interface AlertAnswer {
  acknowledge?: boolean;
  /** Silent for so long; 0 wakes it. */
  snooze_s?: number;
  resolve?: boolean;
}

/** An alert, with everything that was sent about it. */
export interface AlertDetail {
  id: number;
  /** Null: it is about the server. */
  run: string | null;
  short: string | null;
  run_name: string | null;
  number: number | null;
  project: string | null;
  attempt: number;
  /** Name of the rule; `program` for what `run.alert` said. */
  rule: string;
  metric: string | null;
  /** Says what happened, in its first words. */
  title: string;
  text: string;
  /** `ring`: somebody should look now. `hint`: worth knowing. */
  level: 'ring' | 'hint';
  /** What the program said: info, warn or error. */
  said: string | null;
  state: 'pending' | 'firing' | 'silenced' | 'resolved';
  opened_ms: number;
  fired_ms: number | null;
  resolved_ms: number | null;
  modified_ms: number;
  snoozed_until_ms: number | null;
  acknowledged_ms: number | null;
  acknowledged_by: string | null;
  /** How often it has come, within its cool-down. */
  times: number;
  /** Since which step. */
  step: Num | null;
  /** Since when, by the run's clock. */
  time_ms: number | null;
  value: Num | null;
  band: Band | null;
  /** The value when it was over. */
  last: Num | null;
  /** It is over by itself. */
  recovered: boolean;
  /** Why it is over. */
  resolution: string | null;
  /** The three metrics that moved most at that step. */
  moved: Moved[];
  checkpoint: LastCheckpoint | null;
  /** What the run still needed when it fired, seconds. */
  left_s: number | null;
  consequence: Consequence | null;
  url: string | null;
  /** Whom it has reached, one entry per chat, in the order of time. */
  told: Reached[];
  /** Newest first. */
  deliveries: Delivery[];
}

/** Alerts, newest first. */
export interface AlertList {
  alerts: AlertRow[];
  /** Alerts of the whole server that need somebody. */
  firing: number;
}

/** One occurrence of what a rule watches for, or of what a program alerted. */
export interface AlertRow {
  id: number;
  /** Null: it is about the server. */
  run: string | null;
  short: string | null;
  run_name: string | null;
  number: number | null;
  project: string | null;
  attempt: number;
  /** Name of the rule; `program` for what `run.alert` said. */
  rule: string;
  metric: string | null;
  /** Says what happened, in its first words. */
  title: string;
  text: string;
  /** `ring`: somebody should look now. `hint`: worth knowing. */
  level: 'ring' | 'hint';
  /** What the program said: info, warn or error. */
  said: string | null;
  state: 'pending' | 'firing' | 'silenced' | 'resolved';
  opened_ms: number;
  fired_ms: number | null;
  resolved_ms: number | null;
  modified_ms: number;
  snoozed_until_ms: number | null;
  acknowledged_ms: number | null;
  acknowledged_by: string | null;
  /** How often it has come, within its cool-down. */
  times: number;
  /** Since which step. */
  step: Num | null;
  /** Since when, by the run's clock. */
  time_ms: number | null;
  value: Num | null;
  band: Band | null;
  /** The value when it was over. */
  last: Num | null;
  /** It is over by itself. */
  recovered: boolean;
  /** Why it is over. */
  resolution: string | null;
  /** The three metrics that moved most at that step. */
  moved: Moved[];
  checkpoint: LastCheckpoint | null;
  /** What the run still needed when it fired, seconds. */
  left_s: number | null;
  consequence: Consequence | null;
  url: string | null;
  /** Whom it has reached, one entry per chat, in the order of time. */
  told: Reached[];
}

/** One argument of a command. */
export interface ArgumentInfo {
  name: string;
  type: 'float' | 'int' | 'bool' | 'str';
  required: boolean;
  default: Json;
  choices: Json[] | null;
}

/** A picture or file that goes with a message: a file of the run. */
export interface Attached {
  path: string;
  name?: string;
  size?: number;
  media_type?: string;
  width?: number;
  height?: number;
}

/** One life of a run. */
export interface Attempt {
  attempt: number;
  started_ms: number;
  ended_ms: number | null;
  state: State;
  reason: string;
  first_step: number | null;
  host: string;
}

/** What was usual before. */
export interface Band {
  low: Num;
  usual: Num;
  high: Num;
}

/** What a progress bar shows. */
export interface Bar {
  /** How many are done. */
  n: number;
  /** Of how many; null if that is not known. */
  total: number | null;
  /** The words in front of the bar. */
  desc: string | null;
  /** What is counted. */
  unit: string;
  /** Since the bar began, seconds. */
  elapsed_s: number | null;
  /** Per second, smoothed as the bar does. */
  rate: number | null;
  /** At this rate, seconds. */
  remaining_s: number | null;
  /** The words behind the bar. */
  postfix: string | null;
  /** 1000 or 1024 where the bar shortens its numbers with k, M, …. */
  scale: number | null;
}

/** Where a writer goes on after its batch is on disk. */
export interface BatchAnswer {
  expected: number;
  crc: number;
  epoch: string;
  /** Commit number of the batch. */
  seq: number;
  set_aside: boolean;
}

/** What this server has of the writers; unknown ones are left out, and are to be registered. */
export interface BeatAnswer {
  epoch: string;
  writers: { [key: string]: WriterProgress };
}

/** A sign of life. */
export interface BeatRequest {
  /** By id. */
  writers: { [key: string]: WriterBeat };
  next_s?: number;
  host?: string;
  version?: string;
}

/** How a process died. */
export interface Cause {
  exit_code?: number;
  signal?: number | string;
  oom?: boolean;
  text?: string;
}

/** A service that is connected. */
export interface ChannelInfo {
  name: string;
  kind: string;
  title: string;
  /** False: the environment of the server gives it, and it is changed there. */
  lasting: boolean;
  /** What was given; of secrets the last four characters at most. */
  values: { [key: string]: string };
  created_ms: number | null;
  ok: boolean;
  /** `ok`, `connecting`, `no-contact`, `revoked`, `taken-over`, `asleep`, `scan-again`, `closed`. */
  code: string;
  /** How it is, in words. */
  text: string;
  facts: Tree;
  two_way: boolean;
  groups: boolean;
  /** May speak without having been spoken to. */
  push_first: boolean;
  experimental: boolean;
}

/** What is connected, and what could be. */
export interface ChannelList {
  channels: ChannelInfo[];
  kinds: KindInfo[];
}

/** A service to connect. What is not given again stays as it was. */
export interface ChannelRequest {
  kind: string;
  values?: { [key: string]: string };
}

/** Lines to draw. */
export interface Chart {
  meta: ChartMeta;
  arrays: ChartArrays;
}

/** Numbers of all lines, one behind the other. */
export interface ChartArrays {
  /** f8: x of single points. */
  px: Num[];
  /** f8: their values. */
  pv: Num[];
  /** f8: the middle of each bucket. */
  x: Num[];
  /** f4: difference to `base`. */
  min: Num[];
  /** f4: difference to `base`. */
  max: Num[];
  /** f4: difference to `base`. */
  mean?: Num[];
  /** f4: difference to `base`. */
  last?: Num[];
  /** u1, in place of `mean` and `last` for more than 20 lines: 255 is `max`. */
  mean8?: number[];
  /** u4: points in each bucket. */
  count: number[];
  /** u4: those of them that are not finite. */
  nonfinite: number[];
}

/** One line of a chart: which part of the arrays is its own, and what it stands for. */
export interface ChartLineMeta {
  run: string;
  name: string;
  rank: number;
  attempt: number;
  /** History that a later attempt took over. */
  pale: boolean;
  /** Single points, in `px` and `pv`; else buckets, in the other arrays. */
  exact: boolean;
  /** Places on the x axis are those of buckets. */
  approximate: boolean;
  start: number;
  length: number;
  /** Points that it stands for. */
  count: number;
  nonfinite: number;
  last: Num | null;
  last_step: number | null;
  kind: string;
  /** What its values are differences to. */
  base?: number;
  /** Over how many ranks a mean was taken. */
  ranks?: number;
  /** Points for which the metric on the x axis has no value. */
  unplaced?: number;
}

/** What a chart says of its lines. */
export interface ChartMeta {
  /** Changes after it begin at the cursor `epoch:seq` of the live stream. */
  seq: number;
  epoch: string;
  x: string;
  lines: ChartLineMeta[];
}

/** Lines to draw over an axis. */
export interface ChartRequest {
  lines: LineRef[];
  /** step, time (ms), relative (seconds), or the name of a metric. */
  x?: string;
  /** Only from here on, in the unit of x. */
  lo?: number | null;
  /** Only up to here. */
  hi?: number | null;
  /** Per line, at most 10,000; 250 if not said. */
  buckets?: number;
  /** Other than `0`: over the ranks of a run. */
  ranks?: '0' | 'mean' | 'all' | 'slowest';
}

/** What to change of a chat; null is the default again. */
export interface ChatChange {
  lang?: string | null;
  /** `full`, or `minimal`: no names, paths, values. */
  detail?: string | null;
  /** `edit` or `off`. */
  progress?: string | null;
  alarms?: boolean | null;
  events?: boolean | null;
  /** `{"s": seconds}` or `{"steps": n}`: a line of metrics so often. */
  every?: { [key: string]: Json } | null;
  muted_until_ms?: number | null;
  /** Only these. */
  projects?: string[] | null;
  /** Conditions that are told when they come true. */
  watch?: Json[] | null;
}

/** A conversation to which things are sent. */
export interface ChatInfo {
  no: number;
  channel: string;
  /** Its id at the service; the last four characters for those who may not administer. */
  address: string;
  /** Whose it is; null: a group, or what a channel's own settings name. */
  person: number | null;
  title: string;
  settings: Tree;
  created_ms: number;
  /** The newest. */
  last: Delivery | null;
}

/** A chat that is written to. */
export interface ChatRequest {
  channel: string;
  /** The service's id of it, and of a topic behind a slash. */
  address: string;
  title?: string;
  person?: number | null;
}

/** What can be a column of a project's table. */
export interface ColumnList {
  config: ConfigColumn[];
  summary: string[];
}

/** A command that the program declares. */
export interface CommandInfo {
  doc: string;
  args: ArgumentInfo[];
}

/** Commands to a run, newest first. */
export interface CommandList {
  commands: CommandRow[];
  total: number;
}

/** What somebody asks of a run. */
export interface CommandRequest {
  /** stop, pause, unpause, checkpoint, set, call or kill */
  op: string;
  /** set: name, value. call: name, args. */
  args?: { [key: string]: Json };
  /** Made by whoever asks: the same id is never done twice. */
  id?: string;
  /** Not done later than so many seconds from now. */
  expires_s?: number;
  /** Yes, although it is dangerous. */
  confirm?: boolean;
  /** By which way: page, cli, api. */
  channel?: string;
  /** As the person wrote it. */
  text?: string;
}

/** A command, and how far it is. */
export interface CommandRow {
  id: string;
  run: string | null;
  attempt: number;
  /** Rises within a run. */
  seq: number;
  op: Op;
  args: { [key: string]: Json };
  /** Who asked. */
  actor: string;
  channel: string;
  text: string;
  accepted_ms: number;
  expires_ms: number;
  /** When its agent had put it before the trainer. */
  delivered_ms: number | null;
  /** When the trainer began to do it. */
  started_ms: number | null;
  ended_ms: number | null;
  state: CommandState;
  reason: string;
  /** Of the run, where it was done. */
  step: number | null;
  /** What a command or hook returned. */
  result: Json;
  old: Json;
  new: Json;
}

export const COMMANDSTATES = ['pending', 'applied', 'refused', 'expired', 'superseded', 'interrupted'] as const;
/** How far a command is: pending, or one of the five endings. */
export type CommandState = (typeof COMMANDSTATES)[number];

/** A path of a config that can be a column. */
export interface ConfigColumn {
  name: string;
  /** Of its values in all runs; `mixed` if they differ. */
  type: string;
}

/** A service that took the credentials. */
export interface Connected {
  /** What the service calls us; empty where a scan is still to come. */
  called: string;
  channel: ChannelInfo;
}

/** The command that an alert asks for. */
export interface Consequence {
  op: string;
  args: Tree;
  /** When it is sent, unless somebody answers before. */
  due_ms: number;
  /** `due`, `sent`, `refused`, `not needed`. */
  state: string;
  /** Id of the command once it is sent. */
  command?: string | null;
  reason?: string;
}

/** One captured line. */
export interface ConsoleLine {
  /** Counts the lines of a rank, from 0, over all streams and attempts. */
  n: number;
  /** stdout, stderr or logging. */
  stream: string;
  time_ms: number;
  text: string;
}

/** Lines in order. */
export interface ConsolePage {
  lines: ConsoleLine[];
  /** Lines that match. */
  total: number;
}

/** What a program said of its metrics. */
export interface Definition {
  /** A name, or a pattern with `*`. */
  match: string;
  x?: string | null;
  summary?: string | null;
  goal?: string | null;
  unit?: string | null;
}

/** What became of taking messages back. */
export interface DeleteAnswer {
  messages: TakenBack[];
}

/** Messages to take back. */
export interface DeleteRequest {
  messages: MessageIds[];
}

/** A file that was deleted. */
export interface DeletedFile {
  run: string;
  /** Its path. */
  deleted: string;
}

/** Metrics that were deleted for good. */
export interface DeletedMetrics {
  id: string;
  deleted: string[];
}

/** A run that was deleted. */
export interface DeletedRun {
  id: string;
}

/** What became of one notice in one chat. */
export interface Delivery {
  id: number;
  at_ms: number;
  channel: string;
  chat: number;
  /** Of the chat; empty for one that is no more. */
  title: string;
  kind: 'alarm' | 'event' | 'progress';
  /** Such as `alert/12` or `run/5`. */
  about: string;
  /** `sent`, `unchanged`, `asleep`, `gone`, `refused`, `revoked`, `failed`, `unsure`; `held` until quiet hours end; `waiting`. */
  outcome: string;
  reason: string;
  tries: number;
  /** From the notice to the answer of the service. */
  took_ms: number;
}

/** What became of notices, newest first. */
export interface DeliveryList {
  deliveries: Delivery[];
}

/** Of the data folder. */
export interface Disk {
  free_bytes: number;
  total_bytes: number;
}

/** Something that a person gives to connect a service. */
export interface FieldInfo {
  name: string;
  text: string;
  /** Never shown again. */
  secret: boolean;
  required: boolean;
  default: string;
  /** The environment variable of the server that gives it as well. */
  env: string;
}

/** Files of a run by path. */
export interface FileList {
  files: FileRow[];
}

/** A file of a run. */
export interface FileRow {
  path: string;
  size: number;
  /** Null until the content has come. */
  sha256: string | null;
  mtime_ms: number;
  media_type: string | null;
}

/** A file that goes with a message: its bytes, or an upload. */
export interface FileToSend {
  name?: string;
  media_type?: string;
  caption?: string;
  base64?: string;
  /** Id of POST /notify/uploads. */
  upload?: string;
}

/** How a run ends. */
export interface FinishRequest {
  /** `finished` if not said. */
  state?: 'finished' | 'failed' | 'stopped' | 'preempted' | null;
  reason?: string | null;
}

/** Records that are gone for good. */
export interface Gap {
  writer: string;
  first: number;
  count: number;
  reason: string;
}

/** Whether all is well; if not, the status is 503. */
export interface Health {
  ok: boolean;
}

/** Whom a service calls this person. */
export interface IdentityInfo {
  channel: string;
  user_name: string;
  paired_ms: number;
}

/** Any value: what a program logged or configured is passed on as it came. */
export type Json = string | number | boolean | null | Json[] | { [key: string]: Json };

/** A service that can be connected. */
export interface KindInfo {
  name: string;
  title: string;
  experimental: boolean;
  /** The extra of the package that it needs, if any. */
  needs: string;
  /** Whether what it needs is installed. */
  ready: boolean;
  /** It is logged in to by scanning a code: POST /channels/{name}/login. */
  scan: boolean;
  /** What a person does first, in order. */
  steps: string[];
  fields: FieldInfo[];
}

/** A value that people may change while the run goes on. */
export interface KnobInfo {
  type: 'float' | 'int' | 'bool' | 'str';
  value: Json;
  default: Json;
  min: number | null;
  max: number | null;
  choices: Json[] | null;
  /** It is felt in ratios. */
  log: boolean;
  /** Who set it last. */
  by?: string;
}

/** What a run's machines have and this server has not. */
export interface Lag {
  records: number;
  bytes: number;
  /** Batches that were refused for good and are kept by the agent. */
  set_aside: number;
  files: number;
}

/** The newest checkpoint that is known. */
export interface LastCheckpoint {
  step: number | null;
  time_ms: number;
  /** The saved file; null if only the command is known. */
  path: string | null;
}

/** A series, or what is asked for of one. */
export interface LineRef {
  run: string;
  name: string;
  rank?: number;
  /** `latest`: the visible history; `all`: with what later attempts took over, as lines of their own. */
  attempt?: 'latest' | 'all' | number;
}

/** A row of the table. */
export interface ListedRun {
  id: string;
  /** The first 7 letters of the id. */
  short: string;
  /** Counts the runs of a project. */
  number: number;
  name: string;
  project: string;
  state: State;
  /** Why it is in this state; empty where that goes without saying. */
  reason: string;
  created_ms: number;
  modified_ms: number;
  /** The start of the last attempt that began the run anew. */
  started_ms: number;
  ended_ms: number | null;
  /** Up to its end, to the last contact of a lost one, or to now. */
  duration_ms: number;
  /** The last sign of life. */
  contact_ms: number;
  /** The account whose program it is. */
  owner: string;
  host: string;
  /** The latest, counted from 1. */
  attempt: number;
  group: string | null;
  job_type: string | null;
  /** The run that it belongs to. */
  parent: string | null;
  tags: string[];
  notes: string;
  archived: boolean;
  /** When it was deleted; null if it is not. */
  deleted_ms: number | null;
  /** The last visible step. */
  step: number | null;
  total_steps: number | null;
  progress: Progress | null;
  points: number;
  /** That it was sent in. */
  bytes: number;
  /** How many processes it runs on. */
  world_size: number;
  /** The metric that stands for it. */
  main_metric: string | null;
  /** The last value of that. */
  main_last: Num | null;
  /** Alerts that need somebody: they fire, ring, and nobody has acknowledged or silenced them. */
  alerts: number;
  /** When something last happened to a command of the run, since the server's start. */
  commands_ms: number;
  /** Values in the order of `columns`; null where the run has none. */
  cells: Json[];
}

/** What has changed since the cursor. */
export interface LiveAnswer {
  cursor: string;
  /** The cursor is unknown: load everything again. */
  reset: boolean;
  runs: RunRow[];
  /** Ids of runs that are gone. */
  removed: string[];
  points: LivePoints[];
  console: LiveConsole[];
  /** Alerts that have changed, in order; one that changed twice comes twice. */
  alerts: AlertRow[];
  /** Names by run. */
  new_metrics: { [key: string]: string[] };
  /** Names of media that were logged, by run. */
  media: { [key: string]: string[] };
  now_ms: number;
}

/** New lines of one rank. */
export interface LiveConsole {
  run: string;
  rank: number;
  /** One whose number is known replaces that one: it was unfinished. */
  lines: ConsoleLine[];
}

/** New points of one series, at most the 256 newest. */
export interface LivePoints {
  run: string;
  name: string;
  rank: number;
  attempt: number;
  steps: Num[];
  times_ms: number[];
  values: Num[];
  /** There were more than are here. */
  more: boolean;
}

/** What a reader looks at, and where it is. */
export interface LiveRequest {
  /** Of the answer before; null begins now. */
  cursor?: string | null;
  /** Rows of this project's runs; `*`: of all. */
  project?: string | null;
  /** Rows, new metrics and media of these runs. */
  runs?: string[];
  /** Their points. */
  series?: SeriesRef[];
  /** Console lines of these runs. */
  console?: string[];
  /** Answer after so long if nothing happens; at most 25. */
  wait_s?: number;
}

/** What was logged. */
export interface LogAnswer {
  run: string;
  entries: number;
  next_step: number;
}

/** One call of `log`. */
export interface LogEntry {
  /** Numbers and texts by name; nested names are joined with `/`. */
  metrics: { [key: string]: Json };
  /** The next one if not said. */
  step?: Num | null;
  /** Now if not said. */
  time_ms?: Num | null;
}

/** A step of logging in by a scan. */
export interface LoginRequest {
  /** The number that the phone shows. */
  digits?: string;
  /** Begin anew, with a new code. */
  again?: boolean;
}

/** How far it is. */
export interface LoginState {
  /** `wait`, `scanned`, `needs-digits`, `redirect`, `expired`, `blocked`, `already-bound`, `confirmed`. */
  state: string;
  /** To be drawn as a code. */
  link: string | null;
  text: string;
}

/** One user's agent on one machine. */
export interface Machine {
  agent: string;
  host: string;
  user: string;
  /** Why its launch.toml is not used. */
  error: string | null;
  /** Whether its agent has asked lately. */
  present: boolean;
  heard_ms: number;
  profiles: Profile[];
}

/** Where something can be started. */
export interface MachineList {
  machines: Machine[];
}

/** A point that is no number. What is no part of its type is null. */
export interface MediaItem {
  name: string;
  /** text, image, histogram, table, figure, audio, video, html, integer, datetime or date. */
  type: string;
  step: number | null;
  time_ms: number;
  rank: number;
  attempt: number;
  caption: string | null;
  media_type: string | null;
  width: number | null;
  height: number | null;
  /** Of its file, bytes. */
  size: number | null;
  /** Null until the file has come, and where there is none. */
  sha256: string | null;
  /** Of its bytes, relative to this API; a browser's session finds it signed. */
  url: string | null;
  /** Where a document shows itself with its scripts, relative to this API. */
  frame: string | null;
  text: string | null;
  /** Of a histogram: how many values lie between two edges. */
  counts: number[] | null;
  /** Of a histogram: one more than `counts`. */
  edges: Num[] | null;
  /** Of a table: their names. */
  columns: string[] | null;
  /** Of a table: the first ones. */
  rows: Json[][] | null;
  /** Its place among several that were logged together. */
  index: number | null;
  /** Of a table: all rows. */
  count?: number;
  /** Of a histogram: values left out. */
  nonfinite?: number;
  /** Of a sound: samples per second. */
  rate?: number;
  channels?: number;
  seconds?: number;
  frames?: number;
  fps?: number;
  /** What its library says about it. */
  note?: string | null;
}

/** Names of all media of a run, and the newest items in order of name and step. */
export interface MediaList {
  names: MediaName[];
  items: MediaItem[];
}

/** A name under which a run has media. */
export interface MediaName {
  name: string;
  type: string;
  count: number;
  step_min: number | null;
  step_max: number | null;
}

/** What a program said by `run.notify`. */
export interface Message {
  step: Num | null;
  time_ms: number;
  text: string;
  image?: Attached;
  file?: Attached;
}

/** Messages in a chat, as POST /notify has answered. */
export interface MessageIds {
  chat: number;
  ids: string[];
}

/** Messages, newest first. */
export interface MessageList {
  messages: Message[];
}

/** What logging has cost the processes of a run. */
export interface Meter {
  calls: number;
  total_ns: number;
  worst_ns: number;
  dropped: number;
  wall_ns: number;
}

/** How many names stand under a prefix. */
export interface MetricGroup {
  prefix: string;
  count: number;
}

/** A metric of a run: its visible history in numbers, and how it is meant. */
export interface MetricInfo {
  name: string;
  /** `f`: real numbers; `i`: whole ones; `b`: true and false. */
  kind: string;
  /** Points of all ranks and attempts. */
  count: number;
  nonfinite: number;
  last: Num;
  last_step: number;
  /** NaN if no value is finite, and so are its step, `max` and `mean`. */
  min: Num;
  min_step: Num;
  max: Num;
  max_step: Num;
  mean: Num;
  ranks: number[];
  attempts: number[];
  /** The metric, or `step`, over which it is meant to be drawn. */
  x: string | null;
  /** last, min, max or mean. */
  summary: string;
  goal: 'min' | 'max' | null;
  unit: string | null;
}

/** Metrics of a run, in order of their names. */
export interface MetricList {
  metrics: MetricInfo[];
  /** Metrics that match. */
  total: number;
  groups: MetricGroup[];
}

/** A metric that moved at that step. */
export interface Moved {
  name: string;
  /** What was usual before. */
  before: Num;
  /** At the step of the alert. */
  at: Num;
  /** How far, in units of its usual noise. */
  noises: Num;
}

/** It is done. */
export type Nothing = Record<string, never>;

/** What became of a message. */
export interface NotifyAnswer {
  messages: SentMessage[];
}

/** A message to people. */
export interface NotifyRequest {
  text?: string;
  format?: 'text' | 'markdown' | 'html' | 'mono';
  silent?: boolean;
  /** Links may unfold. */
  preview?: boolean;
  picture?: FileToSend | null;
  /** At most 10. */
  files?: FileToSend[];
  /** Numbers of chats, or names of channels; left out: everybody who wants messages. */
  to?: (number | string)[] | null;
  /** Wait so long for what becomes of it, 0 to 30; 10 if left out. */
  wait_s?: number;
  /** 8 to 64 letters, digits, hyphens: asked again with the same id, it is sent once. */
  id?: string;
}

/** A number. JSON has no word for those that are not finite, so they travel as text. */
export type Num = number | 'NaN' | 'Infinity' | '-Infinity';

/** A code for a browser. */
export interface OnceCode {
  code: string;
  url: string;
  expires_ms: number;
}

export const OPS = ['stop', 'pause', 'unpause', 'checkpoint', 'set', 'call', 'kill', 'start'] as const;
/** What a command asks for. */
export type Op = (typeof OPS)[number];

/** A command for an agent to deliver. */
export interface Order {
  id: string;
  /** Whose inbox; null: for the agent itself. */
  writer: string | null;
  run: string;
  seq: number;
  op: Op;
  args: { [key: string]: Json };
  actor: string;
  channel: string;
  expires_in_ms: number;
}

/** What an agent should deliver now. */
export interface Orders {
  commands: Order[];
  epoch: string;
}

/** What an agent says of commands, and how long it will wait for more. */
export interface OrdersRequest {
  /** Objects with `id`: now in the trainer's inbox. */
  delivered?: { [key: string]: Json }[];
  /** Objects with `id`, `state`, `reason`, `result`: done by the agent itself. */
  ended?: { [key: string]: Json }[];
  profiles?: { [key: string]: Json };
  wait_s?: number;
}

/** A code that is good once. */
export interface PairCode {
  code: string;
  /** For how long it is good. */
  seconds: number;
  links: PairLink[];
}

/** Where to send a code. */
export interface PairLink {
  channel: string;
  /** To be opened on the phone, or drawn as a code. */
  link: string | null;
  text: string;
}

/** Whom a code makes of whoever sends it. */
export interface PairRequest {
  name?: string;
  /** What they may do: some of `read`, `steer`, `start`. */
  scopes?: string[];
  /** Another identity of this person. */
  person?: number | null;
  /** The only channel where it counts. */
  channel?: string | null;
}

/** One parameter of a profile. */
export interface ParameterInfo {
  type: 'float' | 'int' | 'bool' | 'str';
  min?: number;
  max?: number;
  choices?: Json[];
  /** Without one, a value must be given. */
  default?: Json;
  /** A regular expression that a text must match. */
  pattern?: string;
  description?: string;
}

/** Who may be told and ask, where, and who tried. */
export interface PeopleList {
  owner: string;
  people: PersonInfo[];
  /** In the order in which they are tried. */
  chats: ChatInfo[];
  strangers: StrangerInfo[];
  /** So many wrong codes have come that none counts for now; a new code opens the door again. */
  closed: boolean;
}

/** What to change; null is the default again. */
export interface PersonChange {
  name?: string;
  /** What they may do: some of `read`, `steer`, `start`. */
  scopes?: string[];
  lang?: string | null;
  zone?: string | null;
  /** `{"from": "23:00", "to": "08:00", "alarms": true}`: only alarms, and with false these without a sound. */
  quiet?: { [key: string]: Json } | null;
  /** All of their chats, in the order in which they are to be tried. */
  chats?: number[];
}

/** Somebody who may be told of runs and ask. */
export interface PersonInfo {
  no: number;
  name: string;
  /** What they may do: some of `read`, `steer`, `start`. */
  scopes: string[];
  settings: PersonSettings;
  identities: IdentityInfo[];
  /** Numbers of chats, in the order in which they are tried. */
  chats: number[];
}

/** What a person set of themselves; null is the default. */
export interface PersonSettings {
  /** `en` or `zh`. */
  lang: string | null;
  /** Such as Europe/Berlin; null: that of the server. */
  zone: string | null;
  /** `{"from": "23:00", "to": "08:00", "alarms": true}`: only alarms, and with false these without a sound. */
  quiet: { [key: string]: Json } | null;
}

/** Every answer that is no success. A refused batch also says where its writer goes on. */
export interface Problem {
  error: ProblemText;
  expected?: number;
  crc?: number;
  epoch?: string;
}

/** An error that this server can answer with. */
export interface ProblemKind {
  code: string;
  /** The usual one. */
  status: number;
  text: string;
}

/** All of them by code. */
export interface ProblemList {
  problems: ProblemKind[];
}

/** What went wrong; some codes say more about it. */
export interface ProblemText {
  /** Stable, see `GET /problems`. */
  code: string;
  message: string;
  /** What to do. */
  hint: string | null;
  /** Of the request; the server's log has it too. */
  id: string;
}

/** Something that can be started on a machine. */
export interface Profile {
  name: string;
  title: string;
  description: string;
  folder: string;
  /** With its parameters as {name}. */
  command: string[];
  /** Names of the variables that it sets, never their values. */
  environment: string[];
  parameters: { [key: string]: ParameterInfo };
  at_once: number;
}

/** How far a run says that it is: its outermost bar. */
export interface Progress {
  /** How many are done. */
  n: number;
  /** Of how many; null if that is not known. */
  total: number | null;
  /** The words in front of the bar. */
  desc: string | null;
  /** What is counted. */
  unit: string;
  /** Since the bar began, seconds. */
  elapsed_s: number | null;
  /** Per second, smoothed as the bar does. */
  rate: number | null;
  /** At this rate, seconds. */
  remaining_s: number | null;
  /** The words behind the bar. */
  postfix: string | null;
  /** 1000 or 1024 where the bar shortens its numbers with k, M, …. */
  scale: number | null;
  /** When it said so. */
  at_ms: number;
  /** Whether the bar is closed: its clock stands. */
  ended: boolean;
  /** The bars inside it, outermost first. */
  bars: Bar[];
  /** False: what shows it is taken away at the end. */
  leave?: boolean;
  /** Chats that its bars name, by digests. */
  to?: string[];
}

/** All projects, newest first. */
export interface ProjectList {
  projects: ProjectRow[];
}

/** A project that has runs. */
export interface ProjectRow {
  name: string;
  runs: number;
  /** Runs that have not ended. */
  running: number;
  points: number;
  /** That its runs were sent in. */
  bytes: number;
  modified_ms: number;
  /** The one that a person chose for all of its runs. */
  main_metric: string | null;
}

/** The answer to it. */
export interface Proof {
  /** HMAC-SHA256 by the server's secret of `farwatch-server:<port>:<nonce>`, in hexadecimal. */
  proof: string;
  server_id: string;
  version: string;
}

/** A question that only the server of this account can answer. */
export interface ProofRequest {
  /** 32 hexadecimal digits. */
  nonce: string;
}

/** One process of a run, in all of its attempts. */
export interface Rank {
  rank: number;
  host: string;
  /** Ids, oldest first. */
  writers: string[];
}

/** Whom an alert has reached, or not. */
export interface Reached {
  /** The person, or the title of the chat. */
  who: string;
  channel: string;
  /** `sent` where it has arrived; else why it has not. */
  outcome: string;
  at_ms: number;
}

/** The number of what is no more. */
export interface Removed {
  removed: number;
}

/** A channel that is no more. */
export interface RemovedChannel {
  removed: string;
}

/** Who is off the list. */
export interface RemovedStranger {
  channel: string;
  removed: string;
}

/** A wish to run a run's command again. */
export interface RestartRequest {
  /** Made by whoever asks: the same id is never done twice. */
  id?: string;
  /** Yes, start it. */
  confirm?: boolean;
  /** By which way: page, cli, api. */
  channel?: string;
  /** As the person wrote it. */
  text?: string;
}

/** What people change of rules: name of a rule -> changes, or null for the rule as it comes. */
export interface RuleChange {
  /** Each: any of `on`, `level`, `cooldown_s`, `snooze_s`, `metrics`, `then`, and its thresholds by name; null is the default again. */
  rules: Tree;
}

/** Rules in force, and what people changed at this scope. */
export interface RuleList {
  rules: RuleRow[];
  /** Rule -> what was changed here. */
  changes: Tree;
}

/** A rule as it is in force. */
export interface RuleRow {
  name: string;
  title: string;
  text: string;
  level: 'ring' | 'hint';
  on: boolean;
  /** One that comes back within so many seconds is the same alert again. */
  cooldown_s: number;
  /** Names or patterns with `*` that it watches; empty: the main metric and the losses. */
  metrics: string[];
  snoozed_until_ms: number | null;
  then: Then | null;
  thresholds: Threshold[];
}

/** The run that was made, and the writer that stands for its requests. */
export interface RunAnswer {
  run: string;
  name: string;
  project: string;
  number: number;
  short: string;
  url: string;
  attempt: number;
  rank: number;
  /** Number of the next record. */
  expected: number;
  /** Checksum of all before it. */
  crc: number;
  epoch: string;
  step_base: number;
  /** Files that its records name and that have not come. */
  missing: string[];
  /** The same as `run`. */
  id: string;
  writer: string;
}

/** What a person may change of a run. */
export interface RunChange {
  name?: string;
  notes?: string;
  tags?: TagChange;
  archived?: boolean;
}

/** What changes beside the row while a run goes on. */
export interface RunCosts {
  lag: Lag;
  meter: Meter;
}

/** Everything about a run but its points. */
export interface RunDetail {
  id: string;
  /** The first 7 letters of the id. */
  short: string;
  /** Counts the runs of a project. */
  number: number;
  name: string;
  project: string;
  state: State;
  /** Why it is in this state; empty where that goes without saying. */
  reason: string;
  created_ms: number;
  modified_ms: number;
  /** The start of the last attempt that began the run anew. */
  started_ms: number;
  ended_ms: number | null;
  /** Up to its end, to the last contact of a lost one, or to now. */
  duration_ms: number;
  /** The last sign of life. */
  contact_ms: number;
  /** The account whose program it is. */
  owner: string;
  host: string;
  /** The latest, counted from 1. */
  attempt: number;
  group: string | null;
  job_type: string | null;
  /** The run that it belongs to. */
  parent: string | null;
  tags: string[];
  notes: string;
  archived: boolean;
  /** When it was deleted; null if it is not. */
  deleted_ms: number | null;
  /** The last visible step. */
  step: number | null;
  total_steps: number | null;
  progress: Progress | null;
  points: number;
  /** That it was sent in. */
  bytes: number;
  /** How many processes it runs on. */
  world_size: number;
  /** The metric that stands for it. */
  main_metric: string | null;
  /** The last value of that. */
  main_last: Num | null;
  /** Alerts that need somebody: they fire, ring, and nobody has acknowledged or silenced them. */
  alerts: number;
  /** When something last happened to a command of the run, since the server's start. */
  commands_ms: number;
  /** Nested as it was given. A datetime is `{"$datetime": ISO 8601}`, a date `{"$date": …}`; so in all values. */
  config: Tree;
  /** One value per metric by its rule, and what the program set. */
  summary: { [key: string]: Json };
  attempts: Attempt[];
  ranks: Rank[];
  definitions: Definition[];
  /** Git, packages and machine, as the program found them. */
  capture: Tree;
  meter: Meter;
  gaps: Gap[];
  lag: Lag;
  steer: Steerable;
  /** Whether `farwatch run` ran it, so that its machine can run it again. */
  restartable: boolean;
  advice: Advice;
  traceback: string | null;
  argv: string[];
  python: string;
  url: string;
}

/** A page of the runs table. */
export interface RunList {
  runs: ListedRun[];
  /** Those asked for, with `config.*` and `summary.*` written out. */
  columns: string[];
  /** Runs that match, on all pages. */
  total: number;
  /** The `cursor` of the next page; null on the last. */
  next: string | null;
  /** Changes after this page begin at the cursor `epoch:seq` of the live stream. */
  seq: number;
  epoch: string;
}

/** A run to make, or to continue by its `id`. */
export interface RunRequest {
  id?: string | null;
  project?: string | null;
  name?: string | null;
  config?: Tree | null;
  tags?: string[] | null;
  notes?: string | null;
  group?: string | null;
  job_type?: string | null;
  resume?: 'allow' | 'must' | 'never' | null;
  total_steps?: number | null;
}

/** A run as it stands in the table, without cells. */
export interface RunRow {
  id: string;
  /** The first 7 letters of the id. */
  short: string;
  /** Counts the runs of a project. */
  number: number;
  name: string;
  project: string;
  state: State;
  /** Why it is in this state; empty where that goes without saying. */
  reason: string;
  created_ms: number;
  modified_ms: number;
  /** The start of the last attempt that began the run anew. */
  started_ms: number;
  ended_ms: number | null;
  /** Up to its end, to the last contact of a lost one, or to now. */
  duration_ms: number;
  /** The last sign of life. */
  contact_ms: number;
  /** The account whose program it is. */
  owner: string;
  host: string;
  /** The latest, counted from 1. */
  attempt: number;
  group: string | null;
  job_type: string | null;
  /** The run that it belongs to. */
  parent: string | null;
  tags: string[];
  notes: string;
  archived: boolean;
  /** When it was deleted; null if it is not. */
  deleted_ms: number | null;
  /** The last visible step. */
  step: number | null;
  total_steps: number | null;
  progress: Progress | null;
  points: number;
  /** That it was sent in. */
  bytes: number;
  /** How many processes it runs on. */
  world_size: number;
  /** The metric that stands for it. */
  main_metric: string | null;
  /** The last value of that. */
  main_last: Num | null;
  /** Alerts that need somebody: they fire, ring, and nobody has acknowledged or silenced them. */
  alerts: number;
  /** When something last happened to a command of the run, since the server's start. */
  commands_ms: number;
}

/** What became of a message in one chat. */
export interface SentMessage {
  chat: number;
  channel: string;
  /** `sent`, `unchanged`, `asleep`, `gone`, `refused`, `revoked`, `failed`, `unsure`; `held` until quiet hours end; `waiting`. */
  outcome: string;
  reason: string;
  /** Of what was sent, by which it is taken back. */
  ids: string[];
}

/** Points in order of arrival. */
export interface SeriesArrays {
  /** f8 */
  steps: Num[];
  /** i8: microseconds since 1970. */
  times: number[];
  /** f8 */
  values: Num[];
}

/** Points of one attempt, and which part of the arrays they are. */
export interface SeriesLineMeta {
  /** Its place in the request. */
  line: number;
  run: string;
  name: string;
  rank: number;
  attempt: number;
  kind: string;
  start: number;
  length: number;
}

/** What exact points say of themselves. */
export interface SeriesMeta {
  seq: number;
  epoch: string;
  lines: SeriesLineMeta[];
}

/** Every point, exact. */
export interface SeriesPoints {
  meta: SeriesMeta;
  arrays: SeriesArrays;
}

/** A metric of a run. */
export interface SeriesRef {
  run: string;
  name: string;
}

/** Either `lines`, or one metric of all runs of a project that match an expression. */
export interface SeriesRequest {
  lines?: LineRef[];
  /** Only from this step on. */
  lo?: number | null;
  /** Only up to this step. */
  hi?: number | null;
  project?: string;
  name?: string;
  where?: string | null;
}

/** What a server is. */
export interface ServerInfo {
  version: string;
  server_id: string;
  /** Changes when its data are replaced; commit numbers count within one. */
  epoch: string;
  /** Version of the protocol of records. */
  wire: number;
  url: string;
  disk: Disk;
  /** The disk is so full that nothing is taken. */
  readonly: boolean;
  now_ms: number;
}

/** Who asks, and how they proved it. */
export interface Session {
  actor: ActorName;
  local: boolean;
  /** peer, secret or session. */
  via: string;
}

/** The key of a new session, to be sent as `X-Farwatch-Key` with its cookie. */
export interface SessionKey {
  key: string;
}

/** A code that begins one session. */
export interface SessionRequest {
  once: string;
}

/** How much of a file has come, after a chunk. */
export interface SpoolAnswer {
  /** Bytes; the next chunk begins here. */
  offset: number;
  /** It is whole. */
  done: boolean;
}

/** How much of a file has come. */
export interface SpoolOffset {
  /** Bytes; the next chunk begins here. */
  offset: number;
}

/** A wish for a start. */
export interface StartRequest {
  parameters?: { [key: string]: Json };
  /** Made by whoever asks: the same id is never done twice. */
  id?: string;
  /** Yes, start it. */
  confirm?: boolean;
  /** By which way: page, cli, api. */
  channel?: string;
  /** As the person wrote it. */
  text?: string;
}

export const STATES = ['queued', 'running', 'paused', 'idle', 'stalled', 'lost', 'finishing', 'finished', 'stopped', 'failed', 'preempted'] as const;
/** State of a run; each comes with a reason text. Only the last four are final. */
export type State = (typeof STATES)[number];

/** What people may do with a run. */
export interface Steerable {
  knobs: { [key: string]: KnobInfo };
  commands: { [key: string]: CommandInfo };
  /** Of `stop` and `checkpoint`: what the program has a hook for. */
  hooks: string[];
  /** Why nothing can be asked of it; null if it can. */
  off: string | null;
  paused: boolean;
}

/** Somebody who wrote and is nobody here: they got no answer. */
export interface StrangerInfo {
  channel: string;
  /** As they call themselves. */
  user_name: string;
  /** The id that the service knows them by; the last four characters for those who may not administer. */
  user: string;
  first_ms: number;
  last_ms: number;
  times: number;
}

/** Tags to add and to remove. */
export interface TagChange {
  add?: string[];
  remove?: string[];
}

/** What became of taking one message back. */
export interface TakenBack {
  chat: number;
  /** `sent`, `unchanged`, `asleep`, `gone`, `refused`, `revoked`, `failed`, `unsure`; `held` until quiet hours end; `waiting`. */
  outcome: string;
  reason: string;
}

/** What became of a test. */
export interface TestResult {
  /** `sent`, `unchanged`, `asleep`, `gone`, `refused`, `revoked`, `failed`, `unsure`; `held` until quiet hours end; `waiting`. */
  outcome: string;
  reason: string;
}

/** A command as consequence. */
export interface Then {
  op: 'stop' | 'pause' | 'checkpoint' | 'set' | 'call';
  args: Tree;
  /** Sent so many seconds after it fired, unless somebody answers; 0: at once. */
  unless_answered_s: number;
}

/** A number of a rule. */
export interface Threshold {
  name: string;
  value: number;
  default: number;
  min: number;
  max: number;
  /** What it means, with its unit. */
  text: string;
}

/** A nested mapping. */
export type Tree = { [key: string]: Json };

/** A file that waits for its message, for ten minutes. */
export interface UploadAnswer {
  upload: string;
}

/** What an agent knows of one of its writers. */
export interface WriterBeat {
  alive?: boolean | null;
  cause?: Cause;
  records_behind?: number;
  bytes_behind?: number;
  set_aside?: number;
}

/** How far a writer has come. */
export interface WriterProgress {
  expected: number;
}

/** A journal's `writer.json` (docs/protocol.md). What is not named here is passed over. */
export interface WriterRequest {
  /** 32 hexadecimal digits. */
  writer: string;
  /** 1 to 128 of `A-Za-z0-9._-`. */
  run: string;
  /** A person chose the id. */
  run_given?: boolean;
  /** Whether the run may exist. */
  resume?: 'allow' | 'must' | 'never' | null;
  /** Go back to this step. */
  from_step?: number | null;
  project?: string | null;
  name?: string | null;
  group?: string | null;
  job_type?: string | null;
  parent?: string | null;
  notes?: string | null;
  tags?: string[];
  host?: string | null;
  user?: string | null;
  boot_id?: string | null;
  pid_ns?: number | string | null;
  argv?: string[];
  python?: string | null;
  rank?: number;
  world_size?: number;
  rendezvous?: string | null;
  main?: boolean;
  /** `system` for measurements of a machine. */
  role?: string | null;
  sibling_of?: string | null;
  watches?: string | null;
  clone_of?: string | null;
  started_ms?: number;
  wall_us?: number;
  total_steps?: number | null;
}

/** Where a writer belongs, and how far it has come. */
export interface WriterStatus {
  run: string;
  name: string;
  project: string;
  number: number;
  short: string;
  url: string;
  attempt: number;
  rank: number;
  /** Number of the next record. */
  expected: number;
  /** Checksum of all before it. */
  crc: number;
  epoch: string;
  step_base: number;
  /** Files that its records name and that have not come. */
  missing: string[];
}

/** GET, by path below the API. `ask` stands in the path and behind its question mark. */
export interface Get {
  'alerts': { ask: { project?: string | null; run?: string | null; state?: string | null; before?: number | null; limit?: number | null }; answer: AlertList };
  'alerts/{id}': { ask: { id: string }; answer: AlertDetail };
  'blobs/{sha256}': { ask: { sha256: string; type?: string | null; name?: string | null; sign?: string | null }; answer: Blob };
  'channels': { ask: Record<string, never>; answer: ChannelList };
  'columns': { ask: { project?: string | null }; answer: ColumnList };
  'commands/{command}': { ask: { command: string; wait_s?: number | null }; answer: CommandRow };
  'deliveries': { ask: { about?: string | null; before?: number | null; limit?: number | null }; answer: DeliveryList };
  'info': { ask: Record<string, never>; answer: ServerInfo };
  'launch/profiles': { ask: Record<string, never>; answer: MachineList };
  'people': { ask: Record<string, never>; answer: PeopleList };
  'problems': { ask: Record<string, never>; answer: ProblemList };
  'projects': { ask: Record<string, never>; answer: ProjectList };
  'projects/{project}/rules': { ask: { project: string }; answer: RuleList };
  'rules': { ask: Record<string, never>; answer: RuleList };
  'runs': { ask: { project?: string | null; where?: string | null; q?: string | null; sort?: string | null; columns?: string | null; limit?: number | null; cursor?: string | null; archived?: boolean | null; exact?: boolean | null }; answer: RunList };
  'runs/{ref}': { ask: { ref: string; brief?: boolean | null }; answer: RunDetail };
  'runs/{ref}/alerts': { ask: { ref: string; state?: string | null; before?: number | null; limit?: number | null }; answer: AlertList };
  'runs/{ref}/commands': { ask: { ref: string; limit?: number | null; before?: number | null }; answer: CommandList };
  'runs/{ref}/console': { ask: { ref: string; from?: number | null; limit?: number | null; tail?: boolean | null; rank?: number | null; q?: string | null }; answer: ConsolePage };
  'runs/{ref}/costs': { ask: { ref: string }; answer: RunCosts };
  'runs/{ref}/figures/{sha256}': { ask: { ref: string; sha256: string; sign?: string | null }; answer: Blob };
  'runs/{ref}/files': { ask: { ref: string }; answer: FileList };
  'runs/{ref}/files/{path}': { ask: { ref: string; path: string }; answer: Blob };
  'runs/{ref}/interventions.jsonl': { ask: { ref: string }; answer: Blob };
  'runs/{ref}/media': { ask: { ref: string; name?: string | null; step_min?: number | null; step_max?: number | null; limit?: number | null }; answer: MediaList };
  'runs/{ref}/messages': { ask: { ref: string; limit?: number | null }; answer: MessageList };
  'runs/{ref}/metrics': { ask: { ref: string; match?: string | null; limit?: number | null; offset?: number | null }; answer: MetricList };
  'runs/{ref}/rules': { ask: { ref: string }; answer: RuleList };
  'session': { ask: Record<string, never>; answer: Session };
  'writers/{writer}': { ask: { writer: string }; answer: WriterStatus };
  'writers/{writer}/spool/{name}': { ask: { writer: string; name: string }; answer: SpoolOffset };
}

/** POST, by path below the API. `ask` stands in the path and behind its question mark. */
export interface Post {
  'agents/{agent}/beat': { ask: { agent: string }; body: BeatRequest; answer: BeatAnswer };
  'agents/{agent}/commands': { ask: { agent: string }; body: OrdersRequest; answer: Orders };
  'alerts/{id}': { ask: { id: string }; body: AlertAnswer; answer: AlertRow };
  'channels/{name}/login': { ask: { name: string }; body: LoginRequest; answer: LoginState };
  'charts': { ask: Record<string, never>; body: ChartRequest; answer: Chart };
  'chats': { ask: Record<string, never>; body: ChatRequest; answer: ChatInfo };
  'chats/{no}/test': { ask: { no: string }; answer: TestResult };
  'launch/{machine}/{profile}': { ask: { machine: string; profile: string }; body: StartRequest; answer: CommandRow };
  'live': { ask: Record<string, never>; body: LiveRequest; answer: LiveAnswer };
  'notify': { ask: Record<string, never>; body: NotifyRequest; answer: NotifyAnswer };
  'notify/delete': { ask: Record<string, never>; body: DeleteRequest; answer: DeleteAnswer };
  'notify/uploads': { ask: { name?: string | null; media_type?: string | null }; body: Blob; answer: UploadAnswer };
  'once': { ask: Record<string, never>; answer: OnceCode };
  'people/pair': { ask: Record<string, never>; body: PairRequest; answer: PairCode };
  'prove': { ask: Record<string, never>; body: ProofRequest; answer: Proof };
  'runs': { ask: Record<string, never>; body: RunRequest; answer: RunAnswer };
  'runs/{ref}/commands': { ask: { ref: string }; body: CommandRequest; answer: CommandRow };
  'runs/{ref}/finish': { ask: { ref: string }; body: FinishRequest; answer: RunRow };
  'runs/{ref}/log': { ask: { ref: string }; body: LogEntry | LogEntry[]; answer: LogAnswer };
  'runs/{ref}/restart': { ask: { ref: string }; body: RestartRequest; answer: CommandRow };
  'runs/{ref}/undelete': { ask: { ref: string }; answer: RunRow };
  'series': { ask: Record<string, never>; body: SeriesRequest; answer: SeriesPoints };
  'session': { ask: Record<string, never>; body: SessionRequest; answer: SessionKey };
  'writers': { ask: Record<string, never>; body: WriterRequest; answer: WriterStatus };
  'writers/{writer}/batches': { ask: { writer: string }; body: Blob; answer: BatchAnswer };
}

/** PUT, by path below the API. `ask` stands in the path and behind its question mark. */
export interface Put {
  'channels/{name}': { ask: { name: string }; body: ChannelRequest; answer: Connected };
  'projects/{project}/rules': { ask: { project: string }; body: RuleChange; answer: RuleList };
  'rules': { ask: Record<string, never>; body: RuleChange; answer: RuleList };
  'runs/{ref}/rules': { ask: { ref: string }; body: RuleChange; answer: RuleList };
  'writers/{writer}/spool/{name}': { ask: { writer: string; name: string; offset?: number | null; size?: number | null; sha256?: string | null; media_type?: string | null }; body: Blob; answer: SpoolAnswer };
}

/** PATCH, by path below the API. `ask` stands in the path and behind its question mark. */
export interface Patch {
  'chats/{no}': { ask: { no: string }; body: ChatChange; answer: ChatInfo };
  'people/{no}': { ask: { no: string }; body: PersonChange; answer: PersonInfo };
  'runs/{ref}': { ask: { ref: string }; body: RunChange; answer: RunRow };
}

/** DELETE, by path below the API. `ask` stands in the path and behind its question mark. */
export interface Delete {
  'channels/{name}': { ask: { name: string }; answer: RemovedChannel };
  'chats/{no}': { ask: { no: string }; answer: Removed };
  'people/{no}': { ask: { no: string }; answer: Removed };
  'runs/{ref}': { ask: { ref: string }; answer: DeletedRun };
  'runs/{ref}/files/{path}': { ask: { ref: string; path: string }; answer: DeletedFile };
  'runs/{ref}/metrics': { ask: { ref: string; name?: string | null }; answer: DeletedMetrics };
  'session': { ask: Record<string, never>; answer: Nothing };
  'strangers/{channel}/{user}': { ask: { channel: string; user: string }; answer: RemovedStranger };
}
