import { Registry } from 'prom-client';
import { describe, expect, test } from 'vitest';
import { DEAD_LETTER_MESSAGE_CHARACTERS_MAX, readDeadLetter } from '../../global/log/dead-letter.js';
import type {
  LogAppender,
  LogConsumers,
  LogEntry,
  LogRecord,
  LogSubscription,
  PartitionHandler,
} from '../../global/log/span-log.js';
import type { RegionId } from '../../global/model/ids.js';
import { ManualClock } from '../../global/runtime/clock.js';
import { CRASH_POINTS, type CrashPoint, noCrash } from '../../global/runtime/crash-points.js';
import { MeridianError } from '../../global/runtime/errors.js';
import { silentLogger } from '../../global/runtime/logger.js';
import { readEncodedBlock } from '../segments/block-codec.js';
import type { EncodedBlock } from '../segments/segment.js';
import { BASE, blockOf, segmentOf, traceIdOf } from './testing/blocks.js';
import { createWriter, type WriterOptions, writerGroup } from './writer.js';

const EAST = 'us-east-1' as RegionId;
const WEST = 'us-west-2' as RegionId;

/** A log that shows what is done to it; the test hands batches over. */
class FakeLog implements LogConsumers, LogAppender {
  subscription: LogSubscription | null = null;
  handler: PartitionHandler | null = null;
  readonly committed: number[] = [];
  readonly deadLetters: LogEntry[] = [];
  appendFailures = 0;
  stopped = false;

  async subscribe(subscription: LogSubscription) {
    this.subscription = subscription;
    this.handler = subscription.assigned({
      topic: subscription.topics[0]!,
      partition: 3,
      startOffset: 0,
      commit: async (next) => {
        this.committed.push(next);
      },
    });
    return {
      stop: async () => {
        await this.handler?.close('stopped');
        this.stopped = true;
      },
    };
  }

  async append(topic: string, partition: number, entries: readonly LogEntry[]) {
    if (this.appendFailures-- > 0) throw new MeridianError('unavailable', 'the log is away', 'later');
    expect([topic, partition]).toEqual(['segments.dlq', 0]);
    this.deadLetters.push(...entries);
    return { firstOffset: 0 };
  }

  deliver(values: readonly Uint8Array[], firstOffset = 10): Promise<void> {
    const records = values.map((value, i): LogRecord => {
      return {
        offset: firstOffset + i,
        appendedMs: 0,
        key: Buffer.from('k'),
        value,
        headers: { had: Buffer.from('it') },
      };
    });
    return this.handler!.records({ topic: this.subscription!.topics[0]!, partition: 3, records });
  }
}

/** A store that shows what it was given, and fails when it is told to. */
class FakeStore {
  readonly calls: string[][] = [];
  readonly written = new Set<string>();
  fail: (blocks: readonly EncodedBlock[]) => void = () => {};

  async write(blocks: readonly EncodedBlock[]): Promise<void> {
    this.calls.push(blocks.map(({ id }) => id));
    this.fail(blocks);
    for (const { id } of blocks) this.written.add(id);
  }
}

async function rig(options: Partial<WriterOptions> = {}) {
  const log = new FakeLog();
  const store = new FakeStore();
  const clock = new ManualClock();
  const registry = new Registry();
  const writer = createWriter({
    source: EAST,
    home: EAST,
    log,
    store,
    clock,
    logger: silentLogger,
    registry,
    crash: noCrash,
    retryFirstMs: 100,
    retryLongestMs: 400,
    ...options,
  });
  await writer.start();
  return { log, store, clock, registry, writer };
}

function block(number: number, source = EAST): Promise<EncodedBlock> {
  return blockOf(source, number, [segmentOf(source, traceIdOf(number), [{ span: 1, start: BASE }])]);
}

const blocks = (count: number) => Promise.all(Array.from({ length: count }, (_, i) => block(i)));
const bytesOf = (made: readonly EncodedBlock[]) => made.map(({ bytes }) => bytes);
const unavailable = () => {
  throw new MeridianError('unavailable', 'disk full', 'later');
};

