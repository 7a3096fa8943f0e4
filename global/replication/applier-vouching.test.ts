import { afterEach, describe, expect, test } from 'vitest';
import { GROUPS } from '../log/topics.js';
import { DLQ, home, OWN, running, setUp, trace, watermark, west } from './applier-rig.testing.js';
import { settle } from './memory-log.testing.js';
import { encodeMirrorGap, encodeMirrorOffset, MIRROR_GAP_HEADER, MIRROR_HEADER } from './mirror-position.js';

afterEach(async () => {
  for (const applier of running.splice(0)) await applier.stop();
});

describe('what the applier vouches for', () => {
  const ofLink = (offset: number) => ({ [MIRROR_HEADER]: encodeMirrorOffset(offset) });

  test('all of a feed that it received from the first record on, across restarts', async () => {
    const { clock, log, index, start, feed, mirror, vouched, registry } = setUp();
    await feed(OWN, 0, { region: home, watermark: watermark(home, 5) });
    await mirror(6, ofLink(0));
    const first = await start();
    expect(await vouched()).toEqual([
      [home, 5, 0],
      [west, 6, 0],
    ]);
    await first.stop();
    await clock.advance(1000);
    await feed(OWN, 0, { region: home, watermark: watermark(home, 15) });
    log.forget(OWN, 0, 1);
    await start();
    expect((await vouched())[0]).toEqual([home, 15, 0]);
    expect(await index.inner.feedPosition(OWN, 0)).toEqual({
      topic: OWN,
      partition: 0,
      nextOffset: 2,
      vouchedFromUnixNano: 0n,
    });
    expect(await registry.metrics()).toContain('meridian_applier_vouched_from_seconds{source="us-east-1"} 0');
  });

  test('all of it again after the index was lost: the feed is read again from the log, though the group has passed it', async () => {
    const { clock, log, index, start, feed, vouched, known } = setUp();
    await feed(OWN, 0, { region: home, traces: [trace(1, home)], watermark: watermark(home, 5) });
    await feed(OWN, 0, { region: home, traces: [trace(2, home)], watermark: watermark(home, 6) });
    const first = await start({ limits: { batchBytesMax: 1 } });
    await first.stop();
    await index.inner.clear();
    await clock.advance(1000);
    await feed(OWN, 0, { region: home, watermark: watermark(home, 15) });
    await start({ limits: { batchBytesMax: 1 } });
    expect(await vouched()).toEqual([[home, 15, 0]]);
    expect([await known(1), await known(2)]).toEqual([[home], [home]]);
    expect(await log.committed(GROUPS.applier, OWN)).toEqual([3, null]);
  });

  test('all of it again after the index was emptied under it, or came back as it was before', async () => {
    const { clock, index, start, feed, vouched, known } = setUp();
    await feed(OWN, 0, { region: home, traces: [trace(1, home)], watermark: watermark(home, 5) });
    await start();
    const before = await index.inner.feedPosition(OWN, 0);
    await feed(OWN, 0, { region: home, traces: [trace(2, home)], watermark: watermark(home, 6) });
    await settle();
    for (const back of [null, before!]) {
      await index.inner.clear();
      if (back)
        await index.inner.apply([{ region: home, traces: [trace(1, home)], watermark: null, catalogue: [] }], back);
      await clock.advance(1000);
      await feed(OWN, 0, { region: home, watermark: watermark(home, 15) });
      await settle();
      expect(await vouched()).toEqual([[home, 15, 0]]);
      expect([await known(1), await known(2)]).toEqual([[home], [home]]);
    }
  });

  test('while it reads again, an index that is away is waited for, and nothing is left out', async () => {
    const { clock, index, start, feed, known } = setUp();
    for (const n of [1, 2, 3]) await feed(OWN, 0, { region: home, traces: [trace(n, home)] });
    await (await start()).stop();
    await index.inner.clear();
    let failures = 0;
    index.fails = ([record]) => record?.traces[0]?.traceId === trace(2, home).traceId && failures++ < 2;
    await feed(OWN, 0, { region: home, traces: [trace(4, home)] });
    await start({ limits: { batchBytesMax: 1 } });
    for (let i = 0; i < 4; i++) {
      await clock.advance(5_000);
      await settle();
    }
    expect(failures).toBeGreaterThanOrEqual(2);
    expect(await Promise.all([1, 2, 3, 4].map(known))).toEqual([[home], [home], [home], [home]]);
  });

  test('not what the log forgot before it was read', async () => {
    const { clock, log, start, feed, vouched } = setUp();
    await feed(OWN, 0, { region: home, watermark: watermark(home, 5) });
    const first = await start();
    await first.stop();
    await feed(OWN, 0, { region: home, traces: [trace(1, home)] });
    await clock.advance(1000);
    await feed(OWN, 0, { region: home, watermark: watermark(home, 15) });
    log.forget(OWN, 0, 2);
    await start();
    expect(await vouched()).toEqual([[home, 15, clock.nowMs() + 1]]);
  });

  test('not what a mirror says is missing, nor anything of one that says nothing, unless it is known to skip nothing', async () => {
    const { clock, start, mirror, vouched } = setUp();
    await mirror(5, ofLink(0));
    await start();
    expect(await vouched()).toEqual([[west, 5, 0]]);
    await mirror(6, { ...ofLink(9), [MIRROR_GAP_HEADER]: encodeMirrorGap(1234) });
    await settle();
    expect(await vouched()).toEqual([[west, 6, 1235]]);
    await mirror(7, ofLink(10));
    await settle();
    expect(await vouched()).toEqual([[west, 7, 1235]]);
    await mirror(8, {});
    await settle();
    expect(await vouched()).toEqual([[west, 8, clock.nowMs() + 1]]);
    const other = setUp();
    await other.mirror(5, {});
    await other.start({ mirrorsNeverSkip: true });
    expect(await other.vouched()).toEqual([[west, 5, 0]]);
  });

  test('not what a record told of that cannot be read, even when its hole has been forgotten', async () => {
    const { clock, log, start, feed, raw, vouched } = setUp();
    await raw(OWN, 0, Buffer.of(1, 0x46, 200));
    const poisonedMs = clock.nowMs();
    const first = await start();
    await first.stop();
    log.forget(DLQ, 0, 1);
    await clock.advance(1000);
    await feed(OWN, 0, { region: home, watermark: watermark(home, 9) });
    await start();
    expect(await vouched()).toEqual([[home, 9, poisonedMs + 1]]);
  });
});
