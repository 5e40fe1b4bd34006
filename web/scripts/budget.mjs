// First load: everything that index.html asks for itself, and what those modules import statically.
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';

const LIMIT = 120_000;
const folder = join(dirname(fileURLToPath(import.meta.url)), '../../src/farwatch/server/web');
const page = readFileSync(join(folder, 'index.html'), 'utf8');
const queue = [...page.matchAll(/(?:src|href)="\.\/(assets\/[^"]+\.(?:js|css))"/g)].map((match) => match[1]);
const seen = new Set();
let total = 0;
while (queue.length) {
  const name = queue.pop();
  if (seen.has(name)) continue;
  seen.add(name);
  const text = readFileSync(join(folder, name));
  const size = gzipSync(text, { level: 9 }).length;
  total += size;
  console.log(`${String(size).padStart(8)}  ${name}`);
  if (name.endsWith('.js'))
    for (const match of text.toString().matchAll(/(?:from|import)\s*"\.\/([^"]+\.js)"/g)) queue.push(`assets/${match[1]}`);
}
console.log(`${String(total).padStart(8)}  gzip, of ${LIMIT}`);
if (total > LIMIT) process.exit(1);
