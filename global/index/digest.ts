import { createHash } from 'node:crypto';
import type { TraceMetadata } from '../model/metadata.js';
import { NANOS_PER_MS } from '../model/time.js';
import { canonicalBytes } from './join.js';

/** Buckets of digests are an hour long. */
export const BUCKET_MS = 3_600_000;
const BUCKET_NANO = BigInt(BUCKET_MS) * NANOS_PER_MS;

/** Start (ms) of the bucket in which a record with this start lies. */
export function bucketOf(startUnixNano: bigint): number {
  return Number(startUnixNano / BUCKET_NANO) * BUCKET_MS;
}

/** First and last start of a bucket, ns, both inside. */
export function bucketRange(bucketStartMs: number): { first: bigint; last: bigint } {
  const first = BigInt(Math.trunc(bucketStartMs)) * NANOS_PER_MS;
  return { first, last: first + BUCKET_NANO - 1n };
}

/** The first 8 bytes, little-endian, of the SHA-256 of the canonical bytes. */
export function recordHash(metadata: TraceMetadata): bigint {
  return createHash('sha256').update(canonicalBytes(metadata)).digest().readBigUInt64LE(0);
}

/** What changed in the digests of buckets; sums are modulo 2^64, so order does not matter and taking out is subtracting. */
export class DigestChanges {
  readonly #changes = new Map<string, { region: string; bucketStartMs: number; count: number; sum: bigint }>();

  add(metadata: TraceMetadata): void {
    this.#change(metadata, 1);
  }

  remove(metadata: TraceMetadata): void {
    this.#change(metadata, -1);
  }

  /** Takes a record of a folded day out of the count alone: sums of such days mean nothing any more, and hashing is what would cost. */
  uncount(region: string, startUnixNano: bigint): void {
    this.#entry(region, startUnixNano).count--;
  }

  #entry(region: string, startUnixNano: bigint) {
    const bucketStartMs = bucketOf(startUnixNano);
    const key = `${region}/${bucketStartMs}`;
    let change = this.#changes.get(key);
    if (!change) {
      change = { region, bucketStartMs, count: 0, sum: 0n };
      this.#changes.set(key, change);
    }
    return change;
  }

  #change(metadata: TraceMetadata, count: 1 | -1): void {
    const change = this.#entry(metadata.region, metadata.startUnixNano);
    change.count += count;
    change.sum = BigInt.asUintN(64, change.sum + (count > 0 ? recordHash(metadata) : -recordHash(metadata)));
  }

  [Symbol.iterator]() {
    return this.#changes.values();
  }
}

export function hashText(sum: bigint): string {
  return BigInt.asUintN(64, sum).toString(16).padStart(16, '0');
}
