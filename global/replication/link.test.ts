import fc from 'fast-check';
import { Registry } from 'prom-client';
import { afterEach, describe, expect, test } from 'vitest';
import type { RegionId } from '../model/ids.js';
import { ManualClock } from '../runtime/clock.js';
import { noCrash, type ReachCrashPoint } from '../runtime/crash-points.js';
import { silentLogger } from '../runtime/logger.js';
import { createLink, type Link } from './link.js';
import { LINK_LIMITS } from './link-limits.js';
import { MemoryFeed, MemoryLog, settle } from './memory-log.testing.js';
import {
  encodeMirrorOffset,
  MIRROR_HEADER,
  mirrorPosition,
  readMirrorGap,
  readMirrorOffset,
} from './mirror-position.js';

const source = 'us-west-2' as RegionId;
const TOPIC = 'trace-metadata';
const MIRROR = 'us-west-2.trace-metadata';

const running: Link[] = [];
afterEach(async () => {
  for (const link of running.splice(0)) await link.stop();
});

function setUp(over: { crash?: ReachCrashPoint; partitions?: number; batchBytesMax?: number } = {}) {
  const clock = new ManualClock();
  const partitions = over.partitions ?? 1;
  const there = new MemoryLog(clock, { [TOPIC]: partitions });
  const here = new MemoryLog(clock, { [MIRROR]: partitions });
  const feed = new MemoryFeed(there, over.batchBytesMax);
  const registry = new Registry();
  const open = () => {
    const link = createLink({
      source,
      client: feed,
      log: here,
      topics: [{ name: TOPIC, partitions }],
      clock,
      logger: silentLogger,
      registry,
      crash: over.crash ?? noCrash,
      random: () => 1,
    });
    running.push(link);
    return link;
  };
  const send = async (partition: number, ...texts: string[]) => {
    await there.append(
      TOPIC,
      partition,
      texts.map((text) => ({ key: Buffer.from(`k${text}`), value: Buffer.from(text), headers: { h: Buffer.of(1) } })),
    );
    await settle(5);
  };
  const mirrored = (partition = 0) => here.records(MIRROR, partition).map((r) => Buffer.from(r.value).toString());
  const gaps = () => here.records(MIRROR, 0).map((r) => readMirrorGap(r.headers));
  const forward = async (ms: number, stepMs = 50) => {
    for (let at = 0; at < ms; at += stepMs) {
      await clock.advance(Math.min(stepMs, ms - at));
      await settle(5);
    }
  };
  return { clock, there, here, feed, registry, open, send, mirrored, gaps, forward };
}

