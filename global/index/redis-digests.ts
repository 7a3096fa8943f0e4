import { BUCKET_MS, type DigestChanges } from './digest.js';
import { pairsOf } from './redis-view.js';

/*
 * A digest in Redis: the fields `{region number}:{hour}` with `:c` count, `:l` and `:h` sums of the lower and upper 32 bits of the hashes, so that
 * HINCRBY (signed 64 bits) can add to them; the sum modulo 2^64 is made when they are read.
 */

/** The changes as quadruples of the script's step `D`. */
export function digestSteps(changes: DigestChanges, regionNumber: (region: string) => number): (string | number)[] {
  const steps: (string | number)[] = [];
  for (const { region, bucketStartMs, count, sum } of changes) {
    if (count === 0 && sum === 0n) continue;
    const field = `${regionNumber(region)}:${bucketStartMs / BUCKET_MS}`;
    steps.push(field, count, Number(sum & 0xffff_ffffn), Number(sum >> 32n));
  }
  return steps;
}

export interface DigestSum {
  readonly regionNumber: number;
  readonly bucketStartMs: number;
  readonly count: number;
  readonly sum: bigint;
}

/** The digests of an HGETALL. */
export function digestSums(reply: unknown): DigestSum[] {
  const parts = new Map<string, { c: bigint; l: bigint; h: bigint }>();
  for (const [field, value] of pairsOf(reply)) {
    const [region, hour, part] = field.toString().split(':') as [string, string, 'c' | 'l' | 'h'];
    const key = `${region}:${hour}`;
    const sums = parts.get(key) ?? { c: 0n, l: 0n, h: 0n };
    sums[part] = BigInt(value.toString());
    parts.set(key, sums);
  }
  return [...parts].map(([key, { c, l, h }]) => {
    const [region, hour] = key.split(':').map(Number) as [number, number];
    const sum = BigInt.asUintN(64, (h << 32n) + l);
    return { regionNumber: region, bucketStartMs: hour * BUCKET_MS, count: Number(c), sum };
  });
}
