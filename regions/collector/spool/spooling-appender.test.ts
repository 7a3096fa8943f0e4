import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { MeridianError } from '../../../global/runtime/errors.js';
import { NOTABLE, ROUTINE, VITAL } from './spool-class.js';
import { AWAY, SpoolRig, spanRecord } from './testing/spool-rig.js';

let rig: SpoolRig;
beforeEach(() => {
  rig = new SpoolRig();
});
afterEach(() => rig.dispose());

const range = (count: number, prefix = '') => Array.from({ length: count }, (_, i) => `${prefix}${i}`);

describe('while the log is well', () => {
  test('appends go to it as they are, and nothing to the disk', async () => {
    await rig.start();
    expect(await rig.append(2, 'a')).toEqual({ firstOffset: 0 });
    expect(rig.found(2)).toEqual(['a']);
    expect(rig.spoolFiles()).toEqual([]);
    expect(rig.report()).toMatchObject({ isOpen: false, awaySinceMs: null });
  });

  test('other topics are none of its business', async () => {
    const appender = await rig.start();
    rig.log.failWith = AWAY;
    await expect(appender.append('segments', 0, [{ key: null, value: spanRecord('a'), headers: {} }])).rejects.toBe(
      AWAY,
    );
    expect(rig.spoolFiles()).toEqual([]);
  });

  test('a record that is too large is refused by the log, and not kept', async () => {
    await rig.start();
    rig.log.failWith = new MeridianError('too-large', 'at most 5 bytes', 'never');
    await expect(rig.append(0, 'a')).rejects.toMatchObject({ code: 'too-large' });
    expect(rig.report()).toMatchObject({ isOpen: false, awaySinceMs: null });
  });
});

describe('a log that fails', () => {
  test('each append is durable in the spool; all of it is in the log afterwards, in the order of the calls', async () => {
    await rig.start();
    rig.log.failWith = AWAY;
    await Promise.all(range(20).map((name, i) => rig.append(i % 2, name)));
    expect(rig.report()).toMatchObject({ isOpen: true, partitionsBehind: 2 });
    expect(rig.report().spool).toMatchObject({ records: 20, spans: [0, 0, 20] });
    expect(rig.found(0)).toEqual([]);
    rig.log.failWith = null;
    await rig.drained();
    expect(rig.found(0)).toEqual(range(20).filter((_, i) => i % 2 === 0));
    expect(rig.found(1)).toEqual(range(20).filter((_, i) => i % 2 === 1));
    expect(rig.spoolFiles()).toEqual([]);
    expect(rig.report().spool).toMatchObject({ records: 0, bytes: 0, spans: [0, 0, 0], oldestMs: null });
    expect(await rig.append(0, 'after')).toEqual({ firstOffset: rig.log.appended.length - 1 });
  });

  test('the circuit opens at the limit of failures: from then on the log is not asked', async () => {
    await rig.start({ failuresToOpen: 3 });
    let asked = 0;
    const append = rig.log.append.bind(rig.log);
    rig.log.append = (...args) => {
      asked++;
      return append(...args);
    };
    rig.log.failWith = AWAY;
    for (const partition of [0, 1]) await rig.append(partition, 'a');
    expect(rig.report().isOpen).toBe(false);
    await rig.append(2, 'a');
    expect(rig.report().isOpen).toBe(true);
    const askedToOpen = asked;
    for (const partition of [3, 4, 5]) await rig.append(partition, 'a');
    expect(asked).toBe(askedToOpen);
  });

  test('headers and the record as a whole come back, whatever classes its spans are of', async () => {
    await rig.start();
    rig.log.failWith = AWAY;
    const value = Buffer.concat([spanRecord('plain', ROUTINE), spanRecord('call', NOTABLE), spanRecord('root', VITAL)]);
    const entry = { key: Buffer.from('key'), value, headers: { meridian: Buffer.from('stamp') } };
    const appender = await reopened();
    await appender.append('spans', 1, [entry]);
    expect(rig.report().spool).toMatchObject({ records: 3, spans: [1, 1, 1] });
    rig.log.failWith = null;
    await rig.drained();
    expect(rig.found(1).sort()).toEqual(['call', 'plain', 'root']);
    const [append] = rig.log.appended;
    expect(append!.entries).toHaveLength(1);
    expect(Buffer.from(append!.entries[0]!.headers.meridian!).toString()).toBe('stamp');
    expect(Buffer.from(append!.entries[0]!.key!).toString()).toBe('key');
  });

  test('only the partition that fails is spooled, the others go on', async () => {
    await rig.start();
    const append = rig.log.append.bind(rig.log);
    let isBad = true;
    rig.log.append = (topic, partition, entries) =>
      partition === 1 && isBad ? Promise.reject(AWAY) : append(topic, partition, entries);
    for (const name of range(12)) {
      await rig.append(0, name);
      await rig.append(1, name);
    }
    expect(rig.found(0)).toEqual(range(12));
    expect(rig.report()).toMatchObject({ isOpen: false, partitionsBehind: 1 });
    expect(rig.report().spool.records).toBe(12);
    isBad = false;
    await rig.drained();
    expect(rig.found(1)).toEqual(range(12));
  });

  test('new spans that come all the time go behind the spooled ones, and the spool still ends', async () => {
    await rig.start({ chunkBytesMax: 1000 });
    rig.log.failWith = AWAY;
    const sent: Promise<unknown>[] = range(50).map((name) => rig.append(0, name));
    await Promise.all(sent);
    rig.log.failWith = null;
    let next = 50;
    // One more at every turn, for as long as anything is spooled.
    while (rig.report().awaySinceMs !== null) {
      sent.push(rig.append(0, `${next++}`));
      await rig.clock.advance(20);
      await new Promise((resolve) => setImmediate(resolve));
    }
    sent.push(rig.append(0, `${next++}`));
    await Promise.all(sent);
    expect(next).toBeGreaterThan(52);
    expect(rig.found(0)).toEqual(range(next));
  });

  async function reopened() {
    await rig.stop();
    return rig.start();
  }
});

