import { describe, expect, it } from 'vitest';
import { decodeColumns } from './columns';

function body(head: unknown, arrays: ArrayBufferView[]): ArrayBuffer {
  let text = JSON.stringify(head);
  while ((8 + text.length) % 8) text += ' ';
  const parts: Uint8Array[] = [new TextEncoder().encode('FWC1'), new Uint8Array(new Uint32Array([text.length]).buffer), new TextEncoder().encode(text)];
  for (const array of arrays) {
    parts.push(new Uint8Array(array.buffer), new Uint8Array(-array.byteLength & 7));
  }
  const all = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let offset = 0;
  for (const part of parts) {
    all.set(part, offset);
    offset += part.length;
  }
  return all.buffer;
}

describe('decodeColumns', () => {
  it('reads arrays of several types with their padding', () => {
    const data = body({ meta: { seq: 7 }, arrays: [['a', 'u1', 3], ['x', 'f8', 2], ['m', 'f4', 1]] }, [
      new Uint8Array([1, 2, 3]), new Float64Array([0.5, NaN]), new Float32Array([2]),
    ]);

    const { meta, arrays } = decodeColumns<{ meta: { seq: number }; arrays: Record<'a' | 'x' | 'm', number[]> }>(data);

    expect(meta.seq).toBe(7);
    expect([...(arrays.a as Uint8Array)]).toEqual([1, 2, 3]);
    expect([...(arrays.x as Float64Array)]).toEqual([0.5, NaN]);
    expect([...(arrays.m as Float32Array)]).toEqual([2]);
  });

  it('refuses what is cut short or something else', () => {
    const data = body({ meta: {}, arrays: [['x', 'f8', 9]] }, [new Float64Array(2)]);

    expect(() => decodeColumns(data)).toThrow('cut short in array: x');
    expect(() => decodeColumns(new TextEncoder().encode('{"error": 1}').buffer as ArrayBuffer)).toThrow('not columns');
  });
});
