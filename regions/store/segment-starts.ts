/**
 * When the segments of a pack begin, roughly: for each, how far its start lies from the earliest, in steps of 1/65,535 of the pack's
 * extent; ascending, two bytes each, little-endian. A search that goes on below some time asks how near below it a pack comes,
 * without inflating it. The stored form belongs to the store's format version.
 */
export function encodeStarts(starts: readonly bigint[], min: bigint, max: bigint): Uint8Array {
  const step = stepOf(min, max);
  const steps = Uint16Array.from(new Set(starts.map((start) => Number((start - min) / step)))).sort();
  const bytes = Buffer.alloc(steps.length * 2);
  steps.forEach((value, i) => {
    bytes.writeUInt16LE(value, i * 2);
  });
  return bytes;
}

/** No segment of the pack that starts at or before `limit` starts later than this. `limit` is not below `min`. */
export function latestStartUpTo(limit: bigint, starts: Uint8Array, min: bigint, max: bigint): bigint {
  if (limit >= max) return max;
  const step = stepOf(min, max);
  const wanted = Number((limit - min) / step);
  // The largest step at or below the wanted one; there is one, for the earliest segment's is 0.
  let low = 0;
  for (let high = starts.length / 2 - 1; low < high; ) {
    const middle = (low + high + 1) >> 1;
    const value = starts[middle * 2]! | (starts[middle * 2 + 1]! << 8);
    if (value <= wanted) low = middle;
    else high = middle - 1;
  }
  const found = BigInt((starts[low * 2] ?? 0) | ((starts[low * 2 + 1] ?? 0) << 8));
  const bound = min + (found + 1n) * step - 1n;
  return bound < limit ? bound : limit;
}

/** The smallest n with `max - min` below 2^n: packs of like extent are found together. */
export function extentLevel(min: bigint, max: bigint): number {
  return max === min ? 0 : (max - min).toString(2).length;
}

function stepOf(min: bigint, max: bigint): bigint {
  return (max - min) / 65_535n + 1n;
}
