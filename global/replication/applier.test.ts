import { afterEach, describe, expect, test } from 'vitest';
import { encodeFeedRecord } from '../index/feed-codec.js';
import { DEAD_LETTER_HEADER, deadLetterEntry, readDeadLetter } from '../log/dead-letter.js';
import type { LogRecord } from '../log/span-log.js';
import { GROUPS } from '../log/topics.js';
import type { CrashPoint } from '../runtime/crash-points.js';
import { DLQ, home, MIRROR, OWN, running, setUp, trace, watermark, west } from './applier-rig.testing.js';
import { settle } from './memory-log.testing.js';

afterEach(async () => {
  for (const applier of running.splice(0)) await applier.stop();
});

describe('applier', () => {
  test('applies the own feed and the mirrored ones, several records in one call, and commits', async () => {
    const { log, index, start, feed, known, marks, clock, registry } = setUp();
    await feed(OWN, 0, { region: home, traces: [trace(1, home)] }, { region: home, watermark: watermark(home, 5) });
    await feed(OWN, 1, { region: home, traces: [trace(2, home)] });
    await feed(MIRROR, 0, { region: west, traces: [trace(1, west)], watermark: watermark(west, clock.nowMs() - 2000) });
    const applier = await start();
    expect(await known(1)).toEqual([home, west]);
    expect(await known(2)).toEqual([home]);
    expect(await marks()).toEqual([5, clock.nowMs() - 2000]);
    expect(index.calls).toHaveLength(3);
    expect(await log.committed(GROUPS.applier, OWN)).toEqual([2, 1]);
    expect(await log.committed(GROUPS.applier, MIRROR)).toEqual([1]);
    const metrics = await registry.metrics();
    expect(metrics).toContain('meridian_applier_watermark_lag_seconds{source="us-west-2"} 2');
    expect(metrics).toContain('meridian_applier_records_total 4');
    expect((await applier.health().check()).detail).toContain('the watermark of us-east-1');
    await feed(OWN, 0, { region: home, watermark: watermark(home, clock.nowMs()) });
    await settle();
    expect(await applier.health().check()).toEqual({ part: 'index', state: 'ok' });
  });

  test('a partition that another process owns now is not looked late by', async () => {
    const { log, start, feed, clock, registry } = setUp();
    const late = { part: 'index', state: 'degraded', detail: 'the watermark of us-east-1 is 61 s old' };
    const ok = { part: 'index', state: 'ok' };
    const own = (partition: number) =>
      feed(OWN, partition, {
        region: home,
        watermark: { ...watermark(home, clock.nowMs(), partition), partitionCount: 2 },
      });
    const goOn = async (ms: number) => {
      clock.advance(ms);
      await settle();
    };
    await Promise.all([own(0), own(1)]);
    const applier = await start();
    await goOn(31_000);
    log.giveAway(OWN, 1);
    await own(0);
    await goOn(30_000);
    expect(await applier.health().check()).toEqual(ok);
    expect(await registry.metrics()).toContain('meridian_applier_watermark_lag_seconds{source="us-east-1"} 30');

    // Its time with the other process does not count; what was late before does, and what is not brought on from now.
    await goOn(3_600_000);
    log.takeBack(OWN, 1);
    await own(0);
    await settle();
    expect(await applier.health().check()).toEqual(ok);
    await goOn(30_000);
    expect(await applier.health().check()).toEqual(late);
    await own(1);
    await settle();
    expect(await applier.health().check()).toEqual(ok);

    log.giveAway(OWN, 0);
    log.giveAway(OWN, 1);
    await goOn(3_600_000);
    expect(await applier.health().check()).toEqual(ok);
    expect(await registry.metrics()).not.toContain('meridian_applier_watermark_lag_seconds{source="us-east-1"}');
  });

  test('a large batch goes to the index in slices, in order', async () => {
    const { index, start, feed } = setUp();
    const records = Array.from({ length: 5 }, (_, i) => ({
      region: home,
      traces: Array.from({ length: 4 }, (_, j) => trace(i * 10 + j + 1, home)),
      watermark: watermark(home, i + 1),
    }));
    await feed(OWN, 0, ...records);
    await start({ limits: { tracesPerApplyMax: 8 } });
    expect(index.calls.map((call) => call.length)).toEqual([2, 2, 1]);
    expect(index.calls.flat().map((r) => r.watermark?.watermarkUnixNano)).toEqual(
      [1, 2, 3, 4, 5].map((n) => BigInt(n) * 1_000_000n),
    );
  });

  test('while the index is away it waits, and the watermark does not overtake its records', async () => {
    const { clock, log, index, start, feed, known, marks } = setUp();
    index.fails = (records) => records.some((r) => r.traces.length > 0);
    await feed(OWN, 0, { region: home, traces: [trace(1, home)] }, { region: home, watermark: watermark(home, 5) });
    await feed(OWN, 0, { region: home, watermark: watermark(home, 9) });
    const applier = await start({ limits: { tracesPerApplyMax: 0, batchBytesMax: 1 } });
    for (let i = 0; i < 5; i++) {
      await clock.advance(5_000);
      await settle(3);
    }
    expect(await marks()).toEqual([]);
    expect(await log.committed(GROUPS.applier, OWN)).toEqual([null, null]);
    expect(await applier.health().check()).toMatchObject({
      state: 'down',
      detail: 'waiting at trace-metadata/0: the index is away',
    });
    index.fails = () => false;
    await clock.advance(5_000);
    await settle();
    expect(await known(1)).toEqual([home]);
    expect(await marks()).toEqual([9]);
    expect(await log.committed(GROUPS.applier, OWN)).toEqual([3, null]);
  });

  test('stops while it waits', async () => {
    const { index, start, feed, log } = setUp();
    index.fails = () => true;
    await feed(OWN, 0, { region: home, traces: [trace(1, home)] });
    const applier = await start();
    await applier.stop();
    await applier.stop();
    expect(await log.committed(GROUPS.applier, OWN)).toEqual([null, null]);
  });

  test('poison is put aside, and the watermarks behind it are held back, also after a restart', async () => {
    const { log, start, feed, raw, known, marks } = setUp();
    await feed(OWN, 0, { region: home, traces: [trace(1, home)], watermark: watermark(home, 5) });
    await raw(OWN, 0, Buffer.of(1, 0x46, 200));
    await feed(OWN, 0, { region: home, traces: [trace(2, home)], watermark: watermark(home, 9) });
    await feed(MIRROR, 0, { region: west, watermark: watermark(west, 7) });
    const first = await start();
    expect([await known(1), await known(2)]).toEqual([[home], [home]]);
    expect(await marks()).toEqual([5, 7]);
    expect(await log.committed(GROUPS.applier, OWN)).toEqual([3, null]);
    const letters = log.records(DLQ, 0);
    expect(letters).toHaveLength(1);
    expect(Buffer.from(letters[0]!.value)).toEqual(Buffer.of(1, 0x46, 200));
    expect(readDeadLetter(letters[0]!.headers)).toMatchObject({
      topic: OWN,
      partition: 0,
      offset: 1,
      state: 'poison',
      code: 'malformed',
    });
    expect(await first.health().check()).toMatchObject({ detail: '1 feed records could not be read' });
    await first.stop();
    await start();
    await feed(OWN, 0, { region: home, watermark: watermark(home, 11) });
    await feed(OWN, 1, { region: home, watermark: watermark(home, 6) });
    await settle();
    expect(await marks()).toEqual([6, 7]);
    expect(log.records(DLQ, 0)).toHaveLength(1);
  });

  test('a record that could be read after all, on a replay, sets the watermarks free for good', async () => {
    const { log, start, feed, raw, marks, known } = setUp();
    await raw(OWN, 0, Buffer.of(1, 0x46, 200));
    await feed(OWN, 0, { region: home, watermark: watermark(home, 9) });
    const first = await start();
    expect(await marks()).toEqual([]);
    await first.stop();
    const repaired = encodeFeedRecord({ region: home, traces: [trace(3, home)], watermark: null, catalogue: [] });
    (log.records(OWN, 0)[0] as { -readonly [K in keyof LogRecord]: LogRecord[K] }).value = repaired;
    await log.rewind(GROUPS.applier, OWN, 0, 0);
    const second = await start();
    expect(await known(3)).toEqual([home]);
    expect(await marks()).toEqual([9]);
    await second.stop();
    await feed(OWN, 0, { region: home, watermark: watermark(home, 12) });
    await start();
    expect(await marks()).toEqual([12]);
    expect(log.records(DLQ, 0).map((r) => readDeadLetter(r.headers)!.state)).toEqual(['poison', 'resolved']);
  });

  test('a version that is not known yet is waited at; what came before is applied, nothing behind it', async () => {
    const { clock, log, start, feed, raw, known, marks } = setUp();
    await feed(OWN, 0, { region: home, traces: [trace(1, home)] });
    await raw(OWN, 0, Buffer.of(9, 0x46));
    await feed(OWN, 0, { region: home, traces: [trace(2, home)], watermark: watermark(home, 9) });
    const applier = await start();
    await clock.advance(60_000);
    await settle();
    expect([await known(1), await known(2)]).toEqual([[home], []]);
    expect(await marks()).toEqual([]);
    expect(log.records(DLQ, 0)).toHaveLength(0);
    expect(await applier.health().check()).toMatchObject({
      state: 'down',
      detail: expect.stringContaining('version 9'),
    });
  });

  test('a crash at any point loses nothing and repeats harmlessly', async () => {
    for (const point of [
      'applier.before-apply',
      'applier.after-apply',
      'applier.after-commit',
    ] satisfies CrashPoint[]) {
      const { log, index, start, feed, marks, known } = setUp();
      await feed(OWN, 0, { region: home, traces: [trace(1, home)], watermark: watermark(home, 5) });
      let crashes = 0;
      await start({
        crash: (reached) => {
          if (reached === point && crashes++ < 2) throw new Error('crash');
        },
      });
      await feed(OWN, 0, { region: home, traces: [trace(2, home)], watermark: watermark(home, 6) });
      await settle();
      expect([await known(1), await known(2)]).toEqual([[home], [home]]);
      expect(await marks()).toEqual([6]);
      expect(await log.committed(GROUPS.applier, OWN)).toEqual([2, null]);
      expect(crashes).toBeGreaterThanOrEqual(2);
      expect(index.calls.length).toBeGreaterThanOrEqual(2);
    }
  });

  test('partitions that come together gather for one transaction', async () => {
    const { clock, index, start, feed } = setUp();
    await start({ limits: { gatherMs: 10 } });
    await feed(OWN, 0, { region: home, traces: [trace(1, home)] });
    await settle();
    await feed(OWN, 1, { region: home, traces: [trace(2, home)] });
    await settle();
    expect(index.calls).toHaveLength(0);
    await clock.advance(10);
    await settle();
    expect(index.calls).toHaveLength(2);
  });
});

describe('dead letter', () => {
  test('header: golden bytes, unknown version, malformed', () => {
    const letter = { topic: 't', partition: 1, offset: 2, state: 'poison', code: 'malformed', message: 'm' } as const;
    const entry = deadLetterEntry(letter, { key: null, value: Buffer.of(7), headers: { other: Buffer.of(1) } });
    expect(Buffer.from(entry.headers[DEAD_LETTER_HEADER]!).toString('latin1')).toBe(
      '\x01{"topic":"t","partition":1,"offset":2,"state":"poison","code":"malformed","message":"m"}',
    );
    expect(readDeadLetter(entry.headers)).toEqual(letter);
    expect(entry.headers.other).toEqual(Buffer.of(1));
    expect(readDeadLetter({})).toBeNull();
    const of = (text: string) => () => readDeadLetter({ [DEAD_LETTER_HEADER]: Buffer.from(text, 'latin1') });
    expect(of('\x02{}')).toThrow('version 2');
    expect(of('\x01{')).toThrow('no JSON');
    expect(of('\x01{"topic":1}')).toThrow('lacks fields');
  });
});
