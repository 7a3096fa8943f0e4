import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Registry } from 'prom-client';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { tracePartition } from '../../global/log/partition.js';
import type { SpanLog } from '../../global/log/span-log.js';
import { TOPICS } from '../../global/log/topics.js';
import { comparableRows } from '../../global/otlp/testing/rows.js';
import { realClock } from '../../global/runtime/clock.js';
import { silentLogger } from '../../global/runtime/logger.js';
import { readSpansRecordInfo } from '../log/spans-record.js';
import { openSqliteSpanLog } from '../log/sqlite-span-log.js';
import { encodeSpans, startTestCollector, type TestCollector, testSpan } from './testing/test-collector.js';

const PARTITIONS = 4;

let folder: string;
let log: SpanLog;
let running: TestCollector;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'meridian-collector-'));
  log = await openSqliteSpanLog({ folder, clock: realClock, logger: silentLogger, registry: new Registry() });
  await log.ensure([{ name: TOPICS.spans, partitions: PARTITIONS, retentionMs: 3_600_000, compacted: false }]);
  running = await startTestCollector({ log, partitionCount: PARTITIONS });
});

afterEach(async () => {
  await running.collector.stop();
  await log.close();
  await rm(folder, { recursive: true });
});

const post = (body: Buffer) =>
  fetch(`${running.http}/v1/traces`, { method: 'POST', body, headers: { 'Content-Type': 'application/x-protobuf' } });

describe('into the embedded log', () => {
  test('what was acknowledged is there, each span in the partition of its trace, with collector and time', async () => {
    const beforeMs = Date.now();
    const numbers = Array.from({ length: 40 }, (_, i) => i);
    const answers = await Promise.all(
      [0, 1, 2, 3].map((part) => post(encodeSpans(numbers.slice(part * 10, part * 10 + 10).map((i) => testSpan(i))))),
    );
    expect(answers.map((answer) => answer.status)).toEqual([200, 200, 200, 200]);
    const names: string[] = [];
    const stamps = new Set<string>();
    for (let partition = 0; partition < PARTITIONS; partition++) {
      for (const record of await log.read(TOPICS.spans, partition, 0, 1_000_000)) {
        const { stamp, receivedMs, collectorId } = readSpansRecordInfo(record, partition);
        expect(collectorId).toBe('collector-test');
        expect(receivedMs).toBeGreaterThanOrEqual(beforeMs);
        expect(receivedMs).toBeLessThanOrEqual(Date.now());
        expect(stamps.has(JSON.stringify(stamp))).toBe(false);
        stamps.add(JSON.stringify(stamp));
        for (const { span } of comparableRows(record.value)) {
          names.push(span.name);
          const traceId = Buffer.from(String(span.traceId), 'base64');
          expect(tracePartition(traceId, 0, PARTITIONS)).toBe(partition);
        }
      }
    }
    expect(names.sort()).toEqual(numbers.map((i) => `span ${i}`).sort());
  });

  test('an acknowledged span survives the log being closed and opened again', async () => {
    expect((await post(encodeSpans([testSpan(1)]))).status).toBe(200);
    await running.collector.stop();
    await log.close();
    log = await openSqliteSpanLog({ folder, clock: realClock, logger: silentLogger, registry: new Registry() });
    const ends = await log.ends(TOPICS.spans);
    expect(ends.reduce((sum, end) => sum + end, 0)).toBe(1);
  });

  test('a closed log is told as unavailable: 503, and a health that says why', async () => {
    await log.close();
    const answer = await post(encodeSpans([testSpan(1)]));
    expect([answer.status, answer.headers.get('retry-after')]).toEqual([503, '1']);
    expect(await running.collector.health().check()).toMatchObject({ part: 'collector', state: 'down' });
  });
});