describe('writer', () => {
  test('stores a batch, then commits behind its last record', async () => {
    const { log, store, writer } = await rig();
    const made = await blocks(3);
    await log.deliver(bytesOf(made));
    expect(store.calls).toEqual([made.map(({ id }) => id)]);
    expect(log.committed).toEqual([13]);
    expect(await writer.health().check()).toMatchObject({ part: 'store', state: 'ok' });
    await writer.stop();
    await writer.stop();
    expect(log.stopped).toBe(true);
  });

  test('reads its own topic at home, and the mirrored one of another region, in groups of their own', async () => {
    const { log } = await rig();
    expect(log.subscription).toMatchObject({ group: 'writer', topics: ['segments'], from: 'earliest' });
    const away = await rig({ source: WEST });
    expect(away.log.subscription).toMatchObject({ group: writerGroup(WEST, EAST), topics: ['us-west-2.segments'] });
    expect(writerGroup(WEST, EAST)).not.toBe(writerGroup(EAST, EAST));
    await away.log.deliver(bytesOf([await block(1, WEST), await block(1, EAST)]));
    expect([...away.store.written]).toEqual([(await block(1, WEST)).id]);
    expect(away.log.deadLetters).toHaveLength(1);
    expect((await away.writer.health().check()).part).toBe('store of us-west-2');
  });

  test.each([1, 4, 5])('a call to the store has at most so many blocks: %i of a limit of 4', async (count) => {
    const { log, store } = await rig({ writeBlocksMax: 4 });
    await log.deliver(bytesOf(await blocks(count)));
    expect(store.calls.map((call) => call.length)).toEqual(count === 5 ? [4, 1] : [count]);
  });

  test('an unavailable store is tried again, waiting longer each time, and nothing is skipped or committed meanwhile', async () => {
    const { log, store, clock, writer } = await rig();
    store.fail = unavailable;
    const made = await blocks(2);
    const delivered = log.deliver(bytesOf(made));
    await settle();
    for (const [wait, calls] of [
      [99, 1],
      [1, 2],
      [199, 2],
      [1, 3],
      [399, 3],
      [1, 4],
      [399, 4],
      [1, 5],
    ] as const) {
      await clock.advance(wait);
      await settle();
      expect(store.calls).toHaveLength(calls);
    }
    expect(log.committed).toEqual([]);
    expect(await writer.health().check()).toMatchObject({ state: 'down', detail: 'disk full' });
    store.fail = () => {};
    await clock.advance(400);
    await delivered;
    expect(store.written.size).toBe(2);
    expect(log.committed).toEqual([12]);
    expect(log.deadLetters).toEqual([]);
    expect((await writer.health().check()).state).toBe('ok');
  });

  test('a stop ends the waiting; the batch is not committed', async () => {
    const { log, store, writer } = await rig();
    store.fail = unavailable;
    const delivered = log.deliver(bytesOf(await blocks(1)));
    const outcome = expect(delivered).rejects.toMatchObject({ code: 'unavailable' });
    await settle();
    await writer.stop();
    await outcome;
    expect(log.committed).toEqual([]);
  });

  test('blocks that cannot be read go to the dead letters with the reason, the others to the store', async () => {
    const { log, store } = await rig();
    const made = await blocks(4);
    const bytes = bytesOf(made);
    bytes[1] = Buffer.from('this is no block');
    bytes[2] = Buffer.concat([Buffer.from([77]), bytes[2]!.subarray(1)]);
    await log.deliver(bytes);
    expect([...store.written]).toEqual([made[0]!.id, made[3]!.id]);
    expect(log.committed).toEqual([14]);
    expect(log.deadLetters.map(({ value }) => value)).toEqual([bytes[1], bytes[2]]);
    const { headers } = log.deadLetters[1]!;
    expect(readDeadLetter(headers)).toMatchObject({
      topic: 'segments',
      partition: 3,
      offset: 12,
      state: 'poison',
      code: 'unknown-version',
      message: expect.stringContaining('version 77'),
    });
    expect(Buffer.from(headers.had!).toString()).toBe('it');
  });

  test('a block that only the store finds bad is found out and set apart; a long reason is cut', async () => {
    const { log, store } = await rig();
    const made = await blocks(3);
    store.fail = (given) => {
      if (given.some(({ id }) => id === made[1]!.id)) throw new MeridianError('malformed', 'x'.repeat(5000), 'never');
    };
    await log.deliver(bytesOf(made));
    expect([...store.written]).toEqual([made[0]!.id, made[2]!.id]);
    expect(log.deadLetters.map(({ value }) => readEncodedBlock(Buffer.from(value)).id)).toEqual([made[1]!.id]);
    expect(readDeadLetter(log.deadLetters[0]!.headers)?.message).toHaveLength(DEAD_LETTER_MESSAGE_CHARACTERS_MAX);
    expect(log.committed).toEqual([13]);
  });

  test('a log that does not take a dead letter is tried again before anything is committed', async () => {
    const { log, clock } = await rig();
    log.appendFailures = 1;
    const delivered = log.deliver([Buffer.from('no block')]);
    await settle();
    expect(log.committed).toEqual([]);
    await clock.advance(100);
    await delivered;
    expect(log.deadLetters).toHaveLength(1);
    expect(log.committed).toEqual([11]);
  });

  test('a fault of our own is not taken for a bad block: the batch comes again', async () => {
    const { log, store } = await rig();
    store.fail = () => {
      throw new Error('broken invariant');
    };
    await expect(log.deliver(bytesOf(await blocks(1)))).rejects.toThrow('broken invariant');
    expect(log.committed).toEqual([]);
    expect(log.deadLetters).toEqual([]);
  });

  test.each(CRASH_POINTS.filter((point) => point.startsWith('writer.')))(
    'a crash at %s loses nothing',
    async (crashAt) => {
      const crash = (point: CrashPoint) => {
        if (point === crashAt) throw new Error(`crash at ${point}`);
      };
      const first = await rig({ crash });
      const made = await blocks(2);
      await expect(first.log.deliver(bytesOf(made))).rejects.toThrow('crash');
      // What was committed is stored.
      if (first.log.committed.length > 0) expect(first.store.written.size).toBe(2);
      expect(first.log.committed.length > 0).toBe(crashAt === 'writer.after-commit');
      const again = await rig({ store: first.store });
      await again.log.deliver(bytesOf(made));
      expect(first.store.written.size).toBe(2);
      expect(again.log.committed).toEqual([12]);
    },
  );

  test('two writers of one process share a registry', async () => {
    const { registry, log } = await rig();
    const away = await rig({ source: WEST, registry });
    await log.deliver(bytesOf(await blocks(2)));
    await away.log.deliver(bytesOf([await block(1, WEST)]));
    const text = await registry.metrics();
    expect(text).toContain('meridian_writer_blocks_total{source="us-east-1"} 2');
    expect(text).toContain('meridian_writer_blocks_total{source="us-west-2"} 1');
  });
});

/** Lets what hangs on promises get on. */
async function settle(): Promise<void> {
  for (let i = 0; i < 5; i++) await new Promise((resolve) => setImmediate(resolve));
}