describe('link', () => {
  test('carries key, value and headers of every partition in order, and is up when caught up', async () => {
    const { here, open, send, mirrored } = setUp({ partitions: 2 });
    const link = open();
    expect(link.status().state).toBe('down');
    await send(0, 'a', 'b');
    await link.start();
    await settle();
    await send(0, 'c');
    await send(1, 'x');
    await settle();
    expect(mirrored(0)).toEqual(['a', 'b', 'c']);
    expect(mirrored(1)).toEqual(['x']);
    const record = here.records(MIRROR, 0)[2]!;
    expect(Buffer.from(record.key!).toString()).toBe('kc');
    expect(record.headers.h).toEqual(Buffer.of(1));
    expect(readMirrorOffset(record.headers)).toBe(2);
    expect(link.status()).toEqual({ from: source, lagMs: 0, state: 'up' });
    expect(await link.health().check()).toMatchObject({ part: 'link-us-west-2', state: 'ok' });
  });

  test('goes on where the mirrored topic ends', async () => {
    const { open, send, mirrored, feed } = setUp();
    await send(0, 'a', 'b');
    const first = open();
    await first.start();
    await settle();
    await first.stop();
    await send(0, 'c');
    await open().start();
    await settle();
    expect(mirrored()).toEqual(['a', 'b', 'c']);
    expect(feed.connections).toBe(2);
  });

  test('a cut loses what is on the way for now; healing brings it, in order and once', async () => {
    const { open, send, mirrored, forward } = setUp();
    const link = open();
    link.setDelayMs(100);
    await link.start();
    await settle();
    await send(0, 'a');
    await forward(100);
    expect(mirrored()).toEqual(['a']);
    await send(0, 'b');
    await forward(50);
    link.cut();
    await send(0, 'c');
    await forward(60_000, 10_000);
    expect(mirrored()).toEqual(['a']);
    expect(link.status().state).toBe('down');
    expect(link.status().lagMs).toBeGreaterThanOrEqual(60_000);
    expect(await link.health().check()).toMatchObject({ state: 'degraded' });
    link.heal();
    await settle();
    await forward(200);
    expect(mirrored()).toEqual(['a', 'b', 'c']);
    expect(link.status().state).toBe('up');
  });

  test('a delay holds each batch back that long and does not slow the flow', async () => {
    const { open, send, mirrored, forward } = setUp();
    const link = open();
    await link.start();
    await settle();
    link.setDelayMs(80);
    for (const text of ['a', 'b', 'c', 'd']) {
      await send(0, text);
      await forward(10, 10);
    }
    expect(mirrored()).toEqual([]);
    await forward(39, 39);
    expect(mirrored()).toEqual([]);
    await forward(1, 1);
    expect(mirrored()).toEqual(['a']);
    expect(link.status().lagMs).toBe(70);
    await forward(30, 10);
    expect(mirrored()).toEqual(['a', 'b', 'c', 'd']);
    expect(link.status().lagMs).toBe(0);
  });

  test('reads no further than its queue holds', async () => {
    const big = 'x'.repeat(LINK_LIMITS.queuedBytesMax / 4);
    const { open, send, mirrored, forward, feed } = setUp({ batchBytesMax: 1 });
    const link = open();
    link.setDelayMs(1000);
    const batches: number[] = [];
    feed.fault = (_, batch) => batches.push(batch);
    for (let i = 0; i < 10; i++) await send(0, big);
    await link.start();
    await settle(50);
    // Four fill the queue, the fifth is one too many: it waits for room, and so does the sixth at the source.
    expect(Math.max(...batches)).toBe(4);
    for (let i = 0; i < 5; i++) await forward(1000, 1000);
    expect(mirrored()).toHaveLength(10);
  });

  test('a source that fails is asked again with growing waits, from where the mirror got to', async () => {
    const { open, send, mirrored, forward, feed } = setUp();
    const link = open();
    feed.fault = (connection, batch) => {
      if (connection < 4 && batch === (connection === 0 ? 1 : 0)) throw new Error('the line is dead');
    };
    await send(0, 'a');
    await link.start();
    await settle();
    expect(mirrored()).toEqual(['a']);
    expect(feed.connections).toBe(1);
    expect(link.status().state).toBe('down');
    expect(await link.health().check()).toMatchObject({ detail: expect.stringContaining('the line is dead') });
    await send(0, 'b');
    for (const [waitMs, connections] of [
      [100, 2],
      [200, 3],
      [400, 4],
      [800, 5],
    ] as const) {
      await forward(waitMs - 1, waitMs - 1);
      expect(feed.connections).toBe(connections - 1);
      await forward(1, 1);
      expect(feed.connections).toBe(connections);
    }
    expect(mirrored()).toEqual(['a', 'b']);
    expect(link.status().state).toBe('up');
  });

  test('a source that hangs is found out', async () => {
    const { open, send, mirrored, forward, feed } = setUp();
    const link = open();
    await link.start();
    await settle();
    expect(link.status().state).toBe('up');
    feed.hung = true;
    await send(0, 'a');
    await forward(LINK_LIMITS.idleMs + 2 * LINK_LIMITS.answerMs + 10, 1000);
    // Quiet for `idleMs`, then asked again without an answer for `answerMs`.
    expect(link.status().state).toBe('down');
    expect(await link.health().check()).toMatchObject({ detail: expect.stringContaining('did not answer') });
    feed.hung = false;
    await forward(LINK_LIMITS.answerMs + LINK_LIMITS.backoffMaxMs, 1000);
    expect(mirrored()).toEqual(['a']);
    expect(link.status().state).toBe('up');
  });

  test('offsets out of order are refused', async () => {
    const { open, send, feed, mirrored } = setUp();
    await send(0, 'a', 'b');
    const follow = feed.followTopic.bind(feed);
    feed.followTopic = async function* (topic, partition, from, signal) {
      for await (const batch of follow(topic, partition, from, signal)) {
        yield { ...batch, records: [...batch.records].reverse() };
      }
    };
    const link = open();
    await link.start();
    await settle();
    expect(mirrored()).toEqual([]);
    expect(await link.health().check()).toMatchObject({ detail: expect.stringContaining('sent offset 0') });
  });

  test('records that the source forgot meanwhile are counted, and the next one says so', async () => {
    const { open, send, there, mirrored, registry, gaps, clock } = setUp();
    await send(0, 'a');
    const first = open();
    await first.start();
    await settle();
    await first.stop();
    await send(0, 'b', 'c');
    there.forget(TOPIC, 0, 2);
    await open().start();
    await settle();
    expect(mirrored()).toEqual(['a', 'c']);
    expect(gaps()).toEqual([null, clock.nowMs()]);
    await send(0, 'd');
    expect(gaps()).toEqual([null, clock.nowMs(), null]);
    expect(await registry.getSingleMetricAsString('meridian_link_gaps_total')).toContain('} 1');
    expect(await registry.getSingleMetricAsString('meridian_link_lag_seconds')).toContain('source="us-west-2"} 0');
  });

  test('a mirror that begins in the middle says so, with the time at the source', async () => {
    const { open, send, there, mirrored, forward, gaps, clock } = setUp();
    await send(0, 'a', 'b');
    const sentMs = clock.nowMs();
    there.forget(TOPIC, 0, 1);
    await forward(5000, 5000);
    await open().start();
    await settle();
    expect(mirrored()).toEqual(['b']);
    expect(gaps()).toEqual([sentMs]);
  });

  test('the note of a gap is as durable as the record: neither a failed append nor a cut on the way loses it', async () => {
    const { open, send, there, here, mirrored, forward, gaps, clock } = setUp();
    await send(0, 'a', 'b', 'c');
    there.forget(TOPIC, 0, 2);
    const sentMs = clock.nowMs();
    const link = open();
    link.setDelayMs(1000);
    await link.start();
    await settle();
    link.cut();
    await forward(2000, 1000);
    expect(mirrored()).toEqual([]);
    let failed = false;
    here.onAppend = (when) => {
      if (when === 'before' && !failed) {
        failed = true;
        throw new Error('the log failed');
      }
    };
    link.heal();
    await forward(10_000, 500);
    expect([failed, mirrored(), gaps()]).toEqual([true, ['c'], [sentMs]]);
  });

  test('a source whose log was made anew is mirrored from its beginning, and its first record says so', async () => {
    const { open, send, feed, mirrored, forward, gaps, clock, registry } = setUp();
    await send(0, 'a', 'b', 'c');
    const link = open();
    await link.start();
    await settle();
    await link.stop();
    const anew = new MemoryLog(clock, { [TOPIC]: 1 });
    await anew.append(TOPIC, 0, [
      { key: null, value: Buffer.from('x'), headers: {} },
      { key: null, value: Buffer.from('y'), headers: {} },
    ]);
    const fresh = new MemoryFeed(anew);
    feed.followTopic = (...call) => fresh.followTopic(...call);
    const second = open();
    await second.start();
    await forward(2000);
    expect(mirrored()).toEqual(['a', 'b', 'c', 'x', 'y']);
    expect(gaps()).toEqual([null, null, null, expect.any(Number), null]);
    expect(second.status().state).toBe('up');
    expect(await registry.getSingleMetricAsString('meridian_link_gaps_total')).toContain('} 1');
  });

  test('a mirror of a mirror is refused', () => {
    const { here, clock, feed } = setUp();
    const make = (name: string) => () =>
      createLink({
        source,
        client: feed,
        log: here,
        topics: [{ name, partitions: 1 }],
        clock,
        logger: silentLogger,
        registry: new Registry(),
        crash: noCrash,
        random: () => 0,
      });
    expect(make('eu-west-1.trace-metadata')).toThrow('circles');
    expect(make('eu-west-1.spans.dlq')).toThrow('circles');
    expect(make('spans.dlq')).not.toThrow();
  });

  test('crashes and failing appends at any point: everything arrives, in order, repeats only', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.constantFrom('ok', 'before', 'after', 'log-before', 'log-after'), { maxLength: 8 }),
        fc.array(fc.integer({ min: 1, max: 4 }), { minLength: 1, maxLength: 6 }),
        async (plan, sizes) => {
          const steps = [...plan];
          let step = 'ok';
          const { open, send, mirrored, forward, here } = setUp({
            batchBytesMax: 2,
            crash: (point) => {
              if (point === 'mirror.before-append') step = steps.shift() ?? 'ok';
              if (step === 'before' && point === 'mirror.before-append') throw new Error('crash');
              if (step === 'after' && point === 'mirror.after-append') throw new Error('crash');
            },
          });
          here.onAppend = (when) => {
            if (step === `log-${when}`) throw new Error('the log failed');
          };
          const link = open();
          await link.start();
          const sent: string[] = [];
          for (const size of sizes) {
            const texts = Array.from({ length: size }, () => String(sent.push('') - 1));
            await send(0, ...texts);
            await settle(3);
          }
          await forward(60_000, 2_000);
          await link.stop();
          const got = mirrored().map(Number);
          expect(new Set(got).size).toBe(sent.length);
          let highest = -1;
          for (const n of got) {
            expect(n).toBeLessThanOrEqual(highest + 1);
            highest = Math.max(highest, n);
          }
        },
      ),
      { numRuns: 40 },
    );
  });
});

