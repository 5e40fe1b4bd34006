// The binary form of many numbers, as the server writes it.
const SIZES = { f8: Float64Array, f4: Float32Array, i8: BigInt64Array, u4: Uint32Array, u1: Uint8Array };

export function encodeColumns(meta, arrays) {
  let head = JSON.stringify({ meta, arrays: arrays.map(([name, dtype, values]) => [name, dtype, values.length]) });
  while ((8 + Buffer.byteLength(head)) % 8) head += ' ';
  const bytes = Buffer.from(head);
  const length = Buffer.alloc(4);
  length.writeUInt32LE(bytes.length);
  const parts = [Buffer.from('FWC1'), length, bytes];
  for (const [, dtype, values] of arrays) {
    const data = Buffer.from(new SIZES[dtype](values).buffer);
    parts.push(data, Buffer.alloc(-data.length & 7));
  }
  return Buffer.concat(parts);
}
