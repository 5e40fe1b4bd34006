/** One field: quoted where it must be, and never a formula of a spreadsheet, whatever a metric is called. */
export function csvField(value: string | number): string {
  if (typeof value === 'number') return Number.isFinite(value) ? String(value) : Number.isNaN(value) ? 'NaN' : value > 0 ? 'Infinity' : '-Infinity';
  const safe = /^[=+\-@\t\r]/.test(value) ? `'${value}` : value;
  return /[",\n\r]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}

export interface ExactLine {
  run: string;
  name: string;
  rank: number;
  attempt: number;
  steps: ArrayLike<number>;
  /** Microseconds since 1970. */
  times: ArrayLike<bigint>;
  values: ArrayLike<number>;
}

/** Every point of every line, one per row. */
export function seriesCsv(lines: readonly ExactLine[], runNames: ReadonlyMap<string, string>): string {
  const rows = ['run,name,metric,rank,attempt,step,time_ms,value'];
  for (const line of lines) {
    const head = [line.run, runNames.get(line.run) ?? '', line.name].map(csvField).join(',') + `,${line.rank},${line.attempt},`;
    for (let k = 0; k < line.steps.length; k++) {
      const time = line.times[k];
      rows.push(`${head}${csvField(line.steps[k]!)},${time === undefined ? '' : String(time / 1000n)},${csvField(line.values[k]!)}`);
    }
  }
  return rows.join('\n') + '\n';
}

export function tableCsv(head: readonly string[], rows: readonly (readonly (string | number)[])[]): string {
  return [head, ...rows].map((row) => row.map(csvField).join(',')).join('\n') + '\n';
}