describe('a log that hangs', () => {
  test('after the limit the append is durable in the spool, its bytes are not free, and the answer that comes late does no harm', async () => {
    await rig.start({ hangMs: 2000 });
    rig.log.manual = true;
    const appended = rig.append(0, 'a');
    await rig.clock.advance(1999);
    expect(rig.report().spool.records).toBe(0);
    await rig.clock.advance(1);
    expect(await appended).toEqual({ firstOffset: -1, isStillRead: true });
    expect(rig.report()).toMatchObject({ isOpen: true });
    const behind = await rig.append(0, 'b');
    expect(behind).toEqual({ firstOffset: -1 });
    // The one that hangs is the probe: nothing else is sent before it has an answer.
    await rig.clock.advance(10_000);
    expect(rig.log.pending).toHaveLength(1);
    rig.log.manual = false;
    rig.log.settle();
    await rig.drained();
    expect(rig.found(0)).toEqual(['a', 'a', 'b']);
  });

  test('an answer while the spool still writes frees no bytes that are to be read', async () => {
    await rig.start({ hangMs: 2000 });
    rig.log.manual = true;
    const appended = rig.append(0, 'a');
    await rig.clock.advance(2000);
    rig.log.settle();
    expect(await appended).toEqual({ firstOffset: 0, isStillRead: true });
  });

  test('a replay that hangs holds back its partition only', async () => {
    await rig.start({ hangMs: 2000, failuresToOpen: 1 });
    rig.log.failWith = AWAY;
    for (const partition of [0, 1]) await rig.append(partition, 'a');
    rig.log.failWith = null;
    const append = rig.log.append.bind(rig.log);
    let release = () => {};
    rig.log.append = (topic, partition, entries) => {
      if (partition === 1) return append(topic, partition, entries);
      return new Promise((resolve, reject) => {
        release = () => append(topic, partition, entries).then(resolve, reject);
      });
    };
    await rig.untilLater(() => rig.found(1).length === 1);
    expect(rig.found(0)).toEqual([]);
    await rig.append(1, 'b');
    await rig.append(0, 'b');
    expect(rig.found(1)).toEqual(['a', 'b']);
    rig.log.append = append;
    release();
    await rig.drained();
    expect(rig.found(0)).toEqual(['a', 'b']);
  });
});

describe('what an earlier process left', () => {
  test('is replayed in order, before what comes now', async () => {
    await rig.start();
    rig.log.failWith = AWAY;
    for (const name of range(10)) await rig.append(0, name);
    await rig.stop();
    expect(rig.spoolFiles()).not.toEqual([]);
    await rig.start();
    expect(rig.report()).toMatchObject({ partitionsBehind: 1 });
    expect(rig.report().spool.records).toBe(10);
    await rig.append(0, '10');
    rig.log.failWith = null;
    await rig.append(0, '11');
    await rig.drained();
    expect(rig.found(0)).toEqual(range(12));
  });

  test('what was replayed is not replayed again, and sequences go on', async () => {
    for (const round of range(3, 'r')) {
      await rig.start();
      rig.log.failWith = AWAY;
      await rig.append(0, `${round}-a`);
      await rig.append(0, `${round}-b`);
      rig.log.failWith = null;
      await rig.drained();
      await rig.stop();
    }
    expect(rig.found(0)).toEqual(range(3, 'r').flatMap((round) => [`${round}-a`, `${round}-b`]));
    await rig.start();
    expect(rig.report().awaySinceMs).toBe(null);
  });

  test('a second collector in the same folder is refused by name', async () => {
    await rig.start();
    const other = new SpoolRig();
    Object.assign(other, { folder: rig.folder });
    await expect(other.start()).rejects.toMatchObject({
      code: 'configuration',
      message: expect.stringContaining(rig.folder),
    });
  });
});
