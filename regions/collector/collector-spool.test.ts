import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { MeridianError } from '../../global/runtime/errors.js';
import { MemoryAppender } from './testing/memory-appender.js';
import { encodeSpans, startTestCollector, type TestCollector, testSpan } from './testing/test-collector.js';

let spoolDir: string;
let log: MemoryAppender;
let running: TestCollector;

beforeEach(async () => {
  spoolDir = mkdtempSync(join(tmpdir(), 'meridian-collector-spool-'));
  log = new MemoryAppender();
  await start();
});
afterEach(async () => {
  log.manual = false;
  log.settle();
  await running.collector.stop();
  rmSync(spoolDir, { recursive: true });
});

async function start(over: Parameters<typeof startTestCollector>[0] = {}): Promise<void> {
  running = await startTestCollector({ spoolDir, partitionCount: 2, drainMs: 200, ...over }, log);
}

async function post(...numbers: number[]): Promise<number> {
  const answer = await fetch(`${running.http}/v1/traces`, {
    method: 'POST',
    body: encodeSpans(numbers.map((number) => testSpan(number))),
    headers: { 'Content-Type': 'application/x-protobuf' },
  });
  await answer.arrayBuffer();
  return answer.status;
}

const health = () => running.collector.health().check();
const away = () => new MeridianError('unavailable', 'no broker answers', 'later');
const names = (numbers: readonly number[]) => numbers.map((number) => `span ${number}`).sort();
const found = () => [...new Set(running.spans().map(({ span }) => span.name))].sort();

async function untilOk(): Promise<void> {
  while ((await health()).state !== 'ok') await new Promise((resolve) => setImmediate(resolve));
}

describe('a collector with a spool', () => {
  test('acknowledges while the log is away, says so in its health, and the log has all of it afterwards', async () => {
    expect(await post(1, 2)).toBe(200);
    expect((await health()).state).toBe('ok');
    log.failWith = away();
    const statuses = await Promise.all([3, 4, 5, 6, 7, 8].map((number) => post(number)));
    expect(statuses).toEqual([200, 200, 200, 200, 200, 200]);
    const { part, state, detail } = await health();
    expect([part, state]).toEqual(['collector', 'degraded']);
    expect(detail).toContain('no broker answers');
    expect(detail).toContain('new spans are kept in the spool');
    expect(detail).toMatch(/room left: \d+\.\d of 100\.0 MB/);
    expect(await running.registry.metrics()).toMatch(/meridian_collector_spool_active 1/);
    log.failWith = null;
    await untilOk();
    expect(found()).toEqual(names([1, 2, 3, 4, 5, 6, 7, 8]));
    expect(await running.registry.metrics()).toMatch(/meridian_collector_spool_records 0/);
  });

  test('stops with spans in the spool, and the next one replays them', async () => {
    log.failWith = away();
    expect(await post(1, 2, 3)).toBe(200);
    await running.collector.stop();
    expect(readdirSync(spoolDir).some((name) => name.endsWith('.spool'))).toBe(true);
    log.failWith = null;
    await start();
    await untilOk();
    expect(found()).toEqual(names([1, 2, 3]));
  });

  test('an append that hangs is acknowledged from the spool, and its bytes stay as they are until the log has answered', async () => {
    await running.collector.stop();
    await start({ spoolHangMs: 20 });
    log.manual = true;
    // Requests that go together share a buffer of the pool, which later ones would be given.
    for (const first of [0, 10, 20, 30]) {
      const statuses = await Promise.all(Array.from({ length: 5 }, (_, i) => post(first + i)));
      expect(statuses).toEqual([200, 200, 200, 200, 200]);
    }
    log.manual = false;
    log.settle();
    await untilOk();
    expect(found()).toEqual(names([0, 10, 20, 30].flatMap((first) => [0, 1, 2, 3, 4].map((i) => first + i))));
  });

  test('without a folder, or with a bound of nothing, there is no spool: 503', async () => {
    await running.collector.stop();
    await start({ spoolBytesMax: 0 });
    log.failWith = away();
    expect(await post(1)).toBe(503);
    expect((await health()).state).toBe('down');
  });

  test('a spool smaller than what it can work with is refused', async () => {
    await expect(startTestCollector({ spoolDir, spoolBytesMax: 1000 })).rejects.toMatchObject({
      code: 'configuration',
    });
  });
});