describe('mirror position', () => {
  test('header: golden bytes, unknown version, wrong length', () => {
    expect(encodeMirrorOffset(0x0102030405).toString('hex')).toBe('010504030201000000');
    expect(readMirrorOffset({})).toBeNull();
    expect(() => readMirrorOffset({ [MIRROR_HEADER]: Buffer.of(2, 0, 0, 0, 0, 0, 0, 0, 0) })).toThrow('version 2');
    expect(() => readMirrorOffset({ [MIRROR_HEADER]: Buffer.of(1, 0) })).toThrow('2 bytes');
  });

  test('is found behind records without the header and gaps in the offsets', async () => {
    const log = new MemoryLog(new ManualClock(), { t: 1 });
    const entry = (headers: Record<string, Uint8Array>) => ({ key: null, value: Buffer.of(1), headers });
    expect(await mirrorPosition(log, 't', 0)).toBe(0);
    await log.append('t', 0, [entry({ [MIRROR_HEADER]: encodeMirrorOffset(41) })]);
    for (let i = 0; i < 9; i++) await log.append('t', 0, [entry({})]);
    expect(await mirrorPosition(log, 't', 0)).toBe(0);
    await log.append('t', 0, [entry({ [MIRROR_HEADER]: encodeMirrorOffset(77) })]);
    expect(await mirrorPosition(log, 't', 0)).toBe(78);
    log.forget('t', 0, 11);
    expect(await mirrorPosition(log, 't', 0)).toBe(0);
  });
});
