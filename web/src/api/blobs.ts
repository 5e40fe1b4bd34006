import { getBlob } from './client';

/**
 * Uploaded content as addresses that only this page knows: fetched with the page's key, since an address of the server
 * alone opens nothing. Shared by what shows the same bytes, and kept a while for sliding back and forth.
 */
const KEPT = 96;

interface Kept {
  address: Promise<string>;
  users: number;
}

const known = new Map<string, Kept>();

/** An address of the bytes behind `path`, under a name that stays theirs (their hash); and how to let go of it. */
export function blobAddress(path: string, name: string): { address: Promise<string>; release: () => void } {
  const kept: Kept = known.get(name) ?? { address: getBlob(path).then((blob) => URL.createObjectURL(blob)), users: 0 };
  known.delete(name);
  known.set(name, kept); // last used, last dropped
  kept.users += 1;
  kept.address.catch(() => known.get(name) === kept && known.delete(name));
  return {
    address: kept.address,
    release: () => {
      kept.users -= 1;
      for (const [other, candidate] of known) {
        if (known.size <= KEPT) break;
        if (candidate.users > 0) continue;
        known.delete(other);
        void candidate.address.then((address) => URL.revokeObjectURL(address), () => {});
      }
    },
  };
}
