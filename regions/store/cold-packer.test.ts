import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Registry } from 'prom-client';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { RegionId } from '../../global/model/ids.js';
import { unixNanoToMs } from '../../global/model/time.js';
import { ManualClock } from '../../global/runtime/clock.js';
import { silentLogger } from '../../global/runtime/logger.js';
import { readEncodedBlock } from '../segments/block-codec.js';
import type { EncodedBlock } from '../segments/segment.js';
import type { AgedBlock, AgedBlocks } from './cold-aged-blocks.js';
import { openFolderStorage } from './cold-folder-storage.js';
import { ColdTier } from './cold-tier.js';
import { BASE, blockOf, segmentOf, traceIdOf } from './testing/blocks.js';
import { never } from './testing/tiered-for-tests.js';

const EAST = 'us-east-1' as RegionId;
const LATER = BASE + 1000n * 3_600_000_000_000n;

/** A hot store of a few blocks, one of which may be unreadable. */
class FakeAged implements AgedBlocks {
  removed: string[] = [];
  constructor(readonly kept: Map<string, EncodedBlock>) {}
  async oldest(fromMs: number, beforeMs: number) {
    const hourMs = unixNanoToMs(BASE);
    if (hourMs < fromMs || hourMs >= beforeMs || this.kept.size === 0) return null;
    return { hourMs, blocks: [...this.kept].map(([place, { bytes }]) => ({ place, bytes: bytes.length })) };
  }
  async read(wanted: readonly AgedBlock[]) {
    return wanted.map(({ place }) => this.kept.get(place) ?? null);
  }
  async remove(wanted: readonly AgedBlock[]) {
    for (const { place } of wanted) this.kept.delete(place);
    this.removed.push(...wanted.map(({ place }) => place));
    return wanted.length;
  }
}

/** Tells when somebody sleeps. */
class WatchedClock extends ManualClock {
  #wake = () => {};
  readonly asleep = new Promise<void>((resolve) => {
    this.#wake = resolve;
  });
  override sleep(ms: number, signal?: AbortSignal): Promise<void> {
    const sleeping = super.sleep(ms, signal);
    this.#wake();
    return sleeping;
  }
}

describe('cold packer', () => {
  let folder: string;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'meridian-packer-'));
  });
  afterEach(() => rm(folder, { recursive: true, force: true }));

  const block = (number: number) =>
    blockOf(EAST, number, [segmentOf(EAST, traceIdOf(number), [{ span: 1, service: 'a', start: BASE }])]);
  const tier = async (clock: ManualClock, listKnownMs: number) =>
    new ColdTier({
      storage: await openFolderStorage(folder),
      clock,
      logger: silentLogger,
      registry: new Registry(),
      listKnownMs,
    });

  test('a block that cannot be read stays, the others move; the run ends', async () => {
    const bad = await block(2);
    const spoilt = Buffer.from(bad.bytes);
    spoilt[spoilt.length - 2]! ^= 1;
    const aged = new FakeAged(
      new Map([
        ['a', await block(1)],
        ['b', { ...bad, bytes: spoilt }],
        ['c', await block(3)],
      ]),
    );
    const cold = await tier(new ManualClock(), 0);
    expect(await cold.pack(aged, LATER, never)).toMatchObject({ blocks: 2, objects: 1, unpackable: 1 });
    expect(aged.removed).toEqual(['a', 'c']);
  });

  test('a block that stands in two places is packed once and removed from both', async () => {
    const twice = readEncodedBlock((await block(1)).bytes);
    const aged = new FakeAged(
      new Map([
        ['a', twice],
        ['b', twice],
      ]),
    );
    const cold = await tier(new ManualClock(), 0);
    expect(await cold.pack(aged, LATER, never)).toMatchObject({ blocks: 2, objects: 1 });
    expect(aged.removed).toEqual(['a', 'b']);
    expect(await cold.get(EAST, traceIdOf(1))).toHaveLength(1);
  });

  test('where others read too, blocks leave the hot store only when everybody has listed the new object', async () => {
    const clock = new WatchedClock();
    const [packer, reader] = [await tier(clock, 60_000), await tier(clock, 60_000)];
    const aged = new FakeAged(new Map([['a', await block(1)]]));
    // Listed just before the object is written: known as empty for a minute.
    expect(await reader.get(EAST, traceIdOf(1))).toEqual([]);
    const packing = packer.pack(aged, LATER, never);
    await clock.asleep;
    await clock.advance(59_999);
    expect(await reader.get(EAST, traceIdOf(1))).toEqual([]);
    expect(aged.removed).toEqual([]);
    await clock.advance(1);
    expect(await reader.get(EAST, traceIdOf(1))).toHaveLength(1);
    expect(aged.removed).toEqual([]);
    await clock.advance(5_000);
    await packing;
    expect(aged.removed).toEqual(['a']);
  });

  test('a run that is cut short while it waits removes nothing', async () => {
    const clock = new WatchedClock();
    const cold = await tier(clock, 60_000);
    const aged = new FakeAged(new Map([['a', await block(1)]]));
    const stopped = new AbortController();
    const packing = cold.pack(aged, LATER, stopped.signal);
    await clock.asleep;
    stopped.abort();
    expect(await packing).toMatchObject({ blocks: 0, objects: 1 });
    expect(aged.removed).toEqual([]);
  });
});
