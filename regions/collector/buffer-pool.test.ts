import { describe, expect, test } from 'vitest';
import { BufferPool } from './buffer-pool.js';

const KIB = 1024;

describe('buffer pool', () => {
  test('lends the length asked for, and the same memory again after its release', () => {
    const pool = new BufferPool(1024 * KIB);
    const first = pool.take(70 * KIB);
    expect(first.bytes).toHaveLength(70 * KIB);
    first.release();
    expect(pool.keptBytes).toBe(128 * KIB);
    const second = pool.take(100 * KIB);
    expect(second.bytes.buffer).toBe(first.bytes.buffer);
    expect(second.bytes).toHaveLength(100 * KIB);
    expect(pool.keptBytes).toBe(0);
  });

  test('what is lent is lent to one at a time, also when it is released twice', () => {
    const pool = new BufferPool(1024 * KIB);
    const first = pool.take(10);
    first.release();
    first.release();
    const [second, third] = [pool.take(10), pool.take(10)];
    expect(second.bytes.buffer).not.toBe(third.bytes.buffer);
  });

  test('keeps up to its limit and not one buffer more', () => {
    const pool = new BufferPool(128 * KIB);
    const lent = [pool.take(1), pool.take(0), pool.take(64 * KIB)];
    for (const { release } of lent) release();
    expect(pool.keptBytes).toBe(128 * KIB);
  });

  test('the largest size is kept, a larger one is not', () => {
    const pool = new BufferPool(64 * 1024 * KIB);
    pool.take(4096 * KIB + 1).release();
    expect(pool.keptBytes).toBe(0);
    pool.take(4096 * KIB).release();
    expect(pool.keptBytes).toBe(4096 * KIB);
  });
});
