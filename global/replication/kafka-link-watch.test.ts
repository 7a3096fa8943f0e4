import { Registry } from 'prom-client';
import { describe, expect, onTestFinished, test } from 'vitest';
import { MemoryLog } from '../log/testing/memory-log.js';
import { MemoryLogSession } from '../log/testing/memory-log-session.js';
import type { RegionId } from '../model/ids.js';
import { ManualClock } from '../runtime/clock.js';
import { silentLogger } from '../runtime/logger.js';
import { createKafkaLinkWatch, KAFKA_LINK_LIMITS } from './kafka-link-watch.js';
import { settle } from './memory-log.testing.js';

const source = 'us-west-2' as RegionId;
const MIRROR = 'us-west-2.trace-metadata';
const { pollMs, expectMs, behindMs, silentMs } = KAFKA_LINK_LIMITS;

/** A mirrored topic of two partitions, whose records have the times that the test gives them, and a watch of it. */
async function setUp({ there = true } = {}) {
  const clock = new ManualClock();
  let stampMs = 0;
  const log = new MemoryLog(() => stampMs);
  const spec = { name: MIRROR, partitions: 2, retentionMs: 3_600_000, compacted: false };
  if (there) log.ensure([spec]);
  const registry = new Registry();
  const watch = createKafkaLinkWatch({
    source,
    log: new MemoryLogSession(log),
    topic: 'trace-metadata',
    clock,
    logger: silentLogger,
    registry,
  });
  await watch.start();
  onTestFinished(() => watch.stop());
  await settle();
  const pass = async (ms: number) => {
    for (let left = ms; left > 0; left -= pollMs) {
      clock.advance(Math.min(pollMs, left));
      await settle();
    }
  };
  /** A record that the source's log took so long ago. */
  const come = (agoMs: number, partition = 0) => {
    stampMs = clock.nowMs() - agoMs;
    log.append(MIRROR, partition, [{ key: null, value: Buffer.from('x'), headers: {} }]);
  };
  const lagSeconds = async () => (await registry.getSingleMetric('meridian_link_lag_seconds')!.get()).values[0]!.value;
  const records = async () =>
    (await registry.getSingleMetric('meridian_link_records_total')!.get()).values.map(({ value, labels }) => [
      labels,
      value,
    ]);
  return { clock, log, spec, watch, pass, come, lagSeconds, records };
}

describe('a link of MirrorMaker', () => {
  test('down until a record comes, then up', async () => {
    const { watch, pass, come, lagSeconds } = await setUp();
    expect(watch.status()).toEqual({ from: source, lagMs: 0, state: 'down' });
    await pass(2_000);
    expect(watch.status()).toEqual({ from: source, lagMs: 2_000, state: 'down' });
    come(10);
    await pass(pollMs);
    expect(watch.status()).toEqual({ from: source, lagMs: 10, state: 'up' });
    expect(await lagSeconds()).toBe(0.01);
    expect(await watch.health().check()).toMatchObject({ part: 'link-us-west-2', state: 'ok' });
  });

  test('what was there before it was watched says nothing of the link', async () => {
    const { log, spec, pass, come, watch } = await setUp({ there: false });
    log.ensure([spec]);
    come(60_000);
    await pass(pollMs);
    expect(watch.status()).toEqual({ from: source, lagMs: 60_000 + pollMs, state: 'down' });
    come(0);
    await pass(pollMs);
    expect(watch.status()).toMatchObject({ lagMs: 0, state: 'up' });
  });

  test('records that come late show how late they are at least', async () => {
    const { watch, pass, come } = await setUp();
    come(0);
    await pass(pollMs);
    come(expectMs - 500);
    await pass(pollMs);
    // It came between the last two looks.
    expect(watch.status().lagMs).toBe(expectMs - 500);
  });

  test('a link that is behind by more than the limit says by how much and where', async () => {
    const { watch, pass, come, lagSeconds } = await setUp();
    for (let i = 0; i < 4; i++) {
      come(behindMs + 1_000, 1);
      come(0, 0);
      await pass(pollMs);
    }
    const { lagMs, state } = watch.status();
    expect(state).toBe('behind');
    expect(lagMs).toBe(behindMs + 1_000 + pollMs);
    expect(await lagSeconds()).toBe(lagMs / 1000);
    const health = await watch.health().check();
    expect(health.state).toBe('degraded');
    expect(health.detail).toContain(`${MIRROR}/1`);
  });

  test('silence: the lag grows with it, first behind, then down, with what to do; since when is told', async () => {
    const { clock, watch, pass, come } = await setUp();
    come(0);
    await pass(pollMs);
    come(0);
    await pass(pollMs);
    expect(watch.status().state).toBe('up');
    await pass(behindMs);
    expect(watch.status()).toMatchObject({ state: 'behind', lagMs: behindMs + pollMs });
    await pass(silentMs - behindMs + pollMs);
    const downSinceMs = clock.nowMs();
    expect(watch.status()).toMatchObject({ state: 'down', lagMs: silentMs + 2 * pollMs });
    await pass(10_000 - pollMs);
    const health = await watch.health().check();
    expect(health).toMatchObject({ state: 'degraded', sinceMs: downSinceMs });
    expect(health.detail).toContain('nothing came from us-west-2 for 20 s');
    expect(health.detail).toContain('mirror-prepare');
    come(0);
    await pass(pollMs);
    expect(watch.status()).toMatchObject({ state: 'up', lagMs: 0 });
  });

  test('a mirrored topic that is not there, or a log that is away, is told and lived through', async () => {
    const { log, spec, watch, pass, come } = await setUp({ there: false });
    await pass(pollMs);
    expect((await watch.health().check()).detail).toContain(`no topic ${MIRROR}`);
    log.ensure([spec]);
    come(0);
    await pass(pollMs);
    come(0);
    await pass(pollMs);
    expect(watch.status().state).toBe('up');
  });

  test('counts the records that come', async () => {
    const { pass, come, records } = await setUp();
    come(0);
    await pass(pollMs);
    come(0);
    come(0);
    await pass(pollMs);
    expect(await records()).toEqual([[{ source, topic: 'trace-metadata' }, 3]]);
  });
});
