import { describe, expect, test } from 'vitest';
import type { Block } from '../segments/segment.js';
import { BlockCache } from './block-cache.js';

const block = (payloadBytes: number) => ({ segments: [{ payload: Buffer.alloc(payloadBytes) }] }) as unknown as Block;
/** What a block with one segment counts beside its payload. */
const EXTRA = 512;

describe('block cache', () => {
  test('keeps what fits, least recently used first out', async () => {
    const cache = new BlockCache(3 * (100 + EXTRA));
    for (const pack of [1, 2, 3]) await cache.get(pack, async () => block(100));
    expect(cache.get(1, never)).not.toBeInstanceOf(Promise);
    await cache.get(4, async () => block(100));
    for (const pack of [1, 3, 4]) expect(cache.get(pack, never)).not.toBeInstanceOf(Promise);
    expect(await cache.get(2, async () => null)).toBeNull();
    expect(cache.bytes).toBe(3 * (100 + EXTRA));
  });

  test('does not keep a block that alone is larger than its limit', async () => {
    const cache = new BlockCache(100 + EXTRA);
    await cache.get(1, async () => block(100));
    expect(cache.bytes).toBe(100 + EXTRA);
    await cache.get(2, async () => block(101));
    expect(cache.bytes).toBe(100 + EXTRA);
    expect(cache.get(1, never)).not.toBeInstanceOf(Promise);
  });

  test('callers at the same time share a load; a failed one is tried again', async () => {
    const cache = new BlockCache(10_000);
    let loads = 0;
    const load = async () => {
      loads++;
      return block(1);
    };
    await Promise.all([cache.get(1, load), cache.get(1, load)]);
    expect(loads).toBe(1);
    const failing = () => Promise.reject(new Error('disk'));
    await expect(cache.get(2, failing)).rejects.toThrow('disk');
    expect(await cache.get(2, load)).not.toBeNull();
  });
});

function never(): Promise<Block | null> {
  throw new Error('it is in the cache');
}
