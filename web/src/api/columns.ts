/**
 * Columns: named arrays with a JSON head (`FWC1`, a 32-bit length, the head, then the arrays, each aligned to 8 bytes,
 * little-endian). Where alignment and byte order allow, arrays are views of the answer and nothing is copied.
 */

export type Column = Float64Array | Float32Array | BigInt64Array | Int32Array | Uint32Array | Uint8Array;

/** An answer whose JSON would be `A`. */
export interface Columns<A extends { meta: unknown; arrays: object }> {
  meta: A['meta'];
  arrays: { [K in keyof A['arrays']]?: Column };
}

const MAKERS = {
  f8: Float64Array,
  f4: Float32Array,
  i8: BigInt64Array,
  i4: Int32Array,
  u4: Uint32Array,
  u1: Uint8Array,
} as const;

type Dtype = keyof typeof MAKERS;

/** Read a body of columns; throws if it is not one or is cut short. */
export function decodeColumns<A extends { meta: unknown; arrays: object }>(body: ArrayBuffer): Columns<A> {
  const view = new DataView(body);
  if (body.byteLength < 8 || view.getUint32(0, false) !== 0x46574331) throw new Error('not columns');
  const length = view.getUint32(4, true);
  const head = JSON.parse(new TextDecoder().decode(new Uint8Array(body, 8, length))) as {
    meta: A['meta'];
    arrays: [keyof A['arrays'] & string, Dtype, number][];
  };
  const arrays: Columns<A>['arrays'] = {};
  let offset = 8 + length;
  for (const [name, dtype, count] of head.arrays) {
    const Maker = MAKERS[dtype];
    const size = Maker.BYTES_PER_ELEMENT * count;
    if (offset + size > body.byteLength) throw new Error(`columns are cut short in array: ${name}`);
    arrays[name] = new Maker(body, offset, count);
    offset += size + (-size & 7);
  }
  return { meta: head.meta, arrays };
}
